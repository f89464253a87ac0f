"""What a client has sent, and how much of it is taken care of (XEP-0198 §4; design.md §8, acknowledging).

The server's h covers a client's stanzas up to the last one before the first that is not settled: late, never
early, and without a disk on the way, since until then the client has the second copy.
"""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from xcluster.node.stream.management import COUNTS


class Timed(Protocol):
    """What is not settled knows when it came: node/parcel.py."""

    since: float


T = TypeVar("T", bound=Timed)


class Ledger(Generic[T]):
    """One sending session's."""

    __slots__ = ("_unsettled", "received", "told")

    def __init__(self) -> None:
        self.received = 0  # stanzas, since counting began
        self.told = 0  # the h that the client has last been told
        self._unsettled: dict[int, T] = {}  # by number, which grows

    def __len__(self) -> int:
        """How many are not settled."""
        return len(self._unsettled)

    @property
    def h(self) -> int:
        """How many are taken care of, without a gap."""
        for number in self._unsettled:
            return number - 1
        return self.received

    @property
    def has_news(self) -> bool:
        """Whether h has moved since the client was told."""
        return self.h != self.told

    def tell(self) -> int:
        """The h to tell the client now."""
        self.told = self.h
        return self.told % COUNTS

    def enter(self) -> int:
        """A stanza has come; its number. It is settled unless `open` says otherwise."""
        self.received += 1
        return self.received

    def open(self, number: int, stanza: T) -> None:
        """The stanza of that number waits for somebody. Called in the order of numbers."""
        self._unsettled[number] = stanza

    def settle(self, number: int) -> bool:
        """It waits no longer; whether h moves by that. A second time does nothing."""
        is_first = next(iter(self._unsettled), 0) == number
        return self._unsettled.pop(number, None) is not None and is_first

    def overdue(self, before: float) -> Iterator[T]:
        """Those that came before then and are not settled, oldest first: to the store with them."""
        for stanza in list(self._unsettled.values()):
            if stanza.since >= before:
                return
            yield stanza
