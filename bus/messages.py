"""Every message that crosses a process boundary.

Four families, each a tagged union of array-like structs: to add a field, append it with a default; to add a
message, give it the next tag. Tags and field order are the protocol: they never change (bus/wire.py).

  deltas     one origin's log, replicated to all (design.md §6)
  tasks      numbered items on a link between two incarnations (design.md §7)
  published  what goes out on PUB to everybody: Deltas, Heartbeat
  direct     what goes to one incarnation through a bus: Frame, Ping, asks and answers, Dead
"""

from typing import NamedTuple

import msgspec

PROTOCOL = 1  # grows by one with each release that adds a message or a field


class Origin(NamedTuple):
    """Who wrote it: a node's name and incarnation. Also its ZeroMQ routing id."""

    name: str
    incarnation: int

    def __str__(self) -> str:
        return f"{self.name}/{self.incarnation}"


NOBODY = Origin("", 0)


class Sid(NamedTuple):
    """A session's id, its owner included."""

    origin: Origin
    counter: int

    def __str__(self) -> str:
        return f"{self.origin.name}/{self.origin.incarnation}/{self.counter}"


# Deltas


class Delta(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One entry of an origin's log."""


class SessionUp(Delta, tag=1, frozen=True):
    """A session of the origin as it is now. Replaces what was said of `counter` before.

    `presence` is its available presence stanza without from, to and id; b"" while it has sent none."""

    counter: int
    jid: str  # full JID
    generation: int  # max(1 + highest known for this full JID, wall clock in ms): who wins a conflict
    presence: bytes = b""
    priority: int = 0
    flags: int = 0
    smid: int = 0  # 64-bit hash of the stream management id; 0: not resumable


class SessionDown(Delta, tag=2, frozen=True):
    """A session has ended."""

    counter: int


class RosterChanged(Delta, tag=3, frozen=True):
    """A user's roster has reached `version` in the store; who has sessions of theirs reads and pushes it.

    `stanza` is a subscription stanza for the user, delivered before the push (RFC 6121 §3.1.6)."""

    user: str
    version: int
    stanza: bytes = b""


class Invalidated(Delta, tag=4, frozen=True):
    """Something that others may have cached was changed in the store."""

    cache: str
    key: str


class LoginFailed(Delta, tag=5, frozen=True):
    """A log-in failed; every node counts it against account and address."""

    user: str
    address: str


class OfflineWaiting(Delta, tag=6, frozen=True):
    """The store has free rows for a user who may be on line elsewhere; the owner of a session takes them."""

    user: str


class Farewell(Delta, tag=7, frozen=True):
    """The unavailable presence with which the next delta of session `counter` ends its availability."""

    counter: int
    presence: bytes


DELTAS = SessionUp | SessionDown | RosterChanged | Invalidated | LoginFailed | OfflineWaiting | Farewell


# Tasks


class Task(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One item of a link."""


class RouteStanza(Task, tag=1, frozen=True):
    """Deliver `raw` to sessions of the receiver; nothing is parsed or decided twice.

    Sent by the sender's node. The receiver gives it to each target that lives and answers `Undeliverable`
    for those that don't."""

    targets: list[int]  # counters of the receiver's sessions
    to: str
    from_: str
    kind: str  # message, presence, iq
    identity: bytes  # b"" for what is not deduplicated
    raw: bytes  # stamped: ready for the recipient's stream
    sender: int = 0  # counter of the sending session, for directed presence; 0: a service
    delayed: bool = False  # may have been delivered before to another session
    stanza_type: str | None = None  # its type attribute


class Undeliverable(Task, tag=2, frozen=True):
    """Targets of the task numbered `number` that don't live at the receiver (any more)."""

    number: int
    targets: list[int]


class Call(Task, tag=3, frozen=True):
    """A question of one node to another (status, digests, kick); answered once, within max_execution_s."""

    id: int
    verb: str
    argument: msgspec.Raw


class Answer(Task, tag=4, frozen=True):
    """The answer to `Call` `id`; `error` is "" when there is one."""

    id: int
    value: msgspec.Raw
    error: str = ""


class Unsupported(Task, tag=5, frozen=True):
    """The task numbered `number` is unknown here: its sender speaks a newer protocol."""

    number: int


class FetchOffline(Task, tag=6, frozen=True):
    """Rows were stored for the user of these sessions: take them before anything that follows on this link."""

    targets: list[int]


TASKS = RouteStanza | Undeliverable | Call | Answer | Unsupported | FetchOffline


# Published to everybody


class Deltas(msgspec.Struct, array_like=True, gc=False, tag=1):
    """A stretch of an origin's log, `first` being the seq of its first delta.

    Published once a loop turn; also sent directly as the answer to `AskRange`."""

    origin: Origin
    first: int
    items: msgspec.Raw  # array of DELTAS
    count: int


class Heartbeat(msgspec.Struct, array_like=True, gc=False, tag=2):
    """Every heartbeat_ms on every bus: I live, my log has reached `seq`, these are dead.

    Digests are compared by whoever has applied exactly `seq`."""

    origin: Origin
    seq: int
    digests: dict[str, int]
    dead: list[Origin]
    protocol: int = PROTOCOL
    leaving: bool = False
    sessions: int = 0


PUBLISHED = Deltas | Heartbeat


# To one incarnation, through a bus


class Frame(msgspec.Struct, array_like=True, gc=False, tag=3):
    """Tasks `first` .. `first + count - 1` of the link from `source`, and what it has of ours."""

    source: Origin
    target: Origin
    first: int
    count: int
    items: msgspec.Raw  # array of TASKS
    ack: int  # highest number such that all up to it were taken
    seq: int  # of the source's log when it sent this: tells a receiver that deltas are on their way


class Ping(msgspec.Struct, array_like=True, gc=False, tag=4):
    """Proves a path: every heartbeat_ms over every bus to every peer; answered by `Pong` on the same bus."""

    source: Origin
    target: Origin
    seq: int


class Pong(msgspec.Struct, array_like=True, gc=False, tag=5):
    """The answer to `Ping`."""

    source: Origin
    target: Origin
    seq: int


class AskRange(msgspec.Struct, array_like=True, gc=False, tag=6):
    """`source` misses deltas `first` .. `last` of `target`; answered by `Deltas`, or `RangeGone`."""

    source: Origin
    target: Origin
    first: int
    last: int


class RangeGone(msgspec.Struct, array_like=True, gc=False, tag=7):
    """The ring does not go back that far; ask for a snapshot."""

    source: Origin
    target: Origin
    oldest: int


class AskSnapshot(msgspec.Struct, array_like=True, gc=False, tag=8):
    """Chunk `index` of the cut at `cut`; cut 0 asks for a fresh one. Pulled chunk by chunk: a lost one is
    asked for again, and live traffic is not held up."""

    source: Origin
    target: Origin
    cut: int
    index: int


class SnapshotChunk(msgspec.Struct, array_like=True, gc=False, tag=9):
    """Rows of the source's tables as of seq `cut`."""

    source: Origin
    target: Origin
    cut: int
    index: int
    chunks: int
    items: msgspec.Raw  # array of DELTAS, only those that state a row


class Dead(msgspec.Struct, array_like=True, gc=False, tag=10):
    """Whoever has declared `target` dead answers any frame of it with this. The target takes a new
    incarnation before it handles anything else."""

    source: Origin
    target: Origin


DIRECT = Deltas | Frame | Ping | Pong | AskRange | RangeGone | AskSnapshot | SnapshotChunk | Dead


# Between a node and a bus


class BusPing(msgspec.Struct, array_like=True, gc=False, tag=20):
    """A node asks its bus whether it is there; answered by `BusPong`."""

    number: int


class BusPong(msgspec.Struct, array_like=True, gc=False, tag=21):
    """The answer of the bus named `bus`, this start of it numbered `started`."""

    number: int
    bus: str
    started: int


class Gone(msgspec.Struct, array_like=True, gc=False, tag=22):
    """The bus could not relay to `target`: its connection has closed.

    `was_here` tells that it had been connected to this start of the bus; else it may just be coming."""

    target: Origin
    was_here: bool


CONTROL = BusPing | BusPong | Gone
