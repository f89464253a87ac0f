"""Watchers: the index from contacts to the sessions that see them."""

from hypothesis import given
from hypothesis import strategies as st

from tests.node.features.setting import Line
from xcluster.node.session import Session
from xcluster.node.watchers import Watchers
from xcluster.shared import jid

BOB, CAROL = "bob@example.org", "carol@example.org"


def session(counter: int) -> Session:
    return Session(counter, jid.make("alice", "example.org", f"r{counter}"), Line(), 1, 0.0)


def test_session_sees_whom_it_watches() -> None:
    watchers, one, other = Watchers(), session(1), session(2)
    watchers.watch(one, [BOB, CAROL])
    watchers.watch(other, [BOB])
    assert watchers.of(BOB) == [one, other]
    assert watchers.of(CAROL) == [one]
    assert watchers.of("dave@example.org") == []
    assert watchers.contacts(one) == [BOB, CAROL]
    assert (watchers.sees(other, BOB), watchers.sees(other, CAROL)) == (True, False)


def test_adding_and_discarding_tell_whether_anything_changed() -> None:
    watchers, one, other = Watchers(), session(1), session(2)
    assert [watchers.add(one, BOB), watchers.add(one, BOB)] == [True, False]
    assert [watchers.add(other, BOB), watchers.add(other, BOB)] == [True, False]
    assert [watchers.discard(one, BOB), watchers.discard(one, BOB)] == [True, False]
    assert watchers.of(BOB) == [other]
    assert [watchers.discard(other, BOB), watchers.discard(other, BOB)] == [True, False]
    assert watchers.of(BOB) == []


def test_forgotten_session_sees_nobody() -> None:
    watchers, one, other = Watchers(), session(1), session(2)
    watchers.watch(one, [BOB, CAROL])
    watchers.watch(other, [BOB])
    watchers.forget(one)
    assert (watchers.of(BOB), watchers.of(CAROL), watchers.contacts(one)) == ([other], [], [])
    watchers.forget(one)


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "discard", "forget"]), st.integers(0, 3), st.sampled_from("xyz")),
    max_size=40,
)


@given(STEPS)
def test_index_is_what_a_set_of_pairs_would_be(steps: list[tuple[str, int, str]]) -> None:
    watchers, sessions = Watchers(), [session(number) for number in range(4)]
    pairs: set[tuple[int, str]] = set()
    for step, number, contact in steps:
        if step == "add":
            assert watchers.add(sessions[number], contact) is ((number, contact) not in pairs)
            pairs.add((number, contact))
        elif step == "discard":
            assert watchers.discard(sessions[number], contact) is ((number, contact) in pairs)
            pairs.discard((number, contact))
        else:
            watchers.forget(sessions[number])
            pairs = {pair for pair in pairs if pair[0] != number}
    for contact in "xyz":
        assert {one.counter for one in watchers.of(contact)} == {n for n, seen in pairs if seen == contact}
        assert len(watchers.of(contact)) == len(set(watchers.of(contact)))
    for number, one in enumerate(sessions):
        assert sorted(watchers.contacts(one)) == sorted(seen for n, seen in pairs if n == number)
