"""What a session takes from the cluster: each identity once, stored messages before live ones."""

from array import array
from collections.abc import Iterable

from xcluster.node.identity import is_before

REMEMBERED = 256  # identities a session remembers, 8 bytes each; a simulated busy user outran 64
MAX_HELD = 4096  # live stanzas held while stored ones are fetched; beyond: delivered out of turn


class Intake:
    """The gate in front of one session. Tiny while nothing comes from elsewhere."""

    __slots__ = ("_fetching", "_held", "_next", "_seen", "dropped")

    def __init__(self) -> None:
        self._seen: array[int] | None = None  # hashes of identities, a ring
        self._next = 0
        self._held: list[tuple[bytes, bytes]] = []
        self._fetching = 0
        self.dropped = 0

    @property
    def is_fetching(self) -> bool:
        return self._fetching > 0

    def take(self, identity: bytes, raw: bytes, delayed: bool = False) -> list[bytes]:
        """A live stanza has come; returns what to send now.

        Only a `delayed` one can have been here before: links deliver once."""
        if self._fetching and len(self._held) < MAX_HELD:
            self._held.append((identity, raw))
            return []
        if delayed:
            return self._fresh([(identity, raw)])
        if identity:
            self._remember(hash(identity))
        return [raw]

    def fetch(self) -> None:
        """Stored messages are being fetched: live ones wait behind them. Calls nest."""
        self._fetching += 1

    def fetched(self, rows: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
        """The stored messages (identity, raw), in order; returns what to send now.

        A live one that entered before a stored one of the same origin still goes first: it was held here
        while its successor found no session."""
        self._fetching -= 1
        ready: list[tuple[bytes, bytes]] = []
        for identity, raw in rows:
            if self._held:
                earlier = [place for place, held in enumerate(self._held) if is_before(held[0], identity)]
                until = earlier[-1] + 1 if earlier else 0
                ready += self._held[:until]  # with all that came here before it
                del self._held[:until]
            ready.append((identity, raw))
        if not self._fetching:
            ready += self._held
            self._held = []
        return self._fresh(ready)

    def give_up(self) -> list[tuple[bytes, bytes]]:
        """The session ends: the live stanzas (identity, raw) that it did not get, in order."""
        held, self._held = self._held, []
        return held

    def _fresh(self, stanzas: list[tuple[bytes, bytes]]) -> list[bytes]:
        return [raw for identity, raw in stanzas if self._is_new(identity)]

    def _is_new(self, identity: bytes) -> bool:
        if not identity:
            return True
        mark = hash(identity)
        if self._seen is not None and mark in self._seen:
            self.dropped += 1
            return False
        self._remember(mark)
        return True

    def _remember(self, mark: int) -> None:
        seen = self._seen
        if seen is None:
            seen = self._seen = array("q")
        if len(seen) < REMEMBERED:
            seen.append(mark)
        else:
            seen[self._next] = mark
            self._next = (self._next + 1) % REMEMBERED
