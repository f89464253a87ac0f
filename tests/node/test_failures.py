"""node/failures.py: who has failed to log in too often."""

import pytest

from xcluster.node import failures as module
from xcluster.node.failures import Failures

NOW = 1000.0


def test_key_is_over_at_the_limit_and_others_are_not() -> None:
    failures = Failures(3, 60.0)
    for count in range(1, 4):
        failures.add("user alice", NOW + count)
        assert failures.is_over("user alice", NOW + count) is (count == 3)
    assert not failures.is_over("user bob", NOW)


def test_window_begins_with_the_first_failure_and_ends() -> None:
    failures = Failures(2, 60.0)
    failures.add("user alice", NOW)
    failures.add("user alice", NOW + 50)
    assert failures.is_over("user alice", NOW + 60)
    assert not failures.is_over("user alice", NOW + 61)
    failures.add("user alice", NOW + 61)  # the first of another window
    assert not failures.is_over("user alice", NOW + 61)
    failures.add("user alice", NOW + 62)
    assert failures.is_over("user alice", NOW + 62)


def test_success_forgets() -> None:
    failures = Failures(1, 60.0)
    failures.add("user alice", NOW)
    failures.forget("user alice")
    failures.forget("user nobody")
    assert not failures.is_over("user alice", NOW)


def test_memory_is_bounded_and_the_one_that_failed_longest_ago_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 2)
    failures = Failures(1, 60.0)
    for key in ("a", "b", "a", "c"):
        failures.add(key, NOW)
    assert [failures.is_over(key, NOW) for key in "abc"] == [True, False, True]
