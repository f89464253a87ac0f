"""What is done at most once in a while (node/clock.py)."""

from collections.abc import Callable

from xcluster.node.clock import Paced

PERIOD_S = 0.001


class FakeTurns:
    """A loop whose time passes when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self._timers: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self._timers.append((self.now + seconds, action))

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due = [action for at, action in self._timers if at <= self.now]
        self._timers = [timer for timer in self._timers if timer[0] > self.now]
        for action in due:
            action()


class At:
    def __init__(self) -> None:
        self.turns = FakeTurns()
        self.done: list[float] = []
        self.paced = Paced(self.turns, PERIOD_S, lambda: self.done.append(self.turns.now))  # type: ignore[arg-type]


def test_paced_acts_at_once_after_a_rest_and_gathers_what_comes_meanwhile() -> None:
    at = At()
    at.paced.ask()
    for _ in range(5):
        at.turns.pass_by(PERIOD_S / 10)
        at.paced.ask()
    assert len(at.done) == 1
    at.turns.pass_by(PERIOD_S)
    assert len(at.done) == 2
    at.turns.pass_by(PERIOD_S)
    at.paced.ask()
    assert len(at.done) == 3


def test_paced_does_not_act_unasked() -> None:
    at = At()
    at.paced.ask()
    at.turns.pass_by(100 * PERIOD_S)
    assert len(at.done) == 1


def test_paced_acts_without_rest_when_it_must() -> None:
    at = At()
    at.paced.ask()
    at.paced.do()
    assert len(at.done) == 2
    at.paced.ask()  # and the rest begins anew
    assert len(at.done) == 2
