"""broker/relay.py: what a bus passes on, and what it answers."""

import pytest

from xcluster.broker import relay as module
from xcluster.broker.relay import Relay, Send
from xcluster.bus import wire
from xcluster.bus.messages import BusPing, BusPong, Gone, Origin

A, B = Origin("a", 1), Origin("b", 1)
ID_A, ID_B = wire.routing_id(A), wire.routing_id(B)


def relay() -> Relay:
    return Relay("bus1", 1234)


def test_message_is_passed_on_unread() -> None:
    bus = relay()
    assert bus.received(ID_A, [ID_B, b"\xc1 no message at all"]) == Send(
        ID_B, wire.FROM_PEER, b"\xc1 no message at all"
    )
    assert bus.counters["relayed"] == 1


def test_ping_is_answered_with_name_and_start() -> None:
    answer = relay().received(ID_A, [b"", wire.encode(BusPing(7))])
    assert answer == Send(ID_A, wire.FROM_BUS, wire.encode(BusPong(7, "bus1", 1234)))


@pytest.mark.parametrize(
    "frames",
    [[], [b""], [ID_B], [ID_B, b"x", b"y"], [b"", b"\xc1"], [b"", b""]],
    ids=["nothing", "one empty", "no payload", "too many", "unreadable", "empty"],
)
def test_what_can_not_be_read_is_counted_and_dropped(frames: list[bytes]) -> None:
    bus = relay()
    assert bus.received(ID_A, frames) is None
    assert bus.counters["unreadable"] == 1


@pytest.mark.parametrize("payload", [wire.encode(BusPong(1, "bus1", 1)), wire.encode(Gone(B, True))])
def test_what_only_a_bus_says_is_not_answered(payload: bytes) -> None:
    assert relay().received(ID_A, [b"", payload]) is None


@pytest.mark.parametrize("was_here", [True, False])
def test_sender_is_told_that_its_target_is_gone_and_whether_it_ever_was_here(was_here: bool) -> None:
    bus = relay()
    if was_here:
        bus.received(ID_B, [b"", wire.encode(BusPing(1))])
    bus.received(ID_A, [ID_B, b"payload"])
    assert bus.unreachable(ID_A, ID_B) == Send(ID_A, wire.FROM_BUS, wire.encode(Gone(B, was_here)))
    assert bus.counters["unreachable"] == 1


def test_incarnations_are_told_apart() -> None:
    bus = relay()
    bus.received(ID_B, [ID_A, b"payload"])
    newer = Origin("b", 2)
    assert bus.unreachable(ID_A, wire.routing_id(newer)) == Send(
        ID_A, wire.FROM_BUS, wire.encode(Gone(newer, False))
    )


@pytest.mark.parametrize("target", [b"somebody", b"n1\n" + b"9" * 30])
def test_target_that_is_no_origin_is_not_told_of(target: bytes) -> None:
    bus = relay()
    assert bus.unreachable(ID_A, target) is None
    assert bus.counters["unreachable"] == 1


def test_memory_is_bounded_and_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 2)
    bus = relay()
    origins = [Origin("n", incarnation) for incarnation in (1, 2, 3)]
    for origin in origins:
        bus.received(wire.routing_id(origin), [ID_A, b""])
    answers = [bus.unreachable(ID_A, wire.routing_id(origin)) for origin in origins]
    assert [answer and wire.control(answer.payload).was_here for answer in answers] == [False, True, True]
