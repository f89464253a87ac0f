"""What is done at most once in a while (node/clock.py)."""

from tests.node.turns import FakeTurns
from xcluster.node.clock import Paced

PERIOD_S = 0.001


class At:
    def __init__(self) -> None:
        self.turns = FakeTurns()
        self.done: list[float] = []
        self.paced = Paced(self.turns, PERIOD_S, lambda: self.done.append(self.turns.now))  # type: ignore[arg-type]


def test_paced_acts_at_once_after_a_rest_and_gathers_what_comes_meanwhile() -> None:
    at = At()
    at.paced.ask()
    for _ in range(5):
        at.turns.now += PERIOD_S / 10
        at.paced.ask()
    assert len(at.done) == 1
    at.turns.now += PERIOD_S
    assert 0 < at.turns.ring() <= PERIOD_S
    assert (len(at.done), at.turns.timers) == (2, [])
    at.turns.now += PERIOD_S
    at.paced.ask()
    assert len(at.done) == 3


def test_paced_does_not_act_unasked() -> None:
    at = At()
    at.paced.ask()
    at.turns.now += 100 * PERIOD_S
    assert (len(at.done), at.turns.timers) == (1, [])


def test_paced_acts_without_rest_when_it_must() -> None:
    at = At()
    at.paced.ask()
    at.paced.do()
    assert len(at.done) == 2
    at.paced.ask()  # and the rest begins anew
    assert len(at.done) == 2
