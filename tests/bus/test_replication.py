"""bus/replication.py: positions, gaps, ranges, snapshots, digests."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcluster.bus import replication, wire
from xcluster.bus.messages import (
    AskRange,
    AskSnapshot,
    Delta,
    Deltas,
    Origin,
    SessionDown,
    SessionUp,
    SnapshotChunk,
)
from xcluster.bus.replication import (
    ASK_AGAIN_S,
    CHUNK_ROWS,
    CUT_KEPT_S,
    GRACE_S,
    LATE_S,
    MAX_BATCH,
    REPAIR_EVERY_S,
    OwnLog,
    Replica,
    row_hash,
)
from xcluster.shared.errors import WireError

ME, PEER = Origin("me", 1), Origin("peer", 1)
NOW = 100.0
GRACE_OVER = NOW + GRACE_S + 0.001


def log(count: int = 0, ring: int = 65_536) -> OwnLog:
    """The peer's log, with that many deltas; delta n is SessionDown(n)."""
    result = OwnLog(PEER, ring)
    for number in range(1, count + 1):
        result.append(SessionDown(number))
    return result


def replica() -> Replica:
    """Ours of the peer's log, which began before our eyes."""
    return Replica(ME, PEER, NOW)


def part(source: OwnLog, first: int, last: int) -> Deltas:
    batch = source.range(first, last)
    assert batch is not None
    return batch


def seqs(deltas: list[Delta | None]) -> list[int]:
    return [delta.counter for delta in deltas if isinstance(delta, SessionDown)]


def rows(*counters: int) -> list[Delta]:
    return [SessionUp(counter, f"user{counter}@example.org/r", 1) for counter in counters]


def chunk(cut: int, index: int, chunks: int, content: list[Delta]) -> SnapshotChunk:
    return SnapshotChunk(PEER, ME, cut, index, chunks, wire.array([wire.encode(row) for row in content]))


# our own log


def test_log_is_numbered_from_one_and_published_once() -> None:
    own = log()
    assert not own.has_unsent
    assert [own.append(SessionDown(1)), own.append(SessionDown(2))] == [1, 2]
    assert own.has_unsent
    [batch] = own.take()
    assert (batch.origin, batch.first, batch.count) == (PEER, 1, 2)
    assert wire.deltas(batch.items) == [SessionDown(1), SessionDown(2)]
    assert not own.has_unsent and list(own.take()) == []
    own.append(SessionDown(3))
    assert [(batch.first, batch.count) for batch in own.take()] == [(3, 1)]


def test_published_messages_are_bounded_in_deltas_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    own = log(2 * MAX_BATCH + 1)
    assert [(batch.first, batch.count) for batch in own.take()] == [
        (1, MAX_BATCH),
        (MAX_BATCH + 1, MAX_BATCH),
        (2 * MAX_BATCH + 1, 1),
    ]
    monkeypatch.setattr(replication, "MAX_BYTES", 1000)
    for number in range(3):
        own.append(SessionUp(number, "a@b/c", 1, b"x" * 600))
    assert [batch.count for batch in own.take()] == [2, 1]


def test_what_one_turn_writes_beyond_the_ring_is_left_for_peers_to_ask() -> None:
    own = log(10, ring=4)
    assert [(batch.first, batch.count) for batch in own.take()] == [(7, 4)]
    assert not own.has_unsent


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        (1, 3, None),
        (6, 7, None),
        (7, 8, (7, 2)),
        (7, 99, (7, 4)),
        (10, 10, (10, 1)),
        (11, 11, None),
        (9, 8, None),
    ],
)
def test_ranges_of_a_ring_that_begins_at_seven(first: int, last: int, found: tuple[int, int] | None) -> None:
    own = log(10, ring=4)
    assert own.oldest == 7
    batch = own.range(first, last)
    assert (batch and (batch.first, batch.count)) == found


