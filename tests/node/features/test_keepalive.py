"""node/features/keepalive.py: who is pinged, and who is cut."""

import weakref

import pytest

from tests.node.features.setting import DOMAIN, Setting, stanza
from xcluster.node.features.keepalive import Keepalive
from xcluster.node.session import Session


class At:
    """A node that pings after 120 s and gives up 30 s later."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.ping_s = 120.0
        self.keepalive = Keepalive(DOMAIN, self.setting.sessions, lambda: self.ping_s, lambda: 30.0)
        self.alice = self.bind("alice")

    def bind(self, user: str) -> Session:
        session = self.setting.bind(user)
        self.keepalive.session_bound(session)
        return session

    def written(self, session: Session | None = None) -> list[bytes]:
        line = (session or self.alice).line
        written: list[bytes] = line.written  # type: ignore[attr-defined]
        line.written = []  # type: ignore[attr-defined]
        return written

    def hears(self, now: float) -> None:
        self.alice.line.heard_at = now  # type: ignore[misc]


@pytest.fixture
def at() -> At:
    return At()


def test_silent_client_is_pinged_once(at: At) -> None:
    at.keepalive.turned(119.0)
    assert at.written() == []
    at.keepalive.turned(120.0)
    [ping] = at.written()
    read = stanza(ping.decode())
    assert (read.type, read.from_, read.to, read.children) == (
        "get",
        DOMAIN,
        at.alice.jid,
        ("urn:xmpp:ping}ping",),
    )
    at.keepalive.turned(121.0)
    assert at.written() == []


def test_client_that_answers_stays_and_is_pinged_again_later(at: At) -> None:
    at.keepalive.turned(120.0)
    first = stanza(at.written()[0].decode()).id
    at.hears(121.0)
    for now in (122.0, 160.0, 240.0):
        at.keepalive.turned(now)
    assert at.written() == []
    at.keepalive.turned(241.0)
    [ping] = at.written()
    assert stanza(ping.decode()).id != first


def test_client_that_stays_silent_is_cut(at: At) -> None:
    at.keepalive.turned(120.0)
    at.written()
    at.keepalive.turned(149.0)
    assert at.written() == []
    at.keepalive.turned(150.0)
    assert at.written() == [b"connection-timeout"]


def test_any_sign_of_life_counts(at: At) -> None:
    at.keepalive.turned(120.0)
    at.written()
    at.hears(149.0)
    at.keepalive.turned(150.0)
    at.keepalive.turned(180.0)
    assert at.written() == []


def test_sessions_are_judged_one_by_one(at: At) -> None:
    bob = at.bind("bob")
    at.hears(100.0)
    at.keepalive.turned(120.0)
    assert (len(at.written()), len(at.written(bob))) == (0, 1)


def test_session_that_ends_is_forgotten(at: At) -> None:
    at.keepalive.turned(120.0)
    at.setting.sessions.remove(at.alice)
    at.keepalive.session_ended(at.alice, None)
    at.keepalive.turned(150.0)
    assert b"connection-timeout" not in at.written()
    assert not at.keepalive._pinged


def test_pings_can_be_switched_off_and_on_while_it_runs(at: At) -> None:
    at.ping_s = 0.0
    at.keepalive.turned(1000.0)
    assert at.written() == []
    at.ping_s = 120.0
    at.keepalive.turned(1060.0)
    assert len(at.written()) == 1


def test_session_that_has_left_is_not_kept_alive(at: At) -> None:
    left = weakref.ref(at.alice.line)
    at.setting.sessions.remove(at.alice)
    at.keepalive.session_ended(at.alice, None)
    del at.alice
    assert left() is None
