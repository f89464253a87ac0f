"""The roster: no change is missed, however it comes between a read and its answer."""

from collections.abc import Callable
from typing import Any
from xml.etree.ElementTree import fromstring

import gevent
import pytest

from tests.node.features.setting import DOMAIN, Setting, ask, get
from xcluster.bus.messages import RosterChanged
from xcluster.node.contacts import Contacts
from xcluster.node.features.roster import Roster
from xcluster.node.session import Session
from xcluster.node.store import protocol
from xcluster.node.subscriptions import Sides
from xcluster.node.watchers import Watchers
from xcluster.shared import jid, ns

QUERY = get(f"<query xmlns='{ns.ROSTER}'/>")
BOB = jid.make("bob", DOMAIN)


class At(Setting):
    """One node's rosters; what is spawned runs when `settle` is called."""

    def __init__(self) -> None:
        super().__init__()
        self._spawned: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
        self.contacts = Contacts(self.store, self.announce, DOMAIN, 100, gevent.spawn)
        self.roster = Roster(
            DOMAIN, self.store, self.rosters, self.contacts, self.sessions, self.directory, Watchers(),
            self._spawn, lambda seconds, work: work(),
        )  # fmt: skip
        self.features.append(self.roster)

    def _spawn(self, work: Callable[..., None], *arguments: Any) -> None:
        """An answer is given at once, what brings sessions up to date waits for `settle`."""
        if work == self.roster._run_sync:
            self._spawned.append((work, arguments))
        else:
            work(*arguments)

    def settle(self) -> None:
        while self._spawned:
            work, arguments = self._spawned.pop(0)
            work(*arguments)

    def pushed(self, session: Session) -> list[tuple[str, str]]:
        """(contact, version) of the pushes that have come since."""
        self.settle()
        written, session.line.written[:] = list(session.line.written), []  # type: ignore[attr-defined]
        queries = [fromstring(raw)[0] for raw in written]
        return [(query[0].get("jid", ""), query.get("ver", "")) for query in queries]


@pytest.fixture
def at() -> At:
    return At()


def test_change_is_pushed_to_whoever_has_asked(at: At) -> None:
    interested, other = at.bind("alice", "home"), at.bind("alice", "work")
    ask(at.roster, interested, QUERY)
    at.contacts.set_item("alice", BOB, "Bob", ())
    assert at.pushed(interested) == [(BOB.bare, "1")]
    assert at.pushed(other) == []


def test_change_during_the_read_is_pushed_behind_the_answer(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    alice = at.bind("alice")
    read = at.store.roster

    def slow(user: str) -> protocol.Roster:
        result = read(user)
        at.contacts.set_item("alice", BOB, "Bob", ())  # committed and announced before the reader goes on
        at.settle()
        return result

    monkeypatch.setattr(at.store, "roster", slow)
    assert BOB.bare.encode() not in ask(at.roster, alice, QUERY)
    assert at.pushed(alice) == [(BOB.bare, "1")]


def test_request_shows_nobody_what_they_have(at: At) -> None:
    """An item that only gains a request is not pushed again (RFC 6121 §3.1.3)."""
    alice = at.bind("alice")
    ask(at.roster, alice, QUERY)
    at.contacts.set_item("alice", BOB, "Bob", ())
    assert at.pushed(alice) == [(BOB.bare, "1")]
    at.contacts._transact("bob", _sides("bob", "alice"), "alice", "subscribe")
    assert at.pushed(alice) == []
    assert at.store.roster("alice").items[0].pending_in


def _sides(user: str, contact: str) -> Sides:
    return Sides(f"{user}@{DOMAIN}", f"{contact}@{DOMAIN}", b"<presence type='subscribe'/>")


def test_lost_announcement_is_made_good_when_events_may_have_been_missed(at: At) -> None:
    alice = at.bind("alice")
    ask(at.roster, alice, QUERY)
    at.features.clear()
    at.contacts.set_item("alice", BOB, "Bob", ())
    assert at.pushed(alice) == []
    at.roster.missed(at.directory.me)
    assert at.pushed(alice) == [(BOB.bare, "1")]


def test_announcement_that_comes_twice_is_pushed_once(at: At) -> None:
    alice = at.bind("alice")
    ask(at.roster, alice, QUERY)
    at.contacts.set_item("alice", BOB, "Bob", ())
    at.announce(RosterChanged("alice", 1, b""))
    assert at.pushed(alice) == [(BOB.bare, "1")]


def test_removal_is_pushed_though_a_request_took_its_place(at: At) -> None:
    alice = at.bind("alice")
    ask(at.roster, alice, QUERY)
    at.contacts.set_item("alice", BOB, "Bob", ())
    assert at.pushed(alice) == [(BOB.bare, "1")]
    at.contacts.remove_item("alice", alice.bare, BOB)
    at.contacts._transact("bob", _sides("bob", "alice"), "alice", "subscribe")
    at.settle()
    (push,) = [fromstring(raw)[0][0] for raw in alice.line.written if raw.startswith(b"<iq")]  # type: ignore[attr-defined]
    assert (push.get("jid"), push.get("subscription")) == (BOB.bare, "remove")


def test_request_of_a_stranger_is_pushed_to_nobody(at: At) -> None:
    alice = at.bind("alice")
    ask(at.roster, alice, QUERY)
    at.contacts._transact("bob", _sides("bob", "alice"), "alice", "subscribe")
    assert at.pushed(alice) == []


@pytest.mark.parametrize("known", ["", "0", "7", "x", "-1", "²", "٣", "9" * 18, "9" * 19, "9" * 5000])
def test_version_that_we_never_gave_gets_the_whole_roster(at: At, known: str) -> None:
    alice = at.bind("alice")
    at.contacts.set_item("alice", BOB, "Bob", ())
    answer = ask(at.roster, alice, get(f"<query xmlns='{ns.ROSTER}' ver='{known}'/>"))
    query = fromstring(answer)
    assert (query.get("ver"), [item.get("jid") for item in query]) == ("1", [BOB.bare])
