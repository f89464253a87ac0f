"""Cache: what was read from the store and may be read again, capped in bytes, least recently used out first.

Another node may change the store while we read it (design.md §6): a reader takes a token with `begin` before
it asks the store and hands it to `put`; an invalidation in between voids it, and the value is not kept.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

ACCOUNT = "account"  # Invalidated(ACCOUNT, user): whatever was cached of this user is gone from the store
ENTRY_BYTES = 250  # what an entry costs besides its key and value

K = TypeVar("K")
V = TypeVar("V")


class Token:
    """A read that has begun. It counts while its reader holds it: a read that fails needs no clean-up."""

    __slots__ = ("__weakref__",)


class Cache(Generic[K, V]):
    """Values by key, with the counters for metrics. `limit` is in bytes and may change while running.

    `weigh` tells how many bytes key and value take."""

    def __init__(self, limit: int, weigh: Callable[[K, V], int]) -> None:
        self.hits = 0
        self.misses = 0
        self.evictions = 0
        self.bytes = 0
        self._limit = limit
        self._weigh = weigh
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._reads: WeakValueDictionary[K, Token] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def limit(self) -> int:
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit
        self._shrink()

    def get(self, key: K) -> V | None:
        """The value, now the most recently used; None for a miss."""
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            return None
        self.hits += 1
        self._entries.move_to_end(key)
        return entry[0]

    def begin(self, key: K) -> Token:
        """Before a read of this key; reads of a key at the same time share their token."""
        token = self._reads.get(key)
        if token is None:
            token = self._reads[key] = Token()
        return token

    def put(self, key: K, value: V, token: Token) -> bool:
        """Keep what was read, unless the key was invalidated since `begin` or the value exceeds the limit."""
        if self._reads.get(key) is not token:
            return False
        self._drop(key)
        size = ENTRY_BYTES + self._weigh(key, value)
        if size > self._limit:
            return False
        self._entries[key] = value, size
        self.bytes += size
        self._shrink()
        return True

    def invalidate(self, key: K) -> None:
        """The key has changed in the store."""
        self._reads.pop(key, None)
        self._drop(key)

    def clear(self) -> None:
        """Any key may have changed in the store."""
        self._reads.clear()
        self._entries.clear()
        self.bytes = 0

    def _drop(self, key: K) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self.bytes -= entry[1]

    def _shrink(self) -> None:
        while self.bytes > self._limit:
            _, (_, size) = self._entries.popitem(last=False)
            self.bytes -= size
            self.evictions += 1
