"""node/exchange.py: mesh, directory and lanes as one machine, between nodes that a shuttle joins."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.bus.shuttle import Shuttle
from xcluster.bus import membership, mesh
from xcluster.bus.messages import (
    Call,
    Delta,
    Deltas,
    Frame,
    Invalidated,
    Origin,
    RouteStanza,
    SessionUp,
    Task,
)
from xcluster.node import lanes
from xcluster.node.exchange import Exchange
from xcluster.node.lanes import Parcel
from xcluster.shared.jid import parse

A, B = Origin("a", 10), Origin("b", 10)
ALICE, BOB = "alice@example.org/x", "bob@example.org/x"


class Node:
    """An exchange and the sessions of its node."""

    def __init__(self, me: Origin, shuttle: Shuttle) -> None:
        self.shuttle = shuttle
        self.sessions: set[int] = set()
        self.log: list[tuple[Any, ...]] = []
        self.exchange = Exchange(
            me, len(shuttle.relays), self, mesh.Options(), lanes.Options(), shuttle.now
        )  # fmt: skip
        shuttle.join(self.exchange)

    def bind(self, counter: int, jid: str) -> None:
        self.sessions.add(counter)
        self.exchange.put(SessionUp(counter, jid, counter, b"<presence/>"))

    def end(self, counter: int, farewell: bytes = b"") -> None:
        self.sessions.discard(counter)
        self.exchange.drop(counter, farewell)

    def say(
        self, raw: str, to: str = BOB, kind: str = "message", type: str = "chat", sender: int = 1
    ) -> None:
        parcel = Parcel(sender, ALICE, parse(to), kind, type, raw.encode(), raw.encode())
        self.exchange.submit(parcel, self.shuttle.now)

    def of(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.log if entry[0] in kinds]

    # node/exchange.py, Local

    def deliver(self, counter: int, stanza: RouteStanza | Parcel) -> bool:
        if counter in self.sessions:
            self.log.append(("delivered", counter, stanza.raw))
        return counter in self.sessions

    def fetch_offline(self, counter: int) -> None:
        self.log.append(("fetch", counter))

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        self.log.append(("kept", parcel.raw))
        done()

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        self.log.append(("refused", parcel.raw, condition))

    def asked(self, origin: Origin, task: Task) -> None:
        self.log.append(("asked", origin, task))

    def event(self, origin: Origin, delta: Delta) -> None:
        self.log.append(("event", origin, delta))

    def skipped(self, origin: Origin) -> None:
        self.log.append(("skipped", origin))

    def member(self, event: membership.Event) -> None:
        self.log.append(("member", event))


class Pair:
    """Two nodes that know each other."""

    def __init__(self) -> None:
        self.shuttle = Shuttle()
        self.a, self.b = Node(A, self.shuttle), Node(B, self.shuttle)
        self.shuttle.run(1.0)
        self.a.log.clear()
        self.b.log.clear()

    def run(self, seconds: float = 0.2) -> None:
        self.shuttle.run(seconds)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def loses(kind: type) -> Callable[[Origin, Origin, Any], bool]:
    return lambda source, to, message: isinstance(message, kind)


# sessions


def test_session_is_in_both_directories_until_it_ends(pair: Pair) -> None:
    changes = []
    pair.b.exchange.directory.on_change.append(
        lambda old, new, farewell: changes.append((new and new.jid, farewell))
    )
    pair.a.bind(1, ALICE)
    assert pair.a.exchange.directory.find(ALICE) is not None
    pair.run()
    record = pair.b.exchange.directory.find(ALICE)
    assert record is not None and record.origin == A
    pair.a.end(1, b"<presence>bye</presence>")
    pair.a.end(1)
    pair.run()
    assert pair.b.exchange.directory.find(ALICE) is None
    assert changes == [(ALICE, b""), (None, b"<presence>bye</presence>")]
    assert pair.a.exchange.mesh.log.seq == 3  # up, farewell, down: ending twice says nothing twice


def test_presence_that_ends_before_its_session_takes_the_farewell_with_it(pair: Pair) -> None:
    pair.a.bind(1, ALICE)
    changes = []
    pair.b.exchange.directory.on_change.append(
        lambda old, new, farewell: changes.append((new and new.presence, farewell))
    )
    pair.run()
    pair.a.exchange.put(SessionUp(1, ALICE, 1), b"<presence>bye</presence>")
    pair.run()
    assert changes == [(b"<presence/>", b""), (b"", b"<presence>bye</presence>")]


def test_announcement_is_heard_here_first_and_there_once(pair: Pair) -> None:
    event = Invalidated("vcard", "alice")
    pair.a.exchange.announce(event)
    assert pair.a.of("event") == [("event", A, event)]
    pair.run()
    assert pair.b.of("event") == [("event", A, event)]
    assert len(pair.a.of("event")) == 1


# stanzas


def test_message_reaches_a_session_elsewhere(pair: Pair) -> None:
    pair.b.bind(4, BOB)
    pair.run()
    pair.a.say("1")
    pair.run()
    assert pair.b.log == [("delivered", 4, b"1")]
    assert pair.a.log == []


def test_early_message_waits_for_the_news_of_its_session(pair: Pair) -> None:
    pair.shuttle.loses = loses(Deltas)
    pair.b.bind(4, BOB)
    pair.run(0.6)  # the heartbeat tells that there is something
    pair.a.say("1")
    assert pair.a.exchange.lanes.parked == 1
    pair.shuttle.loses = lambda source, to, message: False
    pair.run(0.45)
    assert pair.b.of("delivered") == [("delivered", 4, b"1")]
    counters = pair.a.exchange.lanes.counters
    assert (counters["early"], counters["woken"], counters["kept"]) == (1, 1, 0)


def test_early_message_falls_back_as_soon_as_the_news_are_of_others(pair: Pair) -> None:
    pair.shuttle.loses = loses(Deltas)
    pair.b.bind(5, "carol@example.org/x")
    pair.run(0.6)
    pair.a.say("1")
    pair.shuttle.loses = lambda source, to, message: False
    pair.run(0.45)
    assert pair.a.of("kept") == [("kept", b"1")]
    assert pair.a.exchange.lanes.counters["reached"] == 1


def test_session_that_is_gone_over_there_is_answered_undeliverable(pair: Pair) -> None:
    pair.b.bind(4, BOB)
    pair.run()
    pair.b.sessions.clear()  # ended this very moment: its delta is not written yet
    pair.a.say("1")
    pair.a.say("2", kind="iq", type="get", sender=2)
    pair.run()
    assert pair.a.log == [("refused", b"2", "service-unavailable"), ("kept", b"1")]
    assert pair.b.exchange.counters["undeliverable"] == 2
    pair.a.say("3", sender=3)  # the row is stale: nobody is asked once more
    assert pair.a.log[-1] == ("kept", b"3")
    assert pair.a.exchange.directory.recomputed_digest(B) == pair.b.exchange.directory.digest(B)


def test_stored_one_is_fetched_by_the_new_session_before_what_follows(pair: Pair) -> None:
    pair.a.say("1")
    assert pair.a.log == [("kept", b"1")]
    pair.b.bind(4, BOB)
    pair.run()
    pair.a.say("2")
    pair.run()
    assert pair.b.log == [("fetch", 4), ("delivered", 4, b"2")]


def test_order_is_kept_when_frames_are_lost_and_the_session_moves(pair: Pair) -> None:
    pair.b.bind(4, BOB)
    pair.run()
    pair.shuttle.loses = loses(Frame)
    for raw in "123":
        pair.a.say(raw)
    pair.run(0.1)
    pair.b.end(4)
    pair.run(0.1)
    pair.a.bind(9, BOB)
    pair.a.say("4")
    pair.run(0.1)
    assert pair.a.log == []
    pair.shuttle.loses = lambda source, to, message: False
    pair.run(1.0)
    assert pair.a.of("delivered") == [("delivered", 9, raw) for raw in (b"1", b"2", b"3", b"4")]


def test_death_sends_unacknowledged_messages_elsewhere_and_answers_iqs(pair: Pair) -> None:
    pair.b.bind(4, BOB)
    pair.run()
    pair.shuttle.kill(pair.b.exchange)
    pair.a.say("1")
    pair.a.say("2", kind="iq", type="set", sender=2)
    pair.run(3.0)
    assert pair.a.of("kept", "refused") == [("refused", b"2", "service-unavailable"), ("kept", b"1")]
    assert pair.a.exchange.directory.find(BOB) is None
    assert isinstance(pair.a.of("member")[-1][1], membership.Died)


def test_task_that_is_no_stanza_is_asked_of_the_node(pair: Pair) -> None:
    call = Call(1, "status", msgspec.Raw(b"\xc0"))
    pair.a.exchange.mesh.send(B, call)
    pair.run()
    [(kind, origin, task)] = pair.b.log
    assert (kind, origin, task.verb) == ("asked", A, "status")


# a new incarnation


def test_node_that_was_declared_dead_goes_on_under_a_new_name_with_the_same_sessions(pair: Pair) -> None:
    pair.b.bind(4, BOB)
    pair.run()
    pair.shuttle.loses = lambda source, to, message: source == B
    pair.run(5.0)
    assert pair.a.exchange.directory.find(BOB) is None
    pair.shuttle.loses = lambda source, to, message: False
    pair.run(1.0)
    assert pair.b.exchange.must_be_reborn
    newer = Origin("b", 11)
    pair.b.exchange.be_reborn(newer, pair.shuttle.now)
    assert (pair.b.exchange.me, pair.b.exchange.must_be_reborn) == (newer, False)
    assert pair.b.exchange.mesh.log.seq == 1  # its session, once more
    pair.run(1.0)
    record = pair.a.exchange.directory.find(BOB)
    assert record is not None and record.origin == newer
    pair.a.say("1")
    pair.run()
    assert ("delivered", 4, b"1") in pair.b.log
    assert pair.b.exchange.counters["reborn"] == 1


# the loop


def test_flush_is_wanted_when_something_is_to_be_sent_and_not_otherwise(pair: Pair) -> None:
    pair.run(1.0)
    assert not pair.a.exchange.wants_flush
    pair.a.bind(1, ALICE)
    assert pair.a.exchange.wants_flush
    pair.shuttle.turn()
    assert not pair.a.exchange.wants_flush


def test_difference_between_kept_and_recomputed_digests_is_told(pair: Pair) -> None:
    pair.b.bind(4, BOB)
    pair.run()
    assert list(pair.a.exchange.differences()) == []
    record = pair.a.exchange.directory.find(BOB)
    assert record is not None
    record.priority = 5  # as no delta does
    [(origin, table, kept, real)] = pair.a.exchange.differences()
    assert (origin, table) == (B, "sessions")
    assert kept != real
