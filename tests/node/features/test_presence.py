"""node/features/presence.py: who is told when the directory changes."""

import pytest

from tests.node.features.setting import DOMAIN, ME, OTHER, Setting, stanza
from xcluster.bus.messages import Farewell, SessionDown, SessionUp
from xcluster.node.features import presence as module
from xcluster.node.features.presence import Presence
from xcluster.node.session import Session
from xcluster.node.watchers import Watchers

BOB = f"bob@{DOMAIN}"
PHONE = f"{BOB}/phone"
AWAY = b"<presence><show>away</show></presence>"


class At:
    """Alice, here, sees bob; mallory, here, doesn't."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.watchers = Watchers()
        self.presence = Presence(self.setting.sessions, self.watchers)
        self.setting.directory.on_change.append(self.presence.record_changed)
        self.alice, self.mallory = self.setting.bind("alice"), self.setting.bind("mallory")
        self.watchers.add(self.alice, BOB)

    def seen(self, session: Session | None = None) -> list[tuple[str | None, str]]:
        """(from, type or payload) of what a session was told since."""
        line = (session or self.alice).line
        written = [stanza(raw.decode()) for raw in line.written]  # type: ignore[attr-defined]
        line.written = []  # type: ignore[attr-defined]
        for one in written:
            assert one.to == (session or self.alice).bare
        return [(one.from_, one.type or one.raw.decode().partition(">")[2]) for one in written]

    def bob(self, presence: bytes = b"<presence/>", counter: int = 4, generation: int = 1) -> None:
        """Bob's session on another node, as its delta has it."""
        self.setting.directory.apply(OTHER, SessionUp(counter, PHONE, generation, presence))

    def bob_ends(self, farewell: bytes = b"") -> None:
        if farewell:
            self.setting.directory.apply(OTHER, Farewell(4, farewell))
        self.setting.directory.apply(OTHER, SessionDown(4))


@pytest.fixture
def at() -> At:
    return At()


def test_watchers_are_told_of_available_changed_and_unavailable_and_nobody_else(at: At) -> None:
    at.bob()
    at.bob(AWAY)
    at.bob_ends()
    assert at.seen() == [(PHONE, ""), (PHONE, "<show>away</show></presence>"), (PHONE, "unavailable")]
    assert at.seen(at.mallory) == []


def test_session_without_presence_is_nobody_s_business(at: At) -> None:
    at.bob(b"")
    at.bob_ends()
    assert at.seen() == []


def test_same_presence_is_told_once(at: At) -> None:
    at.bob()
    at.setting.directory.apply(OTHER, SessionUp(4, PHONE, 1, b"<presence/>", 0, 1))  # its flags have changed
    assert at.seen() == [(PHONE, "")]


def test_unavailable_session_that_stays_connected_ends_once(at: At) -> None:
    at.bob()
    at.bob(b"")
    at.bob_ends()
    assert at.seen() == [(PHONE, ""), (PHONE, "unavailable")]


def test_farewell_goes_to_those_who_were_told(at: At) -> None:
    at.bob()
    at.seen()
    at.bob_ends(b"<presence><status>gone home</status></presence>")
    [raw] = at.alice.line.written  # type: ignore[attr-defined]
    read = stanza(raw.decode())
    assert (read.from_, read.type) == (PHONE, "unavailable")
    assert b"<status>gone home</status>" in raw


def test_death_of_a_node_looks_like_everybody_leaving(at: At) -> None:
    at.bob()
    at.seen()
    at.setting.directory.forget(OTHER)
    assert at.seen() == [(PHONE, "unavailable")]


def test_later_session_of_the_same_full_jid_is_told_without_an_end(at: At) -> None:
    at.bob()
    at.bob(AWAY, counter=5, generation=2)
    assert [kind for _, kind in at.seen()] == ["", "<show>away</show></presence>"]


def test_own_available_resources_are_told_once_even_when_they_watch_themselves(at: At) -> None:
    home, silent = at.setting.bind("bob", "home"), at.setting.bind("bob", "silent")
    home.presence = b"<presence/>"
    at.watchers.add(home, BOB)
    at.bob()
    assert at.seen(home) == [(PHONE, "")]
    assert at.seen(silent) == []


# directed presence


def test_directed_presence_is_withdrawn_when_its_sender_s_session_ends(at: At) -> None:
    at.bob(b"")
    at.presence.directed(at.mallory, PHONE, True)
    at.presence.directed(at.mallory, PHONE, True)
    at.bob_ends()
    assert at.seen(at.mallory) == [(PHONE, "unavailable")]
    assert at.seen() == []


def test_directed_presence_of_an_available_session_is_withdrawn_with_the_rest_and_once(at: At) -> None:
    at.bob()
    at.presence.directed(at.mallory, PHONE, True)
    at.presence.directed(at.alice, PHONE, True)
    at.seen()
    at.bob_ends()
    assert at.seen(at.mallory) == at.seen() == [(PHONE, "unavailable")]


def test_directed_presence_that_was_taken_back_is_not_withdrawn_again(at: At) -> None:
    at.bob(b"")
    at.presence.directed(at.mallory, PHONE, True)
    at.presence.directed(at.mallory, PHONE, False)
    at.presence.directed(at.alice, PHONE, False)
    at.bob_ends()
    assert at.seen(at.mallory) == at.seen() == []


def test_recipient_that_has_left_is_not_told(at: At) -> None:
    at.bob(b"")
    at.presence.directed(at.mallory, PHONE, True)
    at.setting.sessions.remove(at.mallory)
    at.bob_ends()
    assert at.seen(at.mallory) == []


def test_change_of_flags_alone_does_not_withdraw_directed_presence(at: At) -> None:
    at.bob(b"")
    at.presence.directed(at.mallory, PHONE, True)
    at.setting.directory.apply(OTHER, SessionUp(4, PHONE, 1, b"", 0, 1))
    assert at.seen(at.mallory) == []
    at.bob_ends()
    assert at.seen(at.mallory) == [(PHONE, "unavailable")]


def test_memory_for_directed_presence_is_bounded(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DIRECTED", 2)
    for number in range(3):
        at.presence.directed(at.mallory, f"bob@{DOMAIN}/{number}", True)
        at.setting.directory.apply(ME, SessionUp(50 + number, f"bob@{DOMAIN}/{number}", 1))
    at.setting.directory.replace(ME, [])
    assert at.seen(at.mallory) == [(f"bob@{DOMAIN}/1", "unavailable"), (f"bob@{DOMAIN}/2", "unavailable")]
