"""A link joins two incarnations over any bus: numbered, in order, once, acknowledged.

The sender keeps a task until the receiver has taken it, so a lost frame or bus costs time, not tasks; the
receiver drops what it has seen and holds what came too early. A link does not know buses: its owner says when
to send everything again (another bus) and whether the peer lives.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from xcluster.bus import wire
from xcluster.bus.messages import Frame, Origin, Task
from xcluster.shared.errors import WireError

FRAME_TASKS = 512  # tasks in one frame: bounds what one message makes the receiver do in one go
FRAME_BYTES = 262_144
ACK_DELAY_S = 0.02  # how long an acknowledgement may wait for a frame to ride on
ACK_EVERY = 64  # tasks taken without an acknowledgement
RESEND_S = 0.25  # first time-out for an acknowledgement; doubles up to RESEND_MAX_S
RESEND_MAX_S = 2.0
REORDER = 64  # frames held while an earlier one is missing
RESERVE = 1024  # beyond the window, for IQs and presence; answers and control tasks always pass


class Sent(msgspec.Struct, gc=False, frozen=True):
    """A task on its way: its number, its bytes, and whatever the sender wants back if it fails."""

    number: int
    data: bytes
    context: Any


class Link:
    """Our end of a link to one incarnation."""

    __slots__ = (
        "_ack_due",
        "_held",
        "_next",
        "_resend_at",
        "_resend_s",
        "_told",
        "_unsent",
        "_unsent_bytes",
        "acked",
        "bus",
        "me",
        "peer",
        "resent",
        "taken",
        "unacked",
        "void",
        "window",
    )

    def __init__(self, me: Origin, peer: Origin, window: int) -> None:
        self.me = me
        self.peer = peer
        self.window = window
        self.bus = -1  # index of the bus that this link sticks to; -1: none yet
        self.void = False  # the peer is dead: nothing is sent or taken any more
        self.unacked: deque[Sent] = deque()
        self.acked = 0  # the peer has taken all up to here
        self.taken = 0  # we have taken all of the peer's up to here
        self.resent = 0
        self._next = 1
        self._unsent = 0  # how many at the right end of unacked are to be sent
        self._unsent_bytes = 0  # at most so many in them
        self._held: dict[int, list[Task | None]] = {}
        self._ack_due = 0.0
        self._told = 0  # what the peer was last told of `taken`
        self._resend_at = 0.0
        self._resend_s = RESEND_S

    @property
    def is_full(self) -> bool:
        """Whether new client stanzas should take another way (design.md §7, credit)."""
        return len(self.unacked) >= self.window

    @property
    def is_overfull(self) -> bool:
        """Whether not even an IQ or a presence may be added."""
        return len(self.unacked) >= self.window + RESERVE

    @property
    def has_work(self) -> bool:
        return bool(self._unsent) or self._ack_due > 0.0

    def send(self, task: Task, context: Any = None) -> int:
        """Queue a task; returns its number. It goes out with the next `frames`."""
        number = self._next
        self._next = number + 1
        data = wire.encode(task)
        self.unacked.append(Sent(number, data, context))
        self._unsent += 1
        self._unsent_bytes += len(data)
        return number

    def frames(self, now: float, seq: int) -> Iterator[Frame]:
        """What is to be sent now: tasks never sent, and an acknowledgement when it is due."""
        while self._unsent:
            first = self.unacked[-self._unsent].number
            items = self._batch()
            if not self._resend_at:
                self._resend_at = now + self._resend_s
            yield self._frame(first, items, seq)
        if self._ack_due and (now >= self._ack_due or self.taken - self._told >= ACK_EVERY):
            yield self._frame(self._next, [], seq)

    def _batch(self) -> list[bytes]:
        """What goes into the next frame; it counts as sent."""
        unacked, unsent = self.unacked, self._unsent
        if unsent <= FRAME_TASKS and self._unsent_bytes <= FRAME_BYTES:  # usually: all there is
            items = [sent.data for sent in islice(reversed(unacked), unsent)]
            items.reverse()
            self._unsent = self._unsent_bytes = 0
            return items
        items = []
        size = 0
        for sent in islice(unacked, len(unacked) - unsent, None):
            if items and (len(items) == FRAME_TASKS or size + len(sent.data) > FRAME_BYTES):
                break
            items.append(sent.data)
            size += len(sent.data)
        self._unsent -= len(items)
        self._unsent_bytes -= size
        return items

    def _frame(self, first: int, items: list[bytes], seq: int) -> Frame:
        self._ack_due = 0.0
        self._told = self.taken
        return Frame(self.me, self.peer, first, len(items), wire.array(items), self.taken, seq)

    def received(self, frame: Frame, now: float) -> Iterator[tuple[int, Task | None]]:
        """The tasks that are next in line, with their numbers, each once. None: unknown to this release.

        Handle them all, then call `acknowledged(frame)`: what a peer says of a task comes before its
        acknowledgement."""
        if frame.count:
            self._ack_due = self._ack_due or now + ACK_DELAY_S
        first = frame.first
        if first + frame.count - 1 <= self.taken:
            return
        if first > self.taken + 1:
            if frame.count and len(self._held) < REORDER:
                self._held[first] = self._decoded(frame)
            return
        tasks = self._decoded(frame)
        while True:
            for number, task in enumerate(tasks, first):
                if number == self.taken + 1:
                    self.taken = number
                    yield number, task
            first = min(self._held, default=0)
            if not 0 < first <= self.taken + 1:
                return
            tasks = self._held.pop(first)

    def _decoded(self, frame: Frame) -> list[Task | None]:
        decoded = wire.tasks(frame.items)
        if len(decoded) != frame.count:
            raise WireError(f"a frame of {frame.count} tasks that holds {len(decoded)}")
        return decoded

    def acknowledged(self, frame: Frame, now: float) -> bool:
        """The peer has taken all up to `frame.ack`; True when that is news.

        Counts only when all that the peer sent before has been handled: among it may be `Undeliverable`."""
        ack = frame.ack
        if frame.first > self.taken + 1 or ack <= self.acked or ack >= self._next:
            return False
        self.acked = ack
        unacked = self.unacked
        while unacked and unacked[0].number <= ack:
            unacked.popleft()
        if self._unsent > len(unacked):  # what was to be sent again had arrived
            self._unsent = len(unacked)
            self._unsent_bytes = sum(len(sent.data) for sent in unacked)
        self._resend_s = RESEND_S
        self._resend_at = now + RESEND_S if len(unacked) > self._unsent else 0.0
        return True

    def find(self, number: int) -> Sent | None:
        """The unacknowledged task of that number."""
        if not self.unacked:
            return None
        index = number - self.unacked[0].number
        return self.unacked[index] if 0 <= index < len(self.unacked) else None

    def tick(self, now: float) -> None:
        """Send again what was not acknowledged in time."""
        if self._resend_at and now >= self._resend_at:
            self.resend(now)
            self._resend_s = min(self._resend_s * 2, RESEND_MAX_S)

    def resend(self, now: float) -> None:
        """Send everything unacknowledged once more: a time-out, or another bus."""
        self.resent += len(self.unacked) - self._unsent
        self._unsent = len(self.unacked)
        self._unsent_bytes = sum(len(sent.data) for sent in self.unacked)
        self._resend_at = 0.0
        self._ack_due = self._ack_due or now

    def cut(self) -> list[Sent]:
        """The peer is dead: void the link, hand back what it held, in order. It is never sent again."""
        self.void = True
        held = list(self.unacked)
        self.unacked.clear()
        self._held.clear()
        self._unsent = self._unsent_bytes = 0
        self._resend_at = self._ack_due = 0.0
        return held
