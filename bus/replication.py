"""One ordered log of deltas an origin, the same rows on every node (design.md §6).

`OwnLog` is what we write: numbered from 1, published once a loop turn, a ring kept for those who missed some, a
cut for those who missed much. `Replica` is our copy of somebody's log: next in line is applied, seen is
ignored, a gap is asked for, and what a heartbeat says of position and digest is held against it. Publishing may
lose, double and reorder as it likes.

Rows live in tables (node/directory.py is one); here are only positions. Nothing here knows what a row means.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Protocol

from xcluster.bus import wire
from xcluster.bus.messages import AskRange, AskSnapshot, Delta, Deltas, Origin, SnapshotChunk
from xcluster.shared.errors import WireError

GRACE_S = 0.05  # how long deltas may still take that something published later has overtaken
LATE_S = 1.0  # how long deltas may take of which only a direct message tells: they have another way to come
ASK_AGAIN_S = 0.25
REPAIR_EVERY_S = 10.0  # a digest mismatch of one origin is repaired at most this often
CHUNK_ROWS = 1000
CUT_KEPT_S = 5.0  # how long a cut is kept after the last chunk was asked for
MAX_WAITING = 200_000  # deltas kept while earlier ones are missing; beyond: start over with a snapshot
MAX_BATCH = 2000  # deltas in one published message
MAX_BYTES = 262_144  # of one message, give or take one delta: below what a bus relays


def row_hash(row: Delta) -> int:
    """64 bits of a row as it is on the wire; a table's digest is their sum."""
    return int.from_bytes(blake2b(wire.encode(row), digest_size=8).digest(), "big")


class Table(Protocol):
    """Rows that every node has, each written by its origin alone."""

    def apply(self, origin: Origin, delta: Delta) -> None:
        """A row has come, changed or gone."""

    def replace(self, origin: Origin, rows: Iterable[Delta]) -> None:
        """These are all rows of the origin: apply as a diff."""

    def forget(self, origin: Origin) -> None:
        """The origin is dead."""

    def rows(self, origin: Origin) -> Iterator[Delta]:
        """All rows of the origin, as deltas that state them."""

    def digest(self, origin: Origin) -> int:
        """Sum of `row_hash` over the rows of the origin, modulo 2**64; kept incrementally."""


class OwnLog:
    """The log that this incarnation writes."""

    def __init__(self, me: Origin, ring: int) -> None:
        self.me = me
        self.seq = 0
        self._ring: deque[bytes] = deque(maxlen=ring)  # the encoded deltas up to seq
        self._unsent = 0
        self._cuts: dict[int, tuple[float, list[list[bytes]]]] = {}

    def append(self, delta: Delta) -> int:
        """Write a delta; returns its seq."""
        self.seq += 1
        self._ring.append(wire.encode(delta))
        self._unsent += 1
        return self.seq

    def skip(self) -> int:
        """Count a delta that nobody but us will ever see."""
        self.seq += 1
        return self.seq

    @property
    def has_unsent(self) -> bool:
        return self._unsent > 0

    def take(self) -> Iterator[Deltas]:
        """What was written since the last call, to be published."""
        while self._unsent:
            first = self.seq - self._unsent + 1
            batch = self.range(first, self.seq)
            if batch is None:  # more was written in one turn than the ring holds: peers will ask
                self._unsent = min(self._unsent - 1, len(self._ring))
                continue
            self._unsent -= batch.count
            yield batch

    @property
    def oldest(self) -> int:
        return self.seq - len(self._ring) + 1

    def range(self, first: int, last: int) -> Deltas | None:
        """Deltas `first` .. `last` (or as many as fit a message); None when the ring no longer has them."""
        last = min(last, self.seq, first + MAX_BATCH - 1)
        if first < self.oldest or first > last:
            return None
        ring, start = self._ring, first - self.oldest
        # by index: a deque counts from its nearer end, and what is asked for is mostly new
        items = _head((ring[index] for index in range(start, start + last - first + 1)), MAX_BATCH)
        return Deltas(self.me, first, wire.array(items), len(items))

    def chunk(self, ask: AskSnapshot, rows: Callable[[], Iterator[Delta]], now: float) -> SnapshotChunk:
        """A chunk of the cut that is asked for; of a fresh one when that cut is gone."""
        for cut in [cut for cut, (used, _) in self._cuts.items() if now - used > CUT_KEPT_S]:
            del self._cuts[cut]
        cut, index = ask.cut, ask.index
        if not cut or cut not in self._cuts:
            cut, index = self.seq, 0
            if cut not in self._cuts:
                self._cuts[cut] = (now, _chunks(rows()))
        chunks = self._cuts[cut][1]
        self._cuts[cut] = (now, chunks)
        index = min(index, len(chunks) - 1)
        return SnapshotChunk(self.me, ask.source, cut, index, len(chunks), wire.array(chunks[index]))