def test_snapshot_is_one_cut_at_one_seq_in_chunks() -> None:
    own = log(5)
    current = rows(*range(2 * CHUNK_ROWS + 1))
    calls = []

    def read() -> Iterator[Delta]:
        calls.append(own.seq)
        return iter(current)

    first = own.chunk(AskSnapshot(ME, PEER, 0, 0), read, NOW)
    assert (first.source, first.target, first.cut, first.index, first.chunks) == (PEER, ME, 5, 0, 3)
    own.append(SessionDown(0))
    current = []
    rest = [own.chunk(AskSnapshot(ME, PEER, 5, index), read, NOW) for index in (1, 2)]
    assert [(c.cut, c.index, c.chunks) for c in rest] == [(5, 1, 3), (5, 2, 3)]
    got = [row for c in (first, *rest) for row in wire.deltas(c.items)]
    assert got == rows(*range(2 * CHUNK_ROWS + 1))
    assert calls == [5]


def test_cut_that_nobody_asked_for_in_a_while_is_gone_and_a_fresh_one_takes_its_place() -> None:
    own = log(5)
    own.chunk(AskSnapshot(ME, PEER, 0, 0), lambda: iter(rows(1)), NOW)
    own.append(SessionDown(1))
    kept = own.chunk(AskSnapshot(ME, PEER, 5, 0), lambda: iter(rows(2)), NOW + CUT_KEPT_S)
    assert (kept.cut, wire.deltas(kept.items)) == (5, rows(1))
    fresh = own.chunk(AskSnapshot(ME, PEER, 5, 3), lambda: iter(rows(2)), NOW + 2 * CUT_KEPT_S + 1)
    assert (fresh.cut, fresh.index, wire.deltas(fresh.items)) == (6, 0, rows(2))


def test_snapshot_of_nothing_is_one_empty_chunk() -> None:
    empty = log().chunk(AskSnapshot(ME, PEER, 0, 0), lambda: iter(()), NOW)
    assert (empty.cut, empty.index, empty.chunks, wire.deltas(empty.items)) == (0, 0, 1, [])


# a replica: next in line, seen, gap


def test_next_in_line_is_applied() -> None:
    own, copy = log(5), replica()
    assert seqs(copy.received(part(own, 1, 2), NOW)) == [1, 2]
    assert seqs(copy.received(part(own, 3, 5), NOW)) == [3, 4, 5]
    assert (copy.applied, copy.heard, copy.is_behind) == (5, 5, False)
    assert copy.asks(NOW + 100) is None


def test_seen_is_ignored_and_what_overlaps_gives_only_the_rest() -> None:
    own, copy = log(5), replica()
    copy.received(part(own, 1, 3), NOW)
    assert copy.received(part(own, 1, 3), NOW) == []
    assert copy.received(part(own, 2, 2), NOW) == []
    assert copy.counters["ignored"] == 2
    assert seqs(copy.received(part(own, 2, 5), NOW)) == [4, 5]


def test_unknown_delta_takes_its_place() -> None:
    copy = replica()
    items = wire.array([b"\x92\x7f\x01", wire.encode(SessionDown(2))])
    assert copy.received(Deltas(PEER, 1, items, 2), NOW) == [None, SessionDown(2)]
    assert copy.applied == 2


def test_batch_that_lies_about_its_count_is_refused() -> None:
    copy = replica()
    with pytest.raises(WireError):
        copy.received(Deltas(PEER, 1, wire.array([wire.encode(SessionDown(1))]), 2), NOW)
    assert copy.applied == 0


def test_what_comes_early_is_kept_and_the_gap_is_asked_for() -> None:
    own, copy = log(9), replica()
    copy.received(part(own, 1, 2), NOW)
    assert copy.received(part(own, 5, 6), NOW) == []
    assert copy.is_behind
    assert copy.asks(NOW + GRACE_S / 2) is None  # it may only have been overtaken
    assert copy.asks(GRACE_OVER) == AskRange(ME, PEER, 3, 4)
    assert seqs(copy.received(part(own, 3, 4), GRACE_OVER)) == [3, 4, 5, 6]
    assert not copy.is_behind
    assert copy.asks(NOW + 100) is None
    assert copy.counters["ranges"] == 1


