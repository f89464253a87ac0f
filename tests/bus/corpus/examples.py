"""One example of every message of protocol 1, no two fields alike.

protocol-1.json holds what they looked like on the wire when that protocol was released: it never changes. A
later protocol gets a file of its own, made by running this module.
"""

import json
import sys
from typing import Any

import msgspec

from xcluster.bus import wire
from xcluster.bus.messages import (
    Answer,
    AskRange,
    AskSnapshot,
    BusPing,
    BusPong,
    Call,
    Dead,
    Deltas,
    Farewell,
    FetchOffline,
    Frame,
    Gone,
    Heartbeat,
    Invalidated,
    LoginFailed,
    OfflineWaiting,
    Origin,
    Ping,
    Pong,
    RangeGone,
    RosterChanged,
    RouteStanza,
    SessionDown,
    SessionUp,
    SnapshotChunk,
    Undeliverable,
    Unsupported,
)

A = Origin("n1", 1_800_000_000_001)
B = Origin("n2", 1_800_000_000_002)
C = Origin("n3", 3)
_UP = SessionUp(7, "alice@example.org/phone", 1_800_000_000_007, b"<presence/>", -5, 6, 2**64 - 1)
_TASK = RouteStanza(
    [3, 4],
    "bob@example.org",
    "alice@example.org/phone",
    "message",
    b"n1/1/\x00\x00\x00\x00\x00\x00\x00\x09",
    b"<message to='bob@example.org'/>",
    7,
    True,
    "chat",
)

EXAMPLES: list[Any] = [
    _UP,
    SessionDown(8),
    RosterChanged("alice", 9, b"<presence type='subscribe'/>"),
    Invalidated("vcard", "alice"),
    LoginFailed("alice", "192.0.2.1"),
    OfflineWaiting("bob"),
    Farewell(10, b"<presence><status>bye</status></presence>"),
    _TASK,
    Undeliverable(11, [12, 13]),
    Call(14, "status", msgspec.Raw(b"\x81\xa1a\x01")),
    Answer(15, msgspec.Raw(b"\xc0"), "unknown verb"),
    Unsupported(16),
    FetchOffline([17, 18]),
    Deltas(A, 19, wire.array([wire.encode(_UP), wire.encode(SessionDown(8))]), 2),
    Heartbeat(A, 20, {"sessions": 2**64 - 1, "rooms": 0}, [B, C], 1, True, 21),
    Frame(A, B, 22, 1, wire.array([wire.encode(_TASK)]), 23, 24),
    Ping(A, B, 25),
    Pong(A, B, 26),
    AskRange(A, B, 27, 28),
    RangeGone(A, B, 29),
    AskSnapshot(A, B, 30, 31),
    SnapshotChunk(A, B, 32, 33, 34, wire.array([wire.encode(_UP)])),
    Dead(A, B),
    BusPing(35),
    BusPong(36, "bus1", 37),
    Gone(B, True),
]


def plain(value: Any) -> Any:
    """A message or value as JSON has it; bytes in hexadecimal."""
    if isinstance(value, msgspec.Struct):
        return plain(msgspec.structs.asdict(value))
    if isinstance(value, bytes | msgspec.Raw):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return value


if __name__ == "__main__":
    corpus = {type(one).__name__: {"hex": wire.encode(one).hex(), "values": plain(one)} for one in EXAMPLES}
    json.dump(corpus, sys.stdout, indent=1)
    print()
