"""node/intake.py: each identity once, stored messages before live ones."""

import pytest

from xcluster.bus.messages import Origin
from xcluster.node import intake as module
from xcluster.node.identity import make, prefix
from xcluster.node.intake import REMEMBERED, Intake

HERE, THERE = prefix(Origin("n1", 1)), prefix(Origin("n2", 1))


def live(intake: Intake, identity: bytes, delayed: bool = False) -> list[bytes]:
    return intake.take(identity, b"live " + identity, delayed)


def test_live_stanza_goes_straight_through() -> None:
    intake = Intake()
    assert live(intake, b"1") == [b"live 1"]
    assert intake.take(b"", b"<presence/>") == [b"<presence/>"]
    assert not intake.is_fetching


def test_redelivered_one_is_dropped_when_it_has_been_here() -> None:
    intake = Intake()
    live(intake, b"1")
    assert live(intake, b"1", delayed=True) == []
    assert live(intake, b"2", delayed=True) == [b"live 2"]
    assert live(intake, b"2", delayed=True) == []
    assert intake.dropped == 2


def test_stanza_without_identity_is_never_a_double() -> None:
    intake = Intake()
    for _ in range(2):
        assert intake.take(b"", b"<iq/>", delayed=True) == [b"<iq/>"]
    assert intake.dropped == 0


def test_memory_is_a_ring() -> None:
    intake = Intake()
    for number in range(REMEMBERED + 1):
        live(intake, b"%d" % number)
    assert live(intake, b"1", delayed=True) == []
    assert live(intake, b"0", delayed=True) == [b"live 0"]  # outrun
    assert live(intake, b"1", delayed=True) == [b"live 1"]  # and now that one is


def test_stored_ones_go_before_live_ones_that_come_meanwhile() -> None:
    intake = Intake()
    intake.fetch()
    assert intake.is_fetching
    assert live(intake, b"3") == live(intake, b"4") == []
    assert intake.fetched([(b"1", b"row 1"), (b"2", b"row 2")]) == [b"row 1", b"row 2", b"live 3", b"live 4"]
    assert not intake.is_fetching
    assert live(intake, b"5") == [b"live 5"]


def test_stored_one_that_has_come_live_is_dropped() -> None:
    intake = Intake()
    live(intake, b"1")
    intake.fetch()
    live(intake, b"2")
    assert intake.fetched([(b"1", b"row 1"), (b"2", b"row 2")]) == [b"row 2"]
    assert intake.dropped == 2


def test_fetches_nest() -> None:
    intake = Intake()
    intake.fetch()
    intake.fetch()
    live(intake, b"3")
    assert intake.fetched([(b"1", b"row 1")]) == [b"row 1"]
    assert intake.is_fetching
    assert live(intake, b"4") == []
    assert intake.fetched([(b"2", b"row 2")]) == [b"row 2", b"live 3", b"live 4"]


def test_live_one_that_entered_before_a_stored_one_of_its_origin_goes_first() -> None:
    intake = Intake()
    intake.fetch()
    live(intake, make(HERE, 1))
    live(intake, make(THERE, 9))
    assert intake.fetched([(make(HERE, 2), b"row 2"), (make(HERE, 3), b"row 3")]) == [
        b"live " + make(HERE, 1),
        b"row 2",
        b"row 3",
        b"live " + make(THERE, 9),
    ]


def test_what_was_held_is_given_up_in_order_and_once() -> None:
    intake = Intake()
    live(intake, b"0")
    intake.fetch()
    live(intake, b"1")
    live(intake, b"2")
    assert intake.give_up() == [(b"1", b"live 1"), (b"2", b"live 2")]
    assert intake.give_up() == []


def test_held_stanzas_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD", 2)
    intake = Intake()
    intake.fetch()
    assert [live(intake, b"%d" % number) for number in (1, 2, 3)] == [[], [], [b"live 3"]]
    assert intake.fetched([]) == [b"live 1", b"live 2"]
