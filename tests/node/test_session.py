"""node/session.py: sessions, by counter and by user."""

import pytest

from tests.node.features.setting import Line
from xcluster.node.session import Session, Sessions
from xcluster.shared import jid


def session(sessions: Sessions, address: str, lang: str | None = None) -> Session:
    made = Session(sessions.next_counter(), jid.parse(address), Line(), 1, 5.0, lang)
    sessions.add(made)
    return made


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def test_counters_grow_and_are_never_given_twice(sessions: Sessions) -> None:
    first = session(sessions, "alice@example.org/1")
    sessions.remove(first)
    assert session(sessions, "alice@example.org/1").counter == first.counter + 1 == 2


def test_sessions_are_found_by_counter_and_by_user(sessions: Sessions) -> None:
    phone, home = session(sessions, "alice@example.org/phone"), session(sessions, "alice@example.org/home")
    bob = session(sessions, "bob@example.org/x")
    assert sessions.get(phone.counter) is phone
    assert sessions.get(99) is None
    assert sessions.of("alice@example.org") == [phone, home]
    assert sessions.of("bob@example.org") == [bob]
    assert sessions.of("carol@example.org") == []
    assert (sessions.all(), len(sessions)) == ([phone, home, bob], 3)
    assert sessions.users() == ["alice@example.org", "bob@example.org"]


def test_sessions_go_one_by_one(sessions: Sessions) -> None:
    three = [session(sessions, f"alice@example.org/{number}") for number in range(3)]
    for gone in (1, 0, 2):
        sessions.remove(three[gone])
        three[gone].is_bound = False
        assert sessions.of("alice@example.org") == [one for one in three if one.is_bound]
    assert (sessions.users(), len(sessions)) == ([], 0)


def test_list_of_a_user_is_a_copy(sessions: Sessions) -> None:
    session(sessions, "alice@example.org/1")
    session(sessions, "alice@example.org/2")
    for one in sessions.of("alice@example.org"):
        sessions.remove(one)
    assert len(sessions) == 0


def test_session_knows_what_its_stanzas_leave_with(sessions: Sessions) -> None:
    plain = session(sessions, "Alice@example.org/it's")
    assert (plain.jid, plain.bare, plain.user) == ("alice@example.org/it's", "alice@example.org", "alice")
    assert plain.stamp == b" from='alice@example.org/it&apos;s'"
    assert plain.lang == b""
    assert session(sessions, "bob@example.org/x", "de").lang == b" xml:lang='de'"
    assert not plain.is_available
    plain.presence = b"<presence/>"
    assert plain.is_available


def test_session_writes_to_its_line(sessions: Sessions) -> None:
    alice = session(sessions, "alice@example.org/x")
    alice.send(b"<message/>")
    assert alice.line.written == [b"<message/>"]  # type: ignore[attr-defined]
