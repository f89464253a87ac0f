"""The rows that tell how the machine was."""

from typing import Any, cast

import pytest

from xcluster.loadtest.bench import machine


def test_the_mean_is_told_in_multiples_of_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    took = iter([2000] * (machine.PIECES - 1) + [1000] + [3000] * machine.RESTED_PIECES)
    rests: list[float] = []
    monkeypatch.setattr(machine, "_piece", lambda: next(took))
    monkeypatch.setattr("time.sleep", rests.append)
    found = machine.slowness(0.001)(cast(Any, None))
    assert (found.value, found.more) == (3.0, {"best_us": 1.0})
    assert rests == [0.001] * machine.RESTED_PIECES


def test_a_real_machine_is_never_better_than_its_best() -> None:
    found = machine.slowness()(cast(Any, None))
    assert found.value >= 1.0
    assert 0.0 < found.more["best_us"] < 10_000
