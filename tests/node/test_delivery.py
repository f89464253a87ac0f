"""node/delivery.py: the last step of a stanza on this node."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.node.features.setting import DOMAIN, OTHER, Setting, stanza
from tests.node.store.rows import NOW
from xcluster.bus.membership import Changed, Died, State
from xcluster.bus.messages import Delta, FetchOffline, Invalidated, Origin, RouteStanza, Task
from xcluster.node.delivery import Delivery
from xcluster.node.hooks import Feature
from xcluster.node.lanes import Parcel
from xcluster.node.session import Session
from xcluster.shared.jid import parse

ALICE, BOB = f"alice@{DOMAIN}/home", f"bob@{DOMAIN}"
RAW = f"<message from='{ALICE}' to='{BOB}' id='m1' type='chat'><body>hi</body></message>".encode()


class Listens(Feature):
    def __init__(self, log: list[tuple[Any, ...]]) -> None:
        self._log = log

    def happened(self, origin: Origin, event: Delta) -> None:
        self._log.append(("happened", origin, event))

    def missed(self, origin: Origin) -> None:
        self._log.append(("missed", origin))


class At:
    """A delivery whose neighbours write down what they are told."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.log: list[tuple[Any, ...]] = []
        self.delivery = Delivery(DOMAIN, self.setting.sessions, lambda: NOW)
        self.delivery.connect([Listens(self.log), Listens(self.log)], self, self, self)
        self.bob = self.setting.bind("bob")

    def written(self, session: Session | None = None) -> list[bytes]:
        written: list[bytes] = (session or self.bob).line.written  # type: ignore[attr-defined]
        return written

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        self.log.append(("keep", parcel))
        done()

    def fetch(self, session: Session) -> None:
        self.log.append(("fetch", session.counter))

    def directed(self, session: Session, from_: str, is_available: bool) -> None:
        self.log.append(("directed", session.counter, from_, is_available))

    def asked(self, origin: Origin, task: Task) -> None:
        self.log.append(("asked", origin, task))

    def died(self, origin: Origin) -> None:
        self.log.append(("died", origin))


@pytest.fixture
def at() -> At:
    return At()


def parcel(
    kind: str = "message",
    type: str | None = "chat",
    raw: bytes = RAW,
    sender: int = 0,
    identity: bytes = b"i1",
) -> Parcel:
    return Parcel(sender, ALICE, parse(BOB), kind, type, identity, raw)


def routed(
    kind: str = "message", type: str | None = "chat", raw: bytes = RAW, delayed: bool = False
) -> RouteStanza:
    return RouteStanza([1], BOB, ALICE, kind, b"i1", raw, 9, delayed, type)


# deliver


@pytest.mark.parametrize("make", [parcel, routed], ids=["from here", "from a peer"])
def test_message_goes_to_its_session_as_it_is(at: At, make: Callable[[], Parcel | RouteStanza]) -> None:
    assert at.delivery.deliver(at.bob.counter, make())
    assert at.written() == [RAW]
    assert at.delivery.counters["delivered"] == 1
    assert at.delivery.counters["from_peers"] == (make is routed)


def test_session_that_is_gone_takes_nothing(at: At) -> None:
    assert not at.delivery.deliver(99, parcel())
    assert (at.delivery.counters["gone"], at.delivery.counters["delivered"]) == (1, 0)


def test_redelivered_message_says_since_when_and_comes_once(at: At) -> None:
    for _ in range(2):
        assert at.delivery.deliver(at.bob.counter, routed(delayed=True))
    [raw] = at.written()
    assert f"<delay xmlns='urn:xmpp:delay' from='{DOMAIN}' stamp='2027-01-15T08:00:00Z'/>".encode() in raw
    assert b"<body>hi</body>" in raw


def test_redelivered_one_that_has_come_is_dropped_and_counts_as_delivered(at: At) -> None:
    at.delivery.deliver(at.bob.counter, routed())
    assert at.delivery.deliver(at.bob.counter, routed(delayed=True))
    assert at.written() == [RAW]


def test_live_message_waits_behind_stored_ones(at: At) -> None:
    at.bob.intake.fetch()
    assert at.delivery.deliver(at.bob.counter, parcel())
    assert at.written() == []
    assert at.bob.intake.fetched([(b"i0", b"<row/>")]) == [b"<row/>", RAW]


@pytest.mark.parametrize(("type", "is_available"), [(None, True), ("unavailable", False), ("error", False)])
@pytest.mark.parametrize("make", [parcel, routed], ids=["from here", "from a peer"])
def test_directed_presence_is_remembered(
    at: At, make: Callable[..., Parcel | RouteStanza], type: str | None, is_available: bool
) -> None:
    at.delivery.deliver(at.bob.counter, make("presence", type, b"<presence/>"))
    assert at.log == [("directed", at.bob.counter, ALICE, is_available)]
    assert at.written() == [b"<presence/>"]


# fetch


@pytest.mark.parametrize(
    ("presence", "priority", "fetches"),
    [(b"<presence/>", 0, True), (b"<presence/>", -1, False), (b"", 0, False)],
)
def test_only_a_session_that_takes_messages_fetches(
    at: At, presence: bytes, priority: int, fetches: bool
) -> None:
    at.bob.presence, at.bob.priority = presence, priority
    at.delivery.fetch_offline(at.bob.counter)
    assert at.log == ([("fetch", at.bob.counter)] if fetches else [])


def test_fetch_for_a_session_that_is_gone_does_nothing(at: At) -> None:
    at.delivery.fetch_offline(99)
    assert at.log == []


# refuse


def test_refused_message_comes_back_to_its_sender_once(at: At) -> None:
    alice = at.setting.bind("alice")
    at.delivery.refuse(parcel(sender=alice.counter), "cancel", "service-unavailable")
    [raw] = at.written(alice)
    error = stanza(raw.decode())
    assert (error.name, error.type, error.id, error.from_, error.to) == ("message", "error", "m1", BOB, ALICE)
    assert b"<service-unavailable" in raw and b"type='cancel'" in raw and b"<body>hi</body>" in raw
    assert at.delivery.counters["refused"] == 1


@pytest.mark.parametrize(
    ("kind", "type"), [("message", "error"), ("iq", "error"), ("iq", "result"), ("presence", None)]
)
def test_what_must_not_be_answered_is_not(at: At, kind: str, type: str | None) -> None:
    alice = at.setting.bind("alice")
    at.delivery.refuse(parcel(kind, type, sender=alice.counter), "cancel", "service-unavailable")
    assert at.written(alice) == []


def test_refusal_for_a_sender_that_is_gone_is_nobody_s(at: At) -> None:
    at.delivery.refuse(parcel(sender=99), "cancel", "service-unavailable")
    assert at.written() == []


# events


def test_events_and_gaps_go_to_every_feature(at: At) -> None:
    event = Invalidated("vcard", "bob")
    at.delivery.event(OTHER, event)
    at.delivery.skipped(OTHER)
    assert at.log == [("happened", OTHER, event)] * 2 + [("missed", OTHER)] * 2


def test_whoever_waits_for_a_dead_node_is_told(at: At) -> None:
    at.delivery.member(Changed(OTHER, State.SUSPECT))
    assert at.log == []
    at.delivery.member(Died(OTHER, "silent"))
    assert at.log == [("died", OTHER)]


def test_questions_and_messages_for_later_go_where_they_belong(at: At) -> None:
    task, some, done = FetchOffline([1]), parcel(), []
    at.delivery.asked(OTHER, task)
    at.delivery.keep(some, lambda: done.append(True))
    assert at.log == [("asked", OTHER, task), ("keep", some)]
    assert done == [True]
