"""Rosters as this node knows them: read from the store once, kept while they are used, dropped when they change.

Local with invalidation (design.md §6): every change of a roster is announced to all nodes as `RosterChanged`.
Capped in bytes by roster.cache_bytes.
"""

from collections.abc import Callable
from functools import partial

import msgspec

from xcluster.node.cache import Cache, Token
from xcluster.node.store.protocol import Roster, RosterItem, Store, Then

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Roster)


UNPACKED = 64  # rosters kept ready besides


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
    """The cache and the store behind it. Kept packed: 60 bytes a contact instead of 350."""

    def __init__(self, store: Store, cache_bytes: int) -> None:
        self._store = store
        self.cache: Cache[str, bytes] = Cache(cache_bytes, lambda user, packed: len(user) + len(packed))
        self._unpacked: dict[str, CachedRoster] = {}  # the last ones: a log-in looks twice

    def peek(self, user: str) -> CachedRoster | None:
        """The roster if it is here; never waits."""
        packed = self.cache.get(user)
        if packed is None:
            return None
        return self._unpacked.get(user) or self._unpack(user, _decoder.decode(packed))

    def _unpack(self, user: str, roster: Roster) -> CachedRoster:
        cached = _cached(roster)
        self._unpacked[user] = cached
        if len(self._unpacked) > UNPACKED:
            del self._unpacked[next(iter(self._unpacked))]
        return cached

    def get(self, user: str) -> CachedRoster:
        """The roster; may wait for the store, and raise StoreError."""
        cached = self.peek(user)
        if cached is not None:
            return cached
        token = self.cache.begin(user)
        roster = self._store.roster(user)
        return self._keep(user, roster, token)

    def load(self, user: str, then: Then[CachedRoster]) -> None:
        """The same by callback, for many log-ins at once; at once when it is here."""
        cached = self.peek(user)
        if cached is not None:
            then(lambda: cached)
        else:
            self._store.ask_roster(user, partial(self._loaded, user, self.cache.begin(user), then))

    def _loaded(
        self, user: str, token: Token, then: Then[CachedRoster], answer: Callable[[], Roster]
    ) -> None:
        then(lambda: self._keep(user, answer(), token))

    def _keep(self, user: str, roster: Roster, token: Token) -> CachedRoster:
        if self.cache.put(user, _encoder.encode(roster), token):
            return self._unpack(user, roster)
        return _cached(roster)

    def invalidate(self, user: str) -> None:
        self.cache.invalidate(user)
        self._unpacked.pop(user, None)

    def clear(self) -> None:
        self.cache.clear()
        self._unpacked.clear()


def _cached(roster: Roster) -> CachedRoster:
    return CachedRoster(roster.version, {item.contact: item for item in roster.items})
