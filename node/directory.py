"""Who is on line where: one record a session, replicated to every node (design.md §6).

The directory is the `sessions` table of the replication. Each record is written by its owner alone. Two
records may claim one full JID for a while: the one with the larger (generation, origin, counter) is seen by
everybody, the other waits in the shadow until its owner closes it.
"""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from xcluster.bus.messages import Delta, Farewell, Origin, SessionDown, SessionUp, Sid
from xcluster.bus.replication import row_hash

MAX_INTERNED = 8192  # distinct presence stanzas shared between records; beyond: not shared
_MASK = (1 << 64) - 1

# flags of a session
CARBONS = 1
DETACHED = 2
INTERESTED = 4


class Record(msgspec.Struct, gc=False):
    """A session of any node, slim: the rest is asked of its owner."""

    origin: Origin
    counter: int
    jid: str
    generation: int
    presence: bytes
    priority: int
    flags: int
    smid: int

    @property
    def sid(self) -> Sid:
        return Sid(self.origin, self.counter)

    @property
    def is_available(self) -> bool:
        return bool(self.presence)

    @property
    def rank(self) -> tuple[int, Origin, int]:
        """Of two records for one full JID the larger rank wins, on every node alike."""
        return self.generation, self.origin, self.counter

    def row(self) -> SessionUp:
        return SessionUp(
            self.counter, self.jid, self.generation, self.presence, self.priority, self.flags, self.smid
        )


Changed = Callable[[Record | None, Record | None, bytes], None]


def bare(jid: str) -> str:
    """The bare part of a prepared full JID."""
    slash = jid.find("/")
    return jid if slash < 0 else jid[:slash]


