"""The hot paths cost what they did: figures.json, a quarter more fails (guard.py)."""

import warnings
from collections.abc import Callable

import pytest

from tests.performance import guard, measure
from tests.performance.guard import Figure, TooExpensive
from tests.performance.paths import ALL, Path, message_here
from tests.performance.toy import Toy
from xcluster.node.inbound import Inbound
from xcluster.node.session import Session
from xcluster.shared.stanza import Stanza

FIGURES = guard.read()
each_path = pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)


def figure_of(make: Callable[[], Path]) -> Figure:
    return FIGURES.paths[make().name]


def same_python_only() -> None:
    if guard.this_python() != FIGURES.python:
        pytest.skip(
            f"the figures count the bytecodes of Python {FIGURES.python}, this is {guard.this_python()}: "
            "every minor version has others"
        )


def warn_if_stale(make: Callable[[], Path], found: float, figure: float) -> None:
    if guard.is_stale(found, figure):
        warnings.warn(
            f"{make.__name__}: {found:.2f}, the figure says {figure:.2f}: run "
            "`python -m tests.performance --write`, or it may grow back unnoticed",
            stacklevel=2,
        )


def test_each_path_has_a_figure_and_each_figure_a_path() -> None:
    assert {make().name for make in ALL} == set(FIGURES.paths)


@each_path
def test_bytecodes_per_operation_have_not_grown_by_a_quarter(make: Callable[[], Path]) -> None:
    same_python_only()
    figure = figure_of(make)
    warn_if_stale(make, guard.check_bytecodes(make, figure), figure.bytecodes)


@each_path
def test_bytecodes_are_counted_exactly(make: Callable[[], Path]) -> None:
    assert measure.bytecodes(make()) == measure.bytecodes(make())


@each_path
def test_cpu_time_per_operation_has_not_grown_by_a_quarter(make: Callable[[], Path]) -> None:
    figure = figure_of(make)
    warn_if_stale(make, guard.check_cpu(make, figure), figure.cpu)


# The guard itself: a path that is made slower is noticed, one that is not is not.


class Burden:
    """Makes Inbound do so many messages of the toy besides each of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.toys = 0.0
        self._owed = 0.0
        self._toy = Toy()
        self._stanza = Inbound.stanza

        def slowed(inbound: Inbound, session: Session, stanza: Stanza) -> None:
            self._owed += self.toys
            while self._owed >= 1:
                self._toy.run(1)
                self._owed -= 1
            self._stanza(inbound, session, stanza)

        monkeypatch.setattr(Inbound, "stanza", slowed)


def test_guard_fails_when_a_message_takes_a_third_more_bytecodes(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = measure.bytecodes(message_here())
    a_toy = measure.bytecodes(Path("toy", 100, Toy().run, lambda: None))
    burden = Burden(monkeypatch)
    burden.toys = usual / 3 / a_toy
    with pytest.raises(TooExpensive, match="message on one node"):
        guard.check_bytecodes(message_here, Figure(usual, 0.0))


def test_guard_fails_when_a_message_takes_more_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    burden = Burden(monkeypatch)
    usual = measure.cpu(message_here())
    assert guard.check_cpu(message_here, Figure(0.0, usual)) <= usual * guard.GROWTH
    burden.toys = usual / 3
    with pytest.raises(TooExpensive, match="message on one node"):
        guard.check_cpu(message_here, Figure(0.0, usual))