def test_gap_that_closes_by_itself_is_not_asked_for() -> None:
    own, copy = log(9), replica()
    copy.received(part(own, 3, 4), NOW)
    assert seqs(copy.received(part(own, 1, 2), NOW + GRACE_S / 2)) == [1, 2, 3, 4]
    assert copy.asks(GRACE_OVER) is None
    assert copy.counters["ranges"] == 0


def test_question_is_repeated_but_not_often_and_covers_all_gaps() -> None:
    own, copy = log(9), replica()
    copy.received(part(own, 2, 2), NOW)
    copy.received(part(own, 5, 5), NOW)
    assert copy.asks(GRACE_OVER) == AskRange(ME, PEER, 1, 4)
    assert copy.asks(GRACE_OVER + ASK_AGAIN_S / 2) is None
    assert copy.asks(GRACE_OVER + ASK_AGAIN_S) == AskRange(ME, PEER, 1, 4)
    assert seqs(copy.received(part(own, 1, 4), NOW + 1)) == [1, 2, 3, 4, 5]


def test_heartbeat_tells_of_deltas_that_were_lost() -> None:
    own, copy = log(9), replica()
    copy.received(part(own, 1, 2), NOW)
    copy.heard_position(4, NOW)
    copy.overtook(4, NOW)
    assert copy.is_behind
    assert copy.asks(GRACE_OVER) == AskRange(ME, PEER, 3, 4)


def test_position_from_a_direct_message_gives_deltas_time_to_come() -> None:
    own, copy = log(9), replica()
    copy.heard_position(3, NOW)
    assert copy.asks(NOW) is None
    assert copy.asks(NOW + LATE_S / 2) is None
    assert copy.asks(NOW + LATE_S) == AskRange(ME, PEER, 1, 3)
    copy.received(part(own, 1, 3), NOW + LATE_S)
    assert copy.asks(NOW + 100) is None


def test_gap_wider_than_a_message_is_filled_message_by_message() -> None:
    own, copy = log(2 * MAX_BATCH + 500), replica()
    copy.received(part(own, own.seq, own.seq), NOW)
    now = GRACE_OVER
    while copy.is_behind:
        ask = copy.asks(now)
        assert isinstance(ask, AskRange)
        copy.received(part(own, ask.first, ask.last), now)
        now += ASK_AGAIN_S
    assert (copy.applied, copy.counters["ranges"]) == (own.seq, 3)


# snapshots


def behind_a_short_ring(count: int = 20) -> tuple[OwnLog, Replica]:
    """A replica at 2 that has been told that the ring no longer has 3."""
    own, copy = log(count, ring=4), replica()
    copy.received(Deltas(PEER, 1, wire.array([wire.encode(SessionDown(n)) for n in (1, 2)]), 2), NOW)
    copy.heard_position(count, NOW)
    copy.gap_is_gone(NOW)
    return own, copy


def test_range_that_is_gone_leads_to_a_snapshot() -> None:
    own, copy = behind_a_short_ring()
    assert own.range(3, 20) is None
    assert copy.asks(NOW) == AskSnapshot(ME, PEER, 0, 0)
    assert copy.asks(NOW + ASK_AGAIN_S / 2) is None
    assert copy.asks(NOW + ASK_AGAIN_S) == AskSnapshot(ME, PEER, 0, 0)
    whole = copy.snapshot_chunk(chunk(20, 0, 1, rows(7)), NOW + 1)
    assert whole == (rows(7), [])
    assert (copy.applied, copy.is_behind, copy.is_repairing) == (20, False, False)
    assert copy.counters["snapshots"] == 1


def test_chunks_are_pulled_one_after_the_other() -> None:
    _, copy = behind_a_short_ring()
    copy.asks(NOW)
    assert copy.snapshot_chunk(chunk(20, 1, 3, rows(2)), NOW) is None  # not the one that was asked for
    assert copy.snapshot_chunk(chunk(20, 0, 3, rows(1)), NOW) is None
    assert copy.asks(NOW) == AskSnapshot(ME, PEER, 20, 1)
    assert copy.snapshot_chunk(chunk(20, 0, 3, rows(1)), NOW) is None  # once more
    assert copy.snapshot_chunk(chunk(20, 1, 3, rows(2)), NOW) is None
    assert copy.snapshot_chunk(chunk(20, 2, 3, rows(3)), NOW) == (rows(1, 2, 3), [])
    assert copy.snapshot_chunk(chunk(20, 2, 3, rows(3)), NOW) is None