class Directory:
    """All sessions of the cluster, by bare JID.

    `on_change` hooks are told (old, new, farewell) whenever what a full JID resolves to changes: by delta,
    snapshot, death or ourselves; farewell is the unavailable presence that ended it, b"" for a plain one.
    `on_conflict` hooks are told of a record of ours that lost its full JID."""

    def __init__(self, me: Origin) -> None:
        self.me = me
        self.on_change: list[Changed] = []
        self.on_conflict: list[Callable[[Record], None]] = []
        self._users: dict[str, Record | dict[str, Record]] = {}
        self._origins: dict[Origin, dict[int, Record]] = {me: {}}
        self._shadowed: dict[str, list[Record]] = {}
        self._digests: dict[Origin, int] = {me: 0}
        self._presences: dict[bytes, bytes] = {}
        self._stale: set[tuple[Origin, int]] = set()
        self._farewells: dict[tuple[Origin, int], bytes] = {}

    # reading

    def find(self, jid: str, user: str = "") -> Record | None:
        """The session that has this full JID; `user` is the bare JID, if it is at hand."""
        entry = self._users.get(user or bare(jid))
        if entry is None:
            return None
        if isinstance(entry, dict):
            record = entry.get(jid)
        else:
            record = entry if entry.jid == jid else None
        if record is not None and self._stale and (record.origin, record.counter) in self._stale:
            return None
        return record

    def resources(self, user: str) -> tuple[Record, ...]:
        """All sessions of a bare JID."""
        entry = self._users.get(user)
        if entry is None:
            return ()
        records = tuple(entry.values()) if isinstance(entry, dict) else (entry,)
        if self._stale:
            return tuple(r for r in records if (r.origin, r.counter) not in self._stale)
        return records

    def own(self, counter: int) -> Record | None:
        """A session of ours, by its counter."""
        return self._origins[self.me].get(counter)

    def of(self, origin: Origin) -> Iterable[Record]:
        """All sessions of one origin, the shadowed ones included."""
        return self._origins.get(origin, {}).values()

    def count(self, origin: Origin | None = None) -> int:
        if origin is not None:
            return len(self._origins.get(origin, ()))
        return sum(map(len, self._origins.values()))

    def users(self) -> int:
        return len(self._users)

    def next_generation(self, jid: str, now_ms: int) -> int:
        """The generation of a session that binds this full JID now."""
        seen = self._seen(jid)  # a stale one counts too: others still know it
        known: list[Record] = [*self._shadowed.get(jid, ()), *([seen] if seen is not None else [])]
        return max([now_ms, *(record.generation + 1 for record in known)])

    # writing: ours by the node, the others' by the replication

    def apply(self, origin: Origin, delta: Delta) -> None:
        """Take a delta of an origin."""
        if isinstance(delta, SessionUp):
            self._put(self._record(origin, delta))
        elif isinstance(delta, SessionDown):
            record = self._origins.get(origin, {}).get(delta.counter)
            if record is not None:
                self._remove(record)
            self._farewells.pop((origin, delta.counter), None)  # of one in the shadow nobody heard
        elif isinstance(delta, Farewell):
            self._farewells[origin, delta.counter] = delta.presence

    def replace(self, origin: Origin, rows: Iterable[Delta]) -> None:
        """These are all sessions of the origin: apply the difference."""
        fresh = {row.counter: row for row in rows if isinstance(row, SessionUp)}
        known = self._origins.get(origin, {})
        for record in [r for counter, r in known.items() if counter not in fresh]:
            self._remove(record)
        for counter, row in fresh.items():
            old = known.get(counter)
            if old is None or old.row() != row:
                self._put(self._record(origin, row))

    def forget(self, origin: Origin) -> None:
        """The origin is dead, and all its sessions with it."""
        for record in list(self._origins.get(origin, {}).values()):
            self._remove(record)
        if origin != self.me:
            self._origins.pop(origin, None)
            self._digests.pop(origin, None)
        self._stale = {sid for sid in self._stale if sid[0] != origin}
        self._farewells = {sid: bye for sid, bye in self._farewells.items() if sid[0] != origin}

    def rename(self, me: Origin) -> None:
        """This node has taken a new incarnation: its sessions go on under it, nobody hears of a change."""
        old = self.me
        self.me = me
        records = self._origins.pop(old)
        self._origins[me] = records
        self._digests[me] = self._digests.pop(old)
        for record in records.values():
            record.origin = me

    def mark_stale(self, origin: Origin, counter: int) -> None:
        """The owner says that it has no such session: don't route to it until its delta comes.

        The row itself stays, so that digests go on telling the truth."""
        if counter in self._origins.get(origin, ()):
            self._stale.add((origin, counter))

    def lose(self, record: Record) -> None:
        """For tests: lose a row as nothing in the protocol does; the digest must find it."""
        self._remove(record)

    # table

    def rows(self, origin: Origin) -> Iterator[Delta]:
        for record in self._origins.get(origin, {}).values():
            yield record.row()

    def digest(self, origin: Origin) -> int:
        return self._digests.get(origin, 0)

    def recomputed_digest(self, origin: Origin) -> int:
        """The digest from the rows themselves: what `xcluster verify` compares."""
        return sum(row_hash(row) for row in self.rows(origin)) & _MASK

    def _record(self, origin: Origin, up: SessionUp) -> Record:
        presence = self._presences.get(up.presence)
        if presence is None:
            presence = up.presence
            if len(self._presences) >= MAX_INTERNED:
                self._presences.clear()
            self._presences[presence] = presence
        return Record(origin, up.counter, up.jid, up.generation, presence, up.priority, up.flags, up.smid)

    def _put(self, record: Record) -> None:
        rows = self._origins.setdefault(record.origin, {})
        old = rows.get(record.counter)
        change = row_hash(record.row()) - (row_hash(old.row()) if old is not None else 0)
        self._digests[record.origin] = (self._digests.get(record.origin, 0) + change) & _MASK
        rows[record.counter] = record
        if self._stale:
            self._stale.discard((record.origin, record.counter))
        if old is not None and old.jid != record.jid:
            self._hide(old)
            old = None
        seen = self._seen(record.jid)
        if seen is None or seen is old:
            self._show(record)
            self._told(seen, record)
        elif old is not None and seen is not old:  # one in the shadow has changed
            self._shadow_without(old)
            self._compete(record, seen)
        else:
            self._compete(record, seen)

    def _compete(self, record: Record, seen: Record) -> None:
        winner, loser = (record, seen) if record.rank > seen.rank else (seen, record)
        self._shadowed.setdefault(record.jid, []).append(loser)
        if winner is record:
            self._show(record)
            self._told(seen, record)
        if loser.origin == self.me:
            for hook in self.on_conflict:
                hook(loser)

    def _remove(self, record: Record) -> None:
        del self._origins[record.origin][record.counter]
        digest = self._digests[record.origin] - row_hash(record.row())
        self._digests[record.origin] = digest & _MASK
        self._stale.discard((record.origin, record.counter))
        self._hide(record)

    def _hide(self, record: Record) -> None:
        if self._seen(record.jid) is not record:
            self._shadow_without(record)
            return
        rivals = self._shadowed.get(record.jid)
        if rivals:
            heir = max(rivals, key=lambda rival: rival.rank)
            self._shadow_without(heir)
            self._show(heir)
            self._told(record, heir)
            return
        user = bare(record.jid)
        entry = self._users[user]
        if isinstance(entry, dict):
            del entry[record.jid]
            if len(entry) == 1:
                self._users[user] = next(iter(entry.values()))
        else:
            del self._users[user]
        self._told(record, None)

    def _seen(self, jid: str) -> Record | None:
        entry = self._users.get(bare(jid))
        if isinstance(entry, dict):
            return entry.get(jid)
        return entry if entry is not None and entry.jid == jid else None

    def _show(self, record: Record) -> None:
        user = bare(record.jid)
        entry = self._users.get(user)
        if isinstance(entry, dict):
            entry[record.jid] = record
        elif entry is None or entry.jid == record.jid:
            self._users[user] = record
        else:
            self._users[user] = {entry.jid: entry, record.jid: record}

    def _shadow_without(self, record: Record) -> None:
        rivals = [r for r in self._shadowed.get(record.jid, ()) if r is not record]
        if rivals:
            self._shadowed[record.jid] = rivals
        else:
            self._shadowed.pop(record.jid, None)

    def _told(self, old: Record | None, new: Record | None) -> None:
        farewell = b""
        if old is not None and self._farewells:
            farewell = self._farewells.pop((old.origin, old.counter), b"")
        for hook in self.on_change:
            hook(old, new, farewell)
