"""What a client was sent and has not acknowledged yet (XEP-0198 §4, §5).

Every stanza that leaves for a client with stream management goes in here, and out again by the client's <a/>.
What is left when its connection is lost is sent again on the next one, or given up, in order.
"""

from collections import deque
from collections.abc import Iterator

import msgspec

from xcluster.node.stream.management import COUNTS
from xcluster.shared.errors import XclusterError

ASK_EVERY = 32  # stanzas that may be lost (presence, IQs) are not worth an <r/> each ...
ASK_AFTER_S = 10.0  # ... but none waits for one longer than this


class HandledTooHigh(XclusterError):
    """A client has acknowledged `h` stanzas, and was sent `sent` (XEP-0198 §6)."""

    def __init__(self, h: int, sent: int) -> None:
        super().__init__(f"{h} of {sent} stanzas acknowledged")
        self.h = h
        self.sent = sent


class Unacknowledged(msgspec.Struct, gc=False):
    """One stanza that a client was sent."""

    raw: bytes
    identity: bytes  # of a message, which must not be lost; b"" for anything else
    since: float  # when it was sent


class Backlog:
    """One client's. Its owner writes what it `add`s, and an <r/> behind it where `add` says so."""

    __slots__ = (
        "_asked_for",
        "_asked_last",
        "_is_urgent",
        "_max_bytes",
        "_max_stanzas",
        "_waiting",
        "acked",
        "asked_at",
        "size",
    )

    def __init__(self, max_stanzas: int, max_bytes: int, acked: int = 0) -> None:
        self.acked = acked  # how many the client has acknowledged, modulo COUNTS
        self.size = 0  # bytes of those that it has not
        self.asked_at: float | None = None  # when the <r/> went out that is not answered
        self._max_stanzas = max_stanzas
        self._max_bytes = max_bytes
        self._waiting: deque[Unacknowledged] = deque()
        self._asked_for = 0  # of those, how many the last <r/> asked for
        self._asked_last = 0.0  # when
        self._is_urgent = False  # a message is among those that it did not ask for

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Unacknowledged]:
        """Oldest first: what a resumed session is sent again."""
        return iter(self._waiting)

    @property
    def sent(self) -> int:
        """How many the client was sent, modulo COUNTS."""
        return (self.acked + len(self._waiting)) % COUNTS

    @property
    def is_overfull(self) -> bool:
        """Whether the client has to acknowledge before it gets more."""
        return len(self._waiting) > self._max_stanzas or self.size > self._max_bytes

    def add(self, stanza: Unacknowledged) -> bool:
        """It is sent; whether an <r/> should follow it.

        One <r/> is under way at a time. So whoever answers slowly is asked for many at once, and whoever answers
        at once has each message settled as soon as can be."""
        self._waiting.append(stanza)
        self.size += len(stanza.raw)
        if stanza.identity:
            self._is_urgent = True
        return self.ask(stanza.since)

    def ask(self, now: float) -> bool:
        """Whether an <r/> should be sent now; it then counts as sent. To be called now and then, too."""
        waiting = self._waiting
        if self.asked_at is not None or not waiting:
            return False
        is_due = (
            self._is_urgent
            or len(waiting) - self._asked_for >= ASK_EVERY
            or now - max(waiting[0].since, self._asked_last) >= ASK_AFTER_S
        )
        if not is_due:
            return False
        self.asked_at = self._asked_last = now
        self._asked_for = len(waiting)
        self._is_urgent = False
        return True

    def acknowledged(self, h: int) -> list[Unacknowledged]:
        """The client has handled `h` stanzas: those that this is news of, oldest first. Then `ask` again.

        Raises HandledTooHigh. A count that goes back is old news: nothing comes of it."""
        count = (h - self.acked) % COUNTS
        if count > len(self._waiting):
            if count > COUNTS // 2:
                self.asked_at = None
                return []
            raise HandledTooHigh(h, self.sent)
        waiting = self._waiting
        done = [waiting.popleft() for _ in range(count)]
        self.size -= sum(len(stanza.raw) for stanza in done)
        self.acked = h
        self._asked_for = max(self._asked_for - count, 0)
        self.asked_at = None
        return done

    def resumed(self, h: int) -> list[Unacknowledged]:
        """As `acknowledged`, on a new connection: what is left is sent again, and asked for again."""
        done = self.acknowledged(h)
        self._asked_for = 0  # nobody answers what was asked on the old one
        self._is_urgent = any(stanza.identity for stanza in self._waiting)
        return done

    def give_up(self) -> list[Unacknowledged]:
        """The session ends: what the client may not have got, oldest first."""
        left = list(self._waiting)
        self._waiting.clear()
        self.size = 0
        return left
