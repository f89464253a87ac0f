"""ZeroMQ peers of a test's own: strangers at a bus, or nodes with the right keys."""

import random
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import zmq

from xcluster.bus.zeromq import Endpoints, endpoints


class Keys(NamedTuple):
    """CURVE: the bus's public key, and one's own pair."""

    server: bytes
    public: bytes
    secret: bytes


def read(folder: Path, server: str, own: str) -> Keys:
    """The keys that `xcluster keys generate` wrote."""
    return Keys(
        *(
            (folder / name).read_bytes().strip()
            for name in (f"{server}.public", f"{own}.public", f"{own}.secret")
        )
    )


def free_endpoint() -> str:
    """A tcp:// address whose three ports are free, below those that the kernel gives away."""
    for _ in range(100):
        port = random.randrange(15_000, 32_000, 4)
        try:
            for offset in range(3):
                with socket.socket() as sock:
                    sock.bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        return f"tcp://127.0.0.1:{port}"
    raise AssertionError("no three free ports in a row")


class Peer:
    """Sockets at one bus. Use it as a context manager."""

    def __init__(self, endpoint: str, keys: Keys | None = None) -> None:
        self.at: Endpoints = endpoints(endpoint)
        self._keys = keys
        self._context = zmq.Context()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.destroy(0)

    def socket(self, type: int, address: str, routing_id: bytes = b"") -> zmq.Socket[bytes]:
        socket = self._context.socket(type)
        socket.setsockopt(zmq.LINGER, 0)  # what a refused peer could not send must not hold up the end
        if routing_id:
            socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if self._keys is not None:
            socket.setsockopt(zmq.CURVE_SERVERKEY, self._keys.server)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, self._keys.public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, self._keys.secret)
        if type == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(address)
        return socket

    def dealer(self, routing_id: bytes = b"stranger\n1") -> zmq.Socket[bytes]:
        return self.socket(zmq.DEALER, self.at.tasks, routing_id)

    def publisher(self) -> zmq.Socket[bytes]:
        """Ready: the bus has told it that there are subscribers."""
        result = self.socket(zmq.XPUB, self.at.publish)
        assert result.poll(5000), "no subscriber"
        return result


def offer(socket: zmq.Socket[bytes], *frames: bytes) -> None:
    """Send, if the socket takes it now: one that was refused may not."""
    with suppress(zmq.Again):
        socket.send_multipart(frames, zmq.NOBLOCK)


def received(socket: zmq.Socket[bytes], seconds: float) -> list[bytes] | None:
    """The next message, None when none comes in time."""
    if socket.poll(int(seconds * 1000)):
        return socket.recv_multipart()
    return None


def drained(socket: zmq.Socket[bytes], seconds: float) -> list[list[bytes]]:
    """All that comes within so many seconds."""
    result = []
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        message = received(socket, left)
        if message is not None:
            result.append(message)
    return result
