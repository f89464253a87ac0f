"""Who wrote what to whom, and what of it arrived.

`write` gives the body of a message; `read` takes one that arrived and tells what is wrong with it. A lane
is (sender's full JID, recipient's bare JID): within one, messages arrive once and in order. Whoever has
nothing more to wait for calls `lost`.
"""

import zlib
from collections import Counter

import msgspec

from xcluster.loadtest.histogram import Histogram

MARK = "xcluster-letter"
MAX_EXAMPLES = 20
FAULTS = ("lost", "doubled", "misrouted", "reordered", "corrupt", "returned")  # fields of Tally


class Letter(msgspec.Struct, frozen=True, gc=False):
    """One message: what its body says."""

    run: str  # which ledger wrote it
    sender: str  # full JID
    recipient: str  # bare JID
    seq: int
    sent_at: float

    @property
    def key(self) -> tuple[str, str, int]:
        return self.sender, self.recipient, self.seq

    def body(self) -> str:
        words = f"{MARK} {self.run} {self.sender} {self.recipient} {self.seq} {self.sent_at:.6f}"
        return f"{words} {zlib.crc32(words.encode()):08x}"


def parse(body: str) -> Letter | None:
    """The letter that a body holds; None when it was changed on its way."""
    words, _, checksum = body.rpartition(" ")
    if f"{zlib.crc32(words.encode()):08x}" != checksum:
        return None
    match words.split(" "):
        case [mark, run, sender, recipient, seq, sent_at] if mark == MARK:
            return Letter(run, sender, recipient, int(seq), float(sent_at))
    return None


class Lane(msgspec.Struct):
    """What was written from one session to one user, and has not been read."""

    last_written: int = 0
    highest_read: int = 0
    open: set[int] = msgspec.field(default_factory=set)


class Tally(msgspec.Struct):
    """Counts of a ledger; those of several processes can be added up."""

    written: int = 0
    read: int = 0  # once each
    older: int = 0  # of another run, and of no account in this one
    returned: int = 0  # came back as an error
    lost: int = 0
    doubled: int = 0
    misrouted: int = 0
    reordered: int = 0
    corrupt: int = 0
    latency: Histogram = msgspec.field(default_factory=Histogram)
    examples: list[str] = msgspec.field(default_factory=list)

    @property
    def faults(self) -> int:
        return sum(getattr(self, name) for name in FAULTS)

    def fault(self, kind: str, text: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{kind}: {text}")

    def merge(self, other: "Tally") -> None:
        for name in ("written", "read", "older", *FAULTS):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency.merge(other.latency)
        self.examples = (self.examples + other.examples)[:MAX_EXAMPLES]


class Ledger:
    """All letters of one run (one process of it); `run` is a word that no other run uses."""

    def __init__(self, run: str) -> None:
        self._run = run
        self.tally = Tally()
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._waiting: Counter[str] = Counter()  # by recipient, of letters not yet read

    def write(self, sender: str, recipient: str, now: float) -> Letter:
        lane = self._lanes.setdefault((sender, recipient), Lane())
        lane.last_written += 1
        lane.open.add(lane.last_written)
        self._waiting[recipient] += 1
        self.tally.written += 1
        return Letter(self._run, sender, recipient, lane.last_written, now)

    def read(self, reader: str, sender: str, body: str, now: float, late: bool = False) -> Letter | None:
        """Take a body that `reader` (bare JID) got from `sender` (full JID).

        Returns the letter when it is read for the first time, None for whatever is wrong and counted.
        `late`: it was kept in the store, so its age says nothing about latency.
        """
        letter = parse(body)
        if letter is None:
            self.tally.fault("corrupt", f"{reader} got {body[:120]!r} from {sender}")
            return None
        if letter.run != self._run:  # kept for somebody when an earlier run was broken off
            self.tally.older += 1
            return None
        lane = self._lanes.get((letter.sender, letter.recipient))
        if letter.recipient != reader or letter.sender != sender or lane is None:
            self.tally.fault("misrouted", f"{reader} got from {sender}: {body}")
            return None
        if letter.seq not in lane.open:
            self.tally.fault("doubled", f"{reader} got again: {body}")
            return None
        self._close(lane, reader, letter.seq)
        if letter.seq < lane.highest_read:
            self.tally.fault("reordered", f"{reader} got after {lane.highest_read}: {body}")
        lane.highest_read = max(lane.highest_read, letter.seq)
        self.tally.read += 1
        if not late:
            self.tally.latency.add(now - letter.sent_at)
        return letter

    def not_sent(self, letter: Letter) -> None:
        """The stream broke before it was handed to the server."""
        lane = self._lanes[letter.sender, letter.recipient]
        if letter.seq in lane.open:
            self._close(lane, letter.recipient, letter.seq)
            self.tally.written -= 1

    def came_back(self, sender: str, recipient: str, seq: int, condition: str) -> None:
        """A message error (RFC 6120 §8.3) came for it: not delivered, and its sender knows."""
        lane = self._lanes.get((sender, recipient))
        if lane is not None and seq in lane.open:
            self._close(lane, recipient, seq)
            self.tally.fault("returned", f"{condition} for number {seq} from {sender} to {recipient}")

    def is_open(self, letter: Letter) -> bool:
        """Whether it has not been read (nor come back)."""
        return letter.seq in self._lanes[letter.sender, letter.recipient].open

    def waiting_for(self, recipient: str) -> int:
        """How many letters to this user have not been read."""
        return self._waiting[recipient]

    def waiting(self) -> dict[str, set[str]]:
        """Users whose letters have not all been read, each with the full JIDs that wrote them."""
        found: dict[str, set[str]] = {}
        for (sender, recipient), lane in self._lanes.items():
            if lane.open:
                found.setdefault(recipient, set()).add(sender)
        return found

    def lost(self) -> int:
        """Count what was never read as lost: call it once, at the very end."""
        for (sender, recipient), lane in self._lanes.items():
            for seq in sorted(lane.open):
                self.tally.fault("lost", f"number {seq} from {sender} to {recipient}")
            lane.open.clear()
        self._waiting.clear()
        return self.tally.lost

    def _close(self, lane: Lane, recipient: str, seq: int) -> None:
        lane.open.remove(seq)
        self._waiting[recipient] -= 1