def test_fresh_cut_of_the_origin_starts_the_snapshot_over() -> None:
    _, copy = behind_a_short_ring()
    assert copy.snapshot_chunk(chunk(20, 0, 2, rows(1)), NOW) is None
    assert copy.snapshot_chunk(chunk(25, 0, 2, rows(8)), NOW) is None
    assert copy.snapshot_chunk(chunk(20, 1, 2, rows(2)), NOW) is None
    assert copy.snapshot_chunk(chunk(25, 1, 2, rows(9)), NOW) == (rows(8, 9), [])
    assert copy.applied == 25


def test_deltas_that_come_meanwhile_are_applied_after_the_cut() -> None:
    _, copy = behind_a_short_ring()
    own = log(24)
    assert copy.received(part(own, 19, 22), NOW) == []
    assert (
        copy.received(part(own, 3, 4), NOW) == []
    )  # even what is next in line: the cut may be older than it
    whole = copy.snapshot_chunk(chunk(20, 0, 1, rows(7)), NOW)
    assert whole is not None
    assert (whole[0], seqs(whole[1])) == (rows(7), [21, 22])
    assert (copy.applied, copy.is_behind) == (22, False)
    assert seqs(copy.received(part(own, 23, 24), NOW)) == [23, 24]
    assert copy.compare(24, {"sessions": 1}, {"sessions": 2}, NOW)  # nothing waits any more


def test_late_chunk_of_an_older_cut_does_not_end_a_repair() -> None:
    copy = replica()
    copy.received(part(log(10), 1, 10), NOW)
    assert copy.compare(10, {"sessions": 1}, {"sessions": 2}, NOW)
    assert copy.snapshot_chunk(chunk(9, 0, 1, rows(1)), NOW) is None
    assert copy.is_repairing
    assert copy.asks(NOW) == AskSnapshot(ME, PEER, 0, 0)
    assert copy.snapshot_chunk(chunk(10, 0, 1, rows(2)), NOW) == (rows(2), [])


def test_newcomer_with_a_past_is_begun_with_a_snapshot() -> None:
    copy = replica()
    copy.want_snapshot(NOW)
    copy.want_snapshot(NOW)
    assert copy.is_behind
    assert copy.asks(NOW) == AskSnapshot(ME, PEER, 0, 0)
    assert copy.snapshot_chunk(chunk(0, 0, 1, []), NOW) == ([], [])
    assert copy.counters["snapshots"] == 1
    assert not copy.is_behind


def test_chunk_that_was_not_asked_for_is_ignored() -> None:
    copy = replica()
    assert copy.snapshot_chunk(chunk(20, 0, 1, rows(1)), NOW) is None
    assert copy.applied == 0


def test_too_much_waiting_starts_over_with_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replication, "MAX_WAITING", 10)
    own, copy = log(40), replica()
    copy.received(part(own, 20, 30), NOW)
    assert copy.asks(NOW) == AskSnapshot(ME, PEER, 0, 0)
    assert copy.snapshot_chunk(chunk(40, 0, 1, rows(1)), NOW) == (rows(1), [])


# digests


def applied_up_to_ten() -> Replica:
    copy = replica()
    copy.received(part(log(10), 1, 10), NOW)
    return copy


def test_equal_digests_are_left_alone() -> None:
    copy = applied_up_to_ten()
    assert not copy.compare(10, {"sessions": 5}, {"sessions": 5}, NOW)
    assert not copy.compare(10, {"rooms": 7}, {"sessions": 5}, NOW)  # a table of another release
    assert copy.counters["mismatches"] == 0


def test_digests_are_compared_only_at_equal_positions() -> None:
    copy = applied_up_to_ten()
    assert not copy.compare(11, {"sessions": 1}, {"sessions": 2}, NOW)
    assert not copy.compare(9, {"sessions": 1}, {"sessions": 2}, NOW)
    copy.received(part(log(20), 15, 16), NOW)
    assert not copy.compare(10, {"sessions": 1}, {"sessions": 2}, NOW)  # a gap is open
    assert copy.counters["mismatches"] == 0


