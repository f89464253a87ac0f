"""Turns that are paced: in a real loop."""

from collections.abc import Iterator

import gevent
import pytest

from xcluster.node.clock import Paced, Turns

PERIOD_S = 0.05


@pytest.fixture
def turns() -> Iterator[Turns]:
    turns = Turns(60.0, lambda gap: None)
    yield turns
    turns.stop()


def test_paced_acts_at_once_after_a_rest_and_gathers_what_comes_meanwhile(turns: Turns) -> None:
    done: list[float] = []
    paced = Paced(turns, PERIOD_S, lambda: done.append(turns.now))
    paced.ask()
    assert len(done) == 1
    for _ in range(5):
        paced.ask()
        gevent.sleep(0.001)
    assert len(done) == 1
    gevent.sleep(2.5 * PERIOD_S)
    assert len(done) == 2
    assert done[1] - done[0] >= PERIOD_S * 0.99
    paced.ask()
    assert len(done) == 3


def test_paced_does_not_act_unasked(turns: Turns) -> None:
    done: list[float] = []
    paced = Paced(turns, PERIOD_S, lambda: done.append(turns.now))
    paced.ask()
    gevent.sleep(3 * PERIOD_S)
    assert len(done) == 1


def test_paced_acts_without_rest_when_it_must(turns: Turns) -> None:
    done: list[float] = []
    paced = Paced(turns, PERIOD_S, lambda: done.append(turns.now))
    paced.ask()
    paced.do()
    assert len(done) == 2
