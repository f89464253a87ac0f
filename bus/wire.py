"""Messages to bytes and back.

MessagePack, array-like, tagged. Additive: a reader ignores appended fields and fills missing ones with their
defaults. A batch that does not decode whole is decoded item by item, so that one unknown item of a newer
release costs only itself.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from xcluster.bus import messages
from xcluster.bus.messages import Origin
from xcluster.shared.errors import WireError

# The first frame of what a bus sends to a node.
FROM_PEER = b"d"
FROM_BUS = b"b"

_encoder = msgspec.msgpack.Encoder()
_published = msgspec.msgpack.Decoder(messages.PUBLISHED)
_direct = msgspec.msgpack.Decoder(messages.DIRECT)
_control = msgspec.msgpack.Decoder(messages.CONTROL)
_delta = msgspec.msgpack.Decoder(messages.DELTAS)
_deltas = msgspec.msgpack.Decoder(list[messages.DELTAS])
_task = msgspec.msgpack.Decoder(messages.TASKS)
_tasks = msgspec.msgpack.Decoder(list[messages.TASKS])
_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # the last: nested without end

encode = _encoder.encode


def array(items: Sequence[bytes]) -> msgspec.Raw:
    """Already encoded items as one encoded array."""
    count = len(items)
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 65_536:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return msgspec.Raw(head + b"".join(items))


def published(data: bytes) -> messages.Deltas | messages.Heartbeat:
    message: messages.Deltas | messages.Heartbeat = _decode(_published, data)
    return message


def direct(data: bytes) -> Any:
    return _decode(_direct, data)


def control(data: bytes) -> Any:
    return _decode(_control, data)


def deltas(items: msgspec.Raw) -> list[messages.Delta | None]:
    """The deltas of a batch; None stands for one that this release does not know."""
    return _batch(_deltas, _delta, items)


def tasks(items: msgspec.Raw) -> list[messages.Task | None]:
    """The tasks of a frame; None stands for one that this release does not know."""
    return _batch(_tasks, _task, items)


def _decode(decoder: Any, data: bytes) -> Any:
    try:
        return decoder.decode(data)
    except _UNREADABLE as error:
        raise WireError(f"unreadable message of {len(data)} bytes") from error


def _batch(whole: Any, single: Any, items: msgspec.Raw) -> list[Any]:
    try:
        decoded: list[Any] = whole.decode(items)
        return decoded
    except _UNREADABLE:
        pass
    result: list[Any] = []
    for item in _decode(_raws, items):
        try:
            result.append(single.decode(item))
        except _UNREADABLE:
            result.append(None)
    return result


def routing_id(origin: Origin) -> bytes:
    """An origin as a ZeroMQ routing id (at most 255 bytes; a bus never starts with a zero byte)."""
    return f"{origin.name}\n{origin.incarnation}".encode()


def origin(routing_id: bytes) -> Origin:
    """The origin in a ZeroMQ routing id; raises WireError."""
    name, _, incarnation = routing_id.partition(b"\n")
    try:
        return Origin(name.decode(), int(incarnation))
    except ValueError as error:
        raise WireError("a routing id that names no origin") from error
