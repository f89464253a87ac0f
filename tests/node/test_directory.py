"""node/directory.py: who is on line where, conflicts included."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcluster.bus.messages import Farewell, Origin, SessionDown, SessionUp, Sid
from xcluster.node.directory import Directory, Record, bare

ME, A, B = Origin("me", 1), Origin("a", 1), Origin("b", 1)
PHONE, HOME = "alice@example.org/phone", "alice@example.org/home"
HERE = b"<presence/>"


class Watched:
    """A directory, and what its hooks are told."""

    def __init__(self) -> None:
        self.directory = Directory(ME)
        self.changes: list[tuple[Sid | None, Sid | None, bytes]] = []
        self.lost: list[Sid] = []
        self.directory.on_change.append(self._changed)
        self.directory.on_conflict.append(lambda record: self.lost.append(record.sid))

    def _changed(self, old: Record | None, new: Record | None, farewell: bytes) -> None:
        self.changes.append((old and old.sid, new and new.sid, farewell))

    def up(self, origin: Origin, counter: int, jid: str = PHONE, generation: int = 1, **more: Any) -> Sid:
        self.directory.apply(origin, SessionUp(counter, jid, generation, **more))
        return Sid(origin, counter)

    def down(self, sid: Sid) -> None:
        self.directory.apply(sid.origin, SessionDown(sid.counter))

    def found(self, jid: str = PHONE) -> Sid | None:
        record = self.directory.find(jid)
        return record and record.sid

    def told(self) -> list[tuple[Sid | None, Sid | None, bytes]]:
        changes, self.changes = self.changes, []
        return changes


@pytest.fixture
def it() -> Watched:
    return Watched()


# records


def test_session_is_found_by_its_full_jid_and_its_bare_jid(it: Watched) -> None:
    sid = it.up(A, 7, priority=5, presence=HERE, flags=3, smid=9)
    record = it.directory.find(PHONE)
    assert record is not None
    assert record.row() == SessionUp(7, PHONE, 1, HERE, 5, 3, 9)
    assert (record.sid, record.is_available) == (sid, True)
    assert it.directory.resources("alice@example.org") == (record,)
    assert it.told() == [(None, sid, b"")]
    for other in (HOME, "alice@example.org", "bob@example.org/phone"):
        assert it.directory.find(other) is None
    assert it.directory.resources("bob@example.org") == ()


def test_later_row_replaces_the_earlier_one(it: Watched) -> None:
    sid = it.up(A, 7)
    it.up(A, 7, presence=HERE)
    record = it.directory.find(PHONE)
    assert record is not None and record.presence == HERE
    assert it.told() == [(None, sid, b""), (sid, sid, b"")]
    assert it.directory.count() == it.directory.count(A) == 1


def test_session_that_ends_is_not_found_and_ends_once(it: Watched) -> None:
    sid = it.up(A, 7)
    it.told()
    it.down(sid)
    it.down(sid)
    assert it.found() is None
    assert it.told() == [(sid, None, b"")]
    assert (it.directory.count(), it.directory.users()) == (0, 0)


def test_several_resources_come_and_go(it: Watched) -> None:
    phone, home = it.up(A, 1, PHONE), it.up(B, 1, HOME)
    office = it.up(ME, 1, "alice@example.org/office")
    assert {record.sid for record in it.directory.resources("alice@example.org")} == {phone, home, office}
    assert it.directory.users() == 1
    it.down(home)
    it.down(office)
    assert [record.sid for record in it.directory.resources("alice@example.org")] == [phone]
    assert (it.found(PHONE), it.found(HOME)) == (phone, None)
    it.up(B, 2, HOME)
    assert it.found(HOME) == Sid(B, 2)


def test_own_sessions_are_found_by_counter(it: Watched) -> None:
    it.up(ME, 3)
    it.up(A, 4, HOME)
    record = it.directory.own(3)
    assert record is not None and record.jid == PHONE
    assert it.directory.own(4) is None
    assert [r.counter for r in it.directory.of(A)] == [4]
    assert list(it.directory.of(B)) == []


@pytest.mark.parametrize(
    ("jid", "expected"),
    [(PHONE, "alice@example.org"), ("a@b", "a@b"), ("a@b/c/d@e", "a@b"), ("example.org/x", "example.org")],
)
def test_bare(jid: str, expected: str) -> None:
    assert bare(jid) == expected


def test_same_presence_is_kept_once(it: Watched) -> None:
    it.up(A, 1, PHONE, presence=bytes(bytearray(b"<presence>x</presence>")))
    it.up(B, 1, HOME, presence=bytes(bytearray(b"<presence>x</presence>")))
    phone, home = it.directory.find(PHONE), it.directory.find(HOME)
    assert phone is not None and home is not None
    assert phone.presence is home.presence


# farewells


def test_farewell_is_told_with_the_end_that_it_announced(it: Watched) -> None:
    sid = it.up(A, 7, presence=HERE)
    it.told()
    it.directory.apply(A, Farewell(7, b"<presence>bye</presence>"))
    assert it.told() == []
    it.up(A, 7)
    it.down(sid)
    assert it.told() == [(sid, sid, b"<presence>bye</presence>"), (sid, None, b"")]


def test_farewell_of_another_session_is_not_mistaken(it: Watched) -> None:
    phone, home = it.up(A, 1, PHONE), it.up(B, 1, HOME)
    it.told()
    it.directory.apply(A, Farewell(1, b"bye"))
    it.down(home)
    it.down(phone)
    assert it.told() == [(home, None, b""), (phone, None, b"bye")]


@pytest.mark.parametrize("end", ["down", "unknown", "forget"])
def test_farewell_that_nobody_hears_is_not_kept(it: Watched, end: str) -> None:
    it.up(A, 1, generation=2)
    hidden = it.up(B, 1, generation=1)
    counter = 9 if end == "unknown" else 1
    it.directory.apply(B, Farewell(counter, b"bye"))
    if end == "forget":
        it.directory.forget(B)
    else:
        it.down(Sid(B, counter))
    it.told()
    it.down(it.up(B, counter, HOME))
    assert it.told()[-1] == (Sid(B, counter), None, b"")
    assert hidden == Sid(B, 1)


# conflicts


@pytest.mark.parametrize("reverse", [False, True], ids=["winner first", "loser first"])
@pytest.mark.parametrize(
    ("winner", "loser"),
    [((B, 1, 6), (A, 9, 5)), ((B, 1, 5), (A, 9, 5)), ((A, 9, 5), (A, 8, 5))],
    ids=["generation", "origin", "counter"],
)
def test_larger_rank_wins_whoever_was_heard_first(
    it: Watched, winner: tuple[Origin, int, int], loser: tuple[Origin, int, int], reverse: bool
) -> None:
    for origin, counter, generation in sorted(
        (winner, loser), key=lambda one: one is winner, reverse=not reverse
    ):
        it.up(origin, counter, generation=generation)
    assert it.found() == Sid(*winner[:2])
    assert len(it.directory.resources("alice@example.org")) == 1
    assert it.directory.count() == 2
    assert it.lost == []


def test_loser_is_not_announced_and_a_winner_replaces_in_one_change(it: Watched) -> None:
    first, second, third = it.up(A, 1, generation=5), it.up(B, 1, generation=6), it.up(A, 2, generation=4)
    assert it.told() == [(None, first, b""), (first, second, b"")]
    it.down(third)
    assert it.told() == []


def test_heir_is_the_best_of_the_shadow(it: Watched) -> None:
    best = it.up(A, 1, generation=9)
    heir, third = it.up(B, 1, generation=8), it.up(A, 2, generation=7)
    it.told()
    it.down(best)
    assert it.found() == heir
    assert it.told() == [(best, heir, b"")]
    it.down(heir)
    assert it.found() == third
    it.down(third)
    assert it.found() is None
    assert it.directory.users() == 0


def test_record_that_changes_in_the_shadow_stays_there_and_inherits_as_it_is(it: Watched) -> None:
    winner = it.up(A, 1, generation=9)
    loser = it.up(B, 1, generation=8)
    it.told()
    it.up(B, 1, generation=8, presence=HERE)
    assert (it.found(), it.told()) == (winner, [])
    it.down(winner)
    record = it.directory.find(PHONE)
    assert record is not None
    assert (record.sid, record.presence) == (loser, HERE)


def test_session_that_takes_another_full_jid_frees_the_first(it: Watched) -> None:
    sid = it.up(A, 1, PHONE)
    it.up(A, 1, HOME)
    assert (it.found(PHONE), it.found(HOME)) == (None, sid)
    assert it.directory.digest(A) == it.directory.recomputed_digest(A)


def test_only_the_owner_of_the_loser_is_asked_to_close_it(it: Watched) -> None:
    ours = it.up(ME, 1, generation=5)
    it.up(A, 1, generation=6)
    assert it.lost == [ours]
    it.up(B, 1, generation=4)
    assert it.lost == [ours]
    late = it.up(ME, 2, generation=3)
    assert it.lost == [ours, late]


def test_generation_of_a_new_session_beats_all_that_are_known(it: Watched) -> None:
    assert it.directory.next_generation(PHONE, 100) == 100
    it.up(A, 1, generation=500)
    it.up(B, 1, generation=400)
    assert it.directory.next_generation(PHONE, 100) == 501
    assert it.directory.next_generation(PHONE, 1000) == 1000
    assert it.directory.next_generation(HOME, 100) == 100
    it.directory.mark_stale(A, 1)  # others still know it
    assert it.directory.next_generation(PHONE, 100) == 501


# snapshots, deaths, new names


def test_snapshot_is_applied_as_a_difference(it: Watched) -> None:
    kept, gone = it.up(A, 1, PHONE), it.up(A, 2, HOME)
    other = it.up(B, 1, "bob@example.org/x")
    it.told()
    fresh = SessionUp(3, "carol@example.org/x", 1)
    it.directory.replace(A, [SessionUp(1, PHONE, 1), fresh])
    assert it.told() == [(gone, None, b""), (None, Sid(A, 3), b"")]
    it.directory.replace(A, [SessionUp(1, PHONE, 1, HERE), fresh])
    assert it.told() == [(kept, kept, b"")]
    assert it.found("bob@example.org/x") == other
    it.directory.replace(A, [])
    assert it.directory.count(A) == 0


def test_snapshot_of_a_session_that_went_to_another_counter_is_one_replacement(it: Watched) -> None:
    it.up(A, 1, generation=1)
    it.told()
    it.directory.replace(A, [SessionUp(2, PHONE, 2)])
    assert it.found() == Sid(A, 2)
    assert it.directory.count(A) == 1


def test_death_takes_all_rows_of_the_origin_and_no_others(it: Watched) -> None:
    dead, alive = it.up(A, 1, PHONE), it.up(B, 1, HOME)
    heir = it.up(B, 2, PHONE, generation=0)
    it.told()
    it.directory.forget(A)
    assert it.told() == [(dead, heir, b"")]
    assert (it.found(HOME), it.directory.count()) == (alive, 2)
    assert it.directory.digest(A) == 0
    it.directory.forget(A)
    assert it.told() == []


def test_new_incarnation_keeps_our_sessions_and_nobody_hears_of_it(it: Watched) -> None:
    it.up(ME, 1, presence=HERE)
    it.up(A, 1, HOME)
    it.told()
    digest = it.directory.digest(ME)
    newer = Origin("me", 2)
    it.directory.rename(newer)
    assert it.told() == []
    assert it.found() == Sid(newer, 1)
    assert it.directory.digest(newer) == it.directory.recomputed_digest(newer) == digest
    assert (it.directory.count(ME), it.directory.count(newer)) == (0, 1)
    assert it.directory.own(1) is not None
    it.down(Sid(newer, 1))
    assert it.found() is None


# stale


def test_stale_session_is_not_routed_to_but_stays_in_the_digest(it: Watched) -> None:
    sid, home = it.up(A, 1, PHONE), it.up(B, 1, HOME)
    digest = it.directory.digest(A)
    it.directory.mark_stale(*sid)
    assert it.found() is None
    assert [record.sid for record in it.directory.resources("alice@example.org")] == [home]
    assert it.directory.digest(A) == it.directory.recomputed_digest(A) == digest


@pytest.mark.parametrize("what", ["delta", "end and new session", "death and return"])
def test_mark_goes_with_the_news_of_the_session(it: Watched, what: str) -> None:
    sid = it.up(A, 1)
    it.directory.mark_stale(*sid)
    if what == "end and new session":
        it.down(sid)
    elif what == "death and return":
        it.directory.forget(A)
    it.up(A, 1)
    assert it.found() == sid


def test_mark_for_a_session_that_is_not_known_is_no_mark(it: Watched) -> None:
    it.directory.mark_stale(A, 1)
    it.up(A, 1)
    assert it.found() == Sid(A, 1)


# digests


def test_digest_depends_on_rows_and_not_on_their_order(it: Watched) -> None:
    other = Watched()
    for counter in (1, 2, 3):
        it.up(A, counter, f"u{counter}@d/r")
        other.up(A, 4 - counter, f"u{4 - counter}@d/r")
    assert it.directory.digest(A) == other.directory.digest(A) != 0
    other.up(A, 2, "u2@d/r", presence=HERE)
    assert it.directory.digest(A) != other.directory.digest(A)


def test_lost_row_shows_in_the_digest(it: Watched) -> None:
    it.up(A, 1)
    before = it.directory.digest(A)
    record = it.directory.find(PHONE)
    assert record is not None
    it.directory.lose(record)
    assert it.directory.digest(A) != before


ORIGINS = st.sampled_from([ME, A, B])
COUNTERS = st.integers(1, 4)
JIDS = st.sampled_from([PHONE, HOME, "bob@example.org/x"])
ROWS = st.builds(  # a session keeps its generation for life
    lambda counter, jid, presence, priority: SessionUp(counter, jid, counter % 3, presence, priority),
    COUNTERS,
    JIDS,
    st.sampled_from([b"", HERE]),
    st.integers(-1, 1),
)
DELTAS = ROWS | st.builds(SessionDown, COUNTERS) | st.builds(Farewell, COUNTERS, st.just(b"x"))
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), ORIGINS, DELTAS),
        st.tuples(st.just("replace"), ORIGINS, st.lists(ROWS, max_size=4, unique_by=lambda row: row.counter)),
        st.tuples(st.just("forget"), st.sampled_from([A, B]), st.none()),
        st.tuples(st.just("mark_stale"), ORIGINS, COUNTERS),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(OPERATIONS)
def test_any_operations_leave_digests_that_the_rows_give_and_the_best_on_top(
    operations: list[tuple[str, Origin, Any]],
) -> None:
    it = Watched()
    model: dict[Sid, SessionUp] = {}
    shown: dict[str, Sid | None] = {}

    def changed(old: Record | None, new: Record | None, farewell: bytes) -> None:
        jid = (new or old).jid  # type: ignore[union-attr]
        assert shown.get(jid) == (old and old.sid)
        shown[jid] = new and new.sid

    it.directory.on_change.append(changed)
    for verb, origin, value in operations:
        if verb == "forget":
            it.directory.forget(origin)
            model = {sid: row for sid, row in model.items() if sid.origin != origin}
            continue
        getattr(it.directory, verb)(origin, value)
        if verb == "replace":
            model = {sid: row for sid, row in model.items() if sid.origin != origin}
            model |= {Sid(origin, row.counter): row for row in value}
        elif isinstance(value, SessionUp):
            model[Sid(origin, value.counter)] = value
        elif isinstance(value, SessionDown):
            model.pop(Sid(origin, value.counter), None)
    for origin in (ME, A, B):
        assert it.directory.digest(origin) == it.directory.recomputed_digest(origin)
        assert {r.sid: r.row() for r in it.directory.of(origin)} == {
            sid: row for sid, row in model.items() if sid.origin == origin
        }
    for jid in (PHONE, HOME, "bob@example.org/x"):
        ranks = {sid: (row.generation, *sid) for sid, row in model.items() if row.jid == jid}
        assert shown.get(jid) == (max(ranks, key=lambda sid: ranks[sid]) if ranks else None)
    assert it.directory.users() == len({bare(row.jid) for row in model.values()})
