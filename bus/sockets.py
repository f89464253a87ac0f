"""(I/O) ZeroMQ in a node's loop. A node dials out to all three addresses of every bus."""

from collections.abc import Callable
from typing import Any, NamedTuple

import zmq
from gevent.hub import get_hub

from xcluster.bus import wire
from xcluster.bus.mesh import EVERYBODY, Outgoing
from xcluster.bus.messages import Origin
from xcluster.bus.zeromq import common_options, endpoints, read_key, receive, send
from xcluster.shared.config import Bus

TURN_MESSAGES = 64  # taken from one socket in a loop turn, so that clients get theirs


class Watched:
    """A ZeroMQ socket in the loop: its edge-triggered descriptor, drained without blocking."""

    def __init__(self, socket: zmq.Socket[bytes], take: Callable[[list[bytes]], None]) -> None:
        self.socket = socket
        self._take = take
        self._loop = get_hub().loop
        self._again = False
        self._watcher = self._loop.io(socket.getsockopt(zmq.FD), 1)
        self._watcher.start(self.drain)

    def drain(self) -> None:
        """Take what is there, at most TURN_MESSAGES, then go on in the next turn."""
        self._again = False
        for _ in range(TURN_MESSAGES):
            frames = receive(self.socket)
            if frames is None:
                return
            self._take(frames)
            if self.socket.closed:
                return
        self.again()

    def again(self) -> None:
        """Look once more: after a send the descriptor may have swallowed an edge."""
        if not self._again:
            self._again = True
            self._loop.run_callback(self._drain_if_open)

    def _drain_if_open(self) -> None:
        if not self.socket.closed:
            self.drain()

    def send(self, frames: list[bytes]) -> bool:
        """False when it was dropped: the queue is full."""
        try:
            send(self.socket, frames)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        self._watcher.stop()
        self._watcher.close()
        self.socket.close()


class Handlers(NamedTuple):
    """Who takes what comes in: (bus, payload)."""

    received: Callable[[int, bytes], None]
    heard: Callable[[int, bytes], None]
    bus_said: Callable[[int, bytes], None]


class Sockets:
    """This node's sockets to all buses."""

    def __init__(self, config: Bus, handlers: Handlers) -> None:
        self._config = config
        self._handlers = handlers
        self._context = zmq.Context(1)
        self._context.setsockopt(zmq.MAX_SOCKETS, 4096)
        self._addresses = [endpoints(address) for address in config.endpoints]
        self._keys: tuple[bytes, bytes, bytes] | None = None
        if config.public_key:
            public, secret = zmq.curve_public, read_key("bus.secret_key", config.secret_key)
            self._keys = (read_key("bus.public_key", config.public_key), public(secret), secret)
        self._dealers: list[Watched] = []
        self._publishers: list[zmq.Socket[bytes]] = []
        self._subscribers: list[Watched] = []
        self.dropped = 0

    def open(self, me: Origin) -> None:
        """Connect to every bus as this incarnation."""
        for bus, address in enumerate(self._addresses):
            publisher = self._socket(zmq.PUB, address.publish)
            self._publishers.append(publisher)
            subscriber = self._socket(zmq.SUB, address.subscribe)
            subscriber.setsockopt(zmq.SUBSCRIBE, b"")
            self._subscribers.append(Watched(subscriber, self._heard(bus)))
        self._dial(me)

    def _dial(self, me: Origin) -> None:
        for bus, address in enumerate(self._addresses):
            dealer = self._socket(zmq.DEALER, address.tasks, wire.routing_id(me))
            self._dealers.append(Watched(dealer, self._received(bus)))

    def be_reborn(self, me: Origin) -> None:
        """Dial anew under the routing id of a new incarnation."""
        for dealer in self._dealers:
            dealer.close()
        self._dealers = []
        self._dial(me)

    def _socket(self, type: int, address: str, routing_id: bytes = b"") -> zmq.Socket[bytes]:
        socket = self._context.socket(type)
        common_options(socket, self._config)
        if routing_id:
            socket.setsockopt(zmq.ROUTING_ID, routing_id)
        if self._keys is not None:
            server, public, secret = self._keys
            socket.setsockopt(zmq.CURVE_SERVERKEY, server)
            socket.setsockopt(zmq.CURVE_PUBLICKEY, public)
            socket.setsockopt(zmq.CURVE_SECRETKEY, secret)
        socket.connect(address)
        return socket

    def _received(self, bus: int) -> Callable[[list[bytes]], None]:
        handlers = self._handlers

        def take(frames: list[bytes]) -> None:
            if len(frames) == 2:
                (handlers.received if frames[0] == wire.FROM_PEER else handlers.bus_said)(bus, frames[1])

        return take

    def _heard(self, bus: int) -> Callable[[list[bytes]], None]:
        handlers = self._handlers

        def take(frames: list[bytes]) -> None:
            handlers.heard(bus, frames[-1])

        return take

    def send(self, outbox: list[Outgoing]) -> None:
        """Hand everything to the sockets; what does not fit is dropped and counted: links repeat it."""
        used: dict[int, Any] = {}
        for out in outbox:
            if out.target is EVERYBODY or out.target == EVERYBODY:
                try:
                    send(self._publishers[out.bus], (out.data,))
                except zmq.Again:
                    self.dropped += 1
                continue
            target = wire.routing_id(out.target) if out.target is not None else b""
            dealer = self._dealers[out.bus]
            used[out.bus] = dealer
            if not dealer.send([target, out.data]):
                self.dropped += 1
        for dealer in used.values():
            dealer.again()

    def close(self) -> None:
        for watched in [*self._dealers, *self._subscribers]:
            watched.close()
        for publisher in self._publishers:
            publisher.close()
        self._dealers, self._subscribers, self._publishers = [], [], []
        self._context.term()
