"""Rosters as this node knows them: read from the store once, kept while they are used, dropped when they change.

Local with invalidation (design.md §6): every change of a roster is announced to all nodes as `RosterChanged`.
Capped in bytes by roster.cache_bytes.
"""

import msgspec

from xcluster.node.cache import Cache
from xcluster.node.store.protocol import Roster, RosterItem, Store

ITEM_BYTES = 350  # of a cached item, about: struct, strings, slot


class CachedRoster(msgspec.Struct, frozen=True, gc=False):
    """A user's contacts at one version."""

    version: int
    items: dict[str, RosterItem]

    def item(self, contact: str) -> RosterItem | None:
        return self.items.get(contact)

    def watched(self) -> list[str]:
        """The contacts whose presence the user sees."""
        return [item.contact for item in self.items.values() if item.subscription in ("to", "both")]

    def requests(self) -> list[bytes]:
        """Subscription requests that wait for an answer."""
        return [item.pending_in for item in self.items.values() if item.pending_in]

    def listed(self) -> list[RosterItem]:
        """What the client sees as its roster."""
        return [item for item in self.items.values() if item.listed]


class Rosters:
    """The cache and the store behind it."""

    def __init__(self, store: Store, cache_bytes: int) -> None:
        self._store = store
        self.cache: Cache[str, CachedRoster] = Cache(cache_bytes, _weigh)

    def peek(self, user: str) -> CachedRoster | None:
        """The roster if it is here; never waits."""
        return self.cache.get(user)

    def get(self, user: str) -> CachedRoster:
        """The roster; may wait for the store, and raise StoreError."""
        cached = self.cache.get(user)
        if cached is not None:
            return cached
        token = self.cache.begin(user)
        read = _cached(self._store.roster(user))
        self.cache.put(user, read, token)
        return read

    def invalidate(self, user: str) -> None:
        self.cache.invalidate(user)

    def clear(self) -> None:
        self.cache.clear()


def _cached(roster: Roster) -> CachedRoster:
    return CachedRoster(roster.version, {item.contact: item for item in roster.items})


def _weigh(user: str, roster: CachedRoster) -> int:
    return 200 + ITEM_BYTES * len(roster.items) + sum(len(item.pending_in) for item in roster.items.values())