def _head(items: Iterable[bytes], count: int) -> list[bytes]:
    """The first `count` items, or as many as fit a message."""
    head: list[bytes] = []
    size = 0
    for item in items:
        head.append(item)
        size += len(item)
        if len(head) == count or size >= MAX_BYTES:
            break
    return head


def _chunks(rows: Iterator[Delta]) -> list[list[bytes]]:
    encoded = map(wire.encode, rows)
    chunks: list[list[bytes]] = []
    while chunk := _head(encoded, CHUNK_ROWS):
        chunks.append(chunk)
    return chunks or [[]]


class Replica:
    """Our copy of one origin's log."""

    def __init__(self, me: Origin, origin: Origin, now: float) -> None:
        self.me = me
        self.origin = origin
        self.applied = 0  # all deltas up to here are in the tables
        self.heard = 0  # the highest position anybody told us
        self.counters = {"ranges": 0, "snapshots": 0, "mismatches": 0, "ignored": 0}
        self._waiting: dict[int, Delta | None] = {}  # seq -> delta that came before its predecessors
        self._overtaken = 0  # something published after this one has come
        self._overtaken_at = now
        self._late = 0  # heard of at _late_at, and not come since
        self._late_at = now
        self._ask_at = 0.0
        self._snapshot: _Snapshot | None = None
        self._repair_at = 0.0  # a mismatch is not repaired before

    @property
    def is_behind(self) -> bool:
        """Whether the origin is known to have written what is not applied here yet."""
        return self.heard > self.applied or self._snapshot is not None

    @property
    def is_repairing(self) -> bool:
        return self._snapshot is not None

    def heard_position(self, seq: int, now: float) -> None:
        """A heartbeat, frame or ping tells how far the origin's log goes."""
        self.heard = max(self.heard, seq)

    def overtook(self, seq: int, now: float) -> None:
        """Something published after `seq` has come: what is not here of those up to it is lost, or nearly so."""
        if self.applied < seq <= self.heard:
            if self._overtaken <= self.applied:
                self._overtaken_at = now
            self._overtaken = max(self._overtaken, seq)

    def received(self, batch: Deltas, now: float) -> list[Delta | None]:
        """Take a batch; returns the deltas that are to be applied now, in order."""
        last = batch.first + batch.count - 1
        self.heard_position(last, now)
        if last <= self.applied:
            self.counters["ignored"] += 1
            return []
        deltas = wire.deltas(batch.items)
        if len(deltas) != batch.count:
            raise WireError(f"{batch.count} deltas announced, {len(deltas)} sent")
        if batch.first <= self.applied + 1 and not self._waiting and self._snapshot is None:
            fresh = deltas[self.applied + 1 - batch.first :]
            self.applied = last
            return fresh
        self.overtook(batch.first - 1, now)
        for seq, delta in enumerate(deltas, batch.first):
            if seq > self.applied:
                self._waiting[seq] = delta
        if len(self._waiting) > MAX_WAITING:
            self._waiting.clear()
            self._start_snapshot(now)
        return self._drain()

    def _drain(self) -> list[Delta | None]:
        """The deltas that have become next in line."""
        ready: list[Delta | None] = []
        if self._snapshot is not None:
            return ready
        while self.applied + 1 in self._waiting:
            self.applied += 1
            ready.append(self._waiting.pop(self.applied))
        return ready

    def gap_is_gone(self, now: float) -> None:
        """The origin's ring does not go back to what we miss."""
        self._start_snapshot(now)

    def compare(self, seq: int, theirs: Mapping[str, int], ours: Mapping[str, int], now: float) -> bool:
        """Hold digests at equal positions against each other; True when a repair was started."""
        if seq != self.applied or self._snapshot is not None or self._waiting:
            return False
        if all(theirs.get(table, digest) == digest for table, digest in ours.items()):
            return False
        if now < self._repair_at:
            return False
        self.counters["mismatches"] += 1
        self._repair_at = now + REPAIR_EVERY_S
        self._start_snapshot(now)
        return True

    def hold_repairs(self, until: float) -> None:
        """For tests: let a mismatch stand until then."""
        self._repair_at = until

    def _start_snapshot(self, now: float) -> None:
        if self._snapshot is None:
            self._snapshot = _Snapshot()
            self._ask_at = now
            self.counters["snapshots"] += 1

    def want_snapshot(self, now: float) -> None:
        """Begin with a snapshot: the origin is new to us and has a past."""
        self._start_snapshot(now)

    def asks(self, now: float) -> AskRange | AskSnapshot | None:
        """What to ask the origin for now, if anything. Call it often."""
        if self._late <= self.applied < self.heard:
            self._late, self._late_at = self.heard, now
        if now < self._ask_at:
            return None
        if self._snapshot is not None:
            self._ask_at = now + ASK_AGAIN_S
            return AskSnapshot(self.me, self.origin, self._snapshot.cut, self._snapshot.next)
        lost = self._overtaken if now - self._overtaken_at >= GRACE_S else 0
        if now - self._late_at >= LATE_S:
            lost = max(lost, self._late)
        if lost <= self.applied:
            return None
        self._ask_at = now + ASK_AGAIN_S
        self.counters["ranges"] += 1
        return AskRange(self.me, self.origin, self.applied + 1, lost)  # over all gaps at once

    def snapshot_chunk(
        self, chunk: SnapshotChunk, now: float
    ) -> tuple[list[Delta], list[Delta | None]] | None:
        """Take a chunk. When the cut is whole: its rows, and the deltas to apply after them.

        A chunk of a cut older than what is applied is a late one, and ends nothing."""
        snapshot = self._snapshot
        if snapshot is None or chunk.cut < self.applied or not snapshot.add(chunk):
            return None
        self._ask_at = now  # the next chunk at once
        if not snapshot.is_whole:
            return None
        self._snapshot = None
        self._overtaken_at = self._late_at = now
        self.applied = snapshot.cut
        self.heard = max(self.heard, self.applied)
        for seq in [seq for seq in self._waiting if seq <= self.applied]:
            del self._waiting[seq]
        return snapshot.rows, self._drain()


class _Snapshot:
    """A cut on its way, chunk by chunk."""

    def __init__(self) -> None:
        self.cut = 0
        self.next = 0
        self.is_whole = False
        self.rows: list[Delta] = []

    def add(self, chunk: SnapshotChunk) -> bool:
        """Whether the chunk is the one that comes next."""
        if chunk.cut != self.cut:
            if chunk.index != 0:
                return False
            self.cut, self.next, self.rows = chunk.cut, 0, []  # the origin has made a fresh cut
        if chunk.index != self.next:
            return False
        self.rows += [row for row in wire.deltas(chunk.items) if row is not None]
        self.next += 1
        self.is_whole = self.next == chunk.chunks
        return True