def test_mismatch_is_counted_and_repaired_by_a_snapshot_at_the_same_seq() -> None:
    copy = applied_up_to_ten()
    assert copy.compare(10, {"sessions": 1}, {"sessions": 2}, NOW)
    assert not copy.compare(10, {"sessions": 1}, {"sessions": 2}, NOW)  # it is on its way
    assert copy.counters["mismatches"] == 1
    assert copy.snapshot_chunk(chunk(10, 0, 1, rows(1)), NOW) == (rows(1), [])
    assert copy.applied == 10


def test_mismatch_is_repaired_at_most_every_ten_seconds() -> None:
    copy = applied_up_to_ten()
    repaired = []
    for tenth in range(250):
        now = NOW + tenth / 10
        if copy.compare(10, {"sessions": 1}, {"sessions": 2}, now):
            repaired.append(now - NOW)
            copy.snapshot_chunk(chunk(10, 0, 1, rows(1)), now)
    assert repaired == [0.0, REPAIR_EVERY_S, 2 * REPAIR_EVERY_S]


def test_test_hook_holds_repairs() -> None:
    copy = applied_up_to_ten()
    copy.hold_repairs(NOW + 3)
    assert not copy.compare(10, {"sessions": 1}, {"sessions": 2}, NOW + 2.9)
    assert copy.compare(10, {"sessions": 1}, {"sessions": 2}, NOW + 3)


def test_row_hash_sees_every_field_and_fits_64_bits() -> None:
    fields = (1, "a@b/c", 1, b"<presence/>", 0, 0, 0)
    others = (2, "a@b/d", 2, b"", 1, 1, 1)
    seen = {row_hash(SessionUp(*fields))}
    for index, other in enumerate(others):
        seen.add(row_hash(SessionUp(*fields[:index], other, *fields[index + 1 :])))
    assert len(seen) == len(fields) + 1
    assert all(0 <= value < 2**64 for value in seen)


# everything at once


@settings(deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([4, 50, 65_536]))
def test_replica_converges_whatever_publishing_loses_doubles_or_reorders(seed: int, ring: int) -> None:
    chance = random.Random(seed)
    own, copy = OwnLog(PEER, ring), replica()
    known: dict[int, Delta] = {}
    theirs: dict[int, Delta] = {}
    flying: list[tuple[float, Deltas | SnapshotChunk]] = []
    now = NOW
    for turn in range(2000):
        now += 0.05
        calm = turn > 40
        for _ in range(0 if calm else chance.randrange(4)):
            counter = chance.randrange(8)
            delta = SessionUp(counter, f"u{counter}@d/r", chance.randrange(100))
            known[counter] = delta
            own.append(delta)
        news = list(own.take())
        flying += [
            (now + chance.random(), b) for b in news for _ in range(1 if calm else chance.choice([0, 1, 2]))
        ]
        copy.heard_position(own.seq, now)
        copy.overtook(own.seq, now)
        ask = copy.asks(now)
        if isinstance(ask, AskRange):
            answer = own.range(ask.first, ask.last)
            if answer is None:
                copy.gap_is_gone(now)
            else:
                flying.append((now + chance.random(), answer))
        elif ask is not None:
            flying.append((now + chance.random(), own.chunk(ask, lambda: iter(list(known.values())), now)))
        for _, message in sorted((f for f in flying if f[0] <= now), key=lambda f: f[0]):
            if isinstance(message, Deltas):
                changes = copy.received(message, now)
            else:
                whole = copy.snapshot_chunk(message, now)
                if whole is None:
                    continue
                theirs = {row.counter: row for row in whole[0] if isinstance(row, SessionUp)}
                changes = whole[1]
            theirs |= {row.counter: row for row in changes if isinstance(row, SessionUp)}
        flying = [f for f in flying if f[0] > now]
        if calm and not copy.is_behind:
            break
    assert copy.applied == own.seq
    assert theirs == known
