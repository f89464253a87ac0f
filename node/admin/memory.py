"""What this node's memory is spent on, by kind: `xcluster status --memory`.

Computed from the objects themselves (node/admin/weight.py), within some milliseconds however many there are: of
each kind some dozens are looked at. What no kind explains of the growth since the start is `other`: most of it is
what was freed inside of Python's arenas (1 MiB each, given back only when nothing at all lives there), the rest
code that has been used for the first time, stacks of threads, and what is not known here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec

from xcluster.node.admin.weight import Weights, sample
from xcluster.node.cache import Cache
from xcluster.node.directory import Record
from xcluster.node.exchange import Exchange
from xcluster.node.session import Line, Session, Sessions
from xcluster.shared import jid

SESSIONS, CONNECTIONS, TLS = "sessions", "connections", "TLS"
OWN, INDEX, PRESENCES = "directory, own records", "directory, index", "directory, interned presence"
LOG, LINKS, LANES = "own log", "links and replicas", "lanes"
ADDRESSES, DATABASE, FREE = "parsed addresses", "SQLite", "free, kept by malloc"
OTHER = "other"
ADDRESS_BYTES = 390  # an entry of the cache of parsed addresses, measured with tracemalloc
_INTERNED = {"_presences": PRESENCES}


class Outside(msgspec.Struct, frozen=True):
    """The process as the kernel and the C library see it, in bytes; 0 where they don't tell."""

    pss: int
    malloc_in_use: int
    malloc_free: int  # kept for what comes; `malloc_trim` gives pages of it back and still counts them
    sqlite: int  # its page caches and statements
    python_blocks: int  # a count: small objects of any kind


class Memory:
    """Weighs what this node holds.

    `parts`: objects with tables, by the kind under which they are counted. `hidden`: what instances of a type
    take outside of Python; of these, `secured` is the type of a connection's TLS side."""

    def __init__(
        self,
        sessions: Sessions,
        connections: Collection[Line],
        exchange: Exchange,
        parts: Mapping[str, Sequence[object]],
        hidden: Mapping[type, int],
        secured: type,
        outside: Callable[[], Outside],
    ) -> None:
        self._sessions = sessions
        self._connections = connections
        self._exchange = exchange
        self._parts = parts
        self._hidden = hidden
        self._secured = secured
        self._outside = outside
        self._started = outside()

    def report(self, argument: Any = None) -> dict[str, Any]:
        """Rows of kind, count, bytes, and bytes a session of this node; the largest first, `other` last.

        The bytes add up to what the process has grown by since it started."""
        now, started = self._outside(), self._started
        weights = self.weigh()
        weights.known(DATABASE, 0, max(0, now.sqlite - started.sqlite))
        weights.known(FREE, 0, max(0, now.malloc_free - started.malloc_free))
        sessions = len(self._sessions)
        grown = now.pss - started.pss
        kinds = {kind: round(size) for kind, size in weights.bytes.items()}
        rows = [
            _row(kind, round(weights.counts.get(kind, 0)), size, sessions)
            for kind, size in sorted(kinds.items(), key=lambda item: -item[1])
        ]
        rows.append(_row(OTHER, 0, grown - sum(kinds.values()), sessions))
        return {
            "sessions": sessions,
            "pss": now.pss,
            "pss_at_start": started.pss,
            "grown": grown,
            "malloc_in_use": now.malloc_in_use,
            "malloc_free": now.malloc_free,
            "python_blocks": now.python_blocks,
            "kinds": rows,
        }

    def weigh(self) -> Weights:
        """What objects tell."""
        exchange = self._exchange
        directory = exchange.directory
        lines = {type(line): None for line in sample(self._connections)}
        weights = Weights({Session: None, Record: None, self._secured: TLS, **lines}, self._hidden)
        addresses = jid.remembered()
        weights.known(ADDRESSES, addresses, addresses * ADDRESS_BYTES)
        weights.sampled(SESSIONS, self._sessions.all())
        weights.tables({}, SESSIONS, self._sessions)
        weights.sampled(CONNECTIONS, self._connections)
        for origin in (exchange.me, *exchange.mesh.replicas):
            kind = OWN if origin == exchange.me else f"directory, records of {origin.name}"
            records = directory.of(origin)
            assert isinstance(records, Collection)
            weights.sampled(kind, records)
        weights.tables(_INTERNED, INDEX, directory)
        weights.tables({}, LANES, exchange.lanes)
        weights.tables({}, LOG, exchange.mesh.log)
        for holder in (exchange.mesh, *exchange.mesh.replicas.values()):
            weights.tables({}, LINKS, holder)
        for kind, holders in self._parts.items():
            for holder in holders:
                weights.tables({}, kind, holder)
                for inner in vars(holder).values():
                    if isinstance(inner, Cache):
                        weights.tables({}, kind, inner)
        return weights


def _row(kind: str, count: int, size: int, sessions: int) -> dict[str, Any]:
    share = round(size / sessions) if sessions else 0
    return {"kind": kind, "count": count, "bytes": size, "per_session": share}
