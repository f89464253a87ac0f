"""(I/O) What nodes and buses share of ZeroMQ: addresses, options, keys, frames.

A bus at `tcp://HOST:PORT` has its task port there, takes published messages at PORT + 1 and gives them out at
PORT + 2; one at `ipc://PATH` uses PATH, PATH.pub and PATH.sub.

Frames go through pyzmq's C layer (zmq.backend): its Python layer costs 4.5 µs a message for enums and
exceptions, this 0.6 (measured with three frames of 400 bytes).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zmq
from zmq.backend import Socket as _Backend

from xcluster.shared.config import Bus
from xcluster.shared.errors import ConfigError

_LAST = int(zmq.DONTWAIT)
_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_EVENTS = int(zmq.EVENTS)
_RCVMORE = int(zmq.RCVMORE)
_POLLIN = int(zmq.POLLIN)
_send: Any = _Backend.send
_recv: Any = _Backend.recv
_get: Any = _Backend.get


class Endpoints(NamedTuple):
    """The three addresses of one bus."""

    tasks: str
    publish: str
    subscribe: str


def endpoints(address: str) -> Endpoints:
    """The addresses behind `tcp://HOST:PORT` or `ipc://PATH`; raises ConfigError."""
    if address.startswith("ipc://"):
        return Endpoints(address, f"{address}.pub", f"{address}.sub")
    host, _, port = address.rpartition(":")
    if not port.isdigit() or not 0 < int(port) < 65_534:
        raise ConfigError("bus.endpoints", address, "write tcp://HOST:PORT or ipc://PATH")
    return Endpoints(address, f"{host}:{int(port) + 1}", f"{host}:{int(port) + 2}")


def read_key(key: str, path: str) -> bytes:
    """A CURVE key file: one line of Z85 (xcluster keys generate)."""
    try:
        text = Path(path).read_text("ascii").strip().encode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(key, path, f"cannot be read: {error}") from error
    if len(text) != 40:
        raise ConfigError(key, path, "is no key file; make one with xcluster keys generate")
    return text


def common_options(socket: zmq.Socket[bytes], config: Bus) -> None:
    """What all our sockets share: bounds, and quick notice of a connection that died silently."""
    socket.setsockopt(zmq.LINGER, 200)
    socket.setsockopt(zmq.SNDHWM, config.high_water_mark)
    socket.setsockopt(zmq.RCVHWM, config.high_water_mark)
    socket.setsockopt(zmq.MAXMSGSIZE, config.relay_bytes)
    # After a cut of some seconds TCP would wait as long again before it repeats anything. So that all is well
    # 2 s after a partition heals: leave a silent connection soon, and let no attempt at a new one hang.
    socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 2000)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 2000)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, 600)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 150)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes]) -> None:
    """Send one message without waiting; raises zmq.Again when the queue is full, zmq.ZMQError otherwise."""
    for frame in frames[:-1]:
        _send(socket, frame, _MORE)
    _send(socket, frames[-1], _LAST)


def receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    """The next message, None when there is none; never waits."""
    if not _get(socket, _EVENTS) & _POLLIN:
        return None
    frames = [_recv(socket, _LAST)]
    while _get(socket, _RCVMORE):
        frames.append(_recv(socket, _LAST))
    return frames
