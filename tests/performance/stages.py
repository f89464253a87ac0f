"""The stages of a message's way, each measured alone: the tables of ARCHITECTURE.md, "Where the microseconds go".

`python -m tests.performance.stages` prints them. Alone, a stage finds its code and data in the caches; in the
server, between the others, it takes up to twice that. The shares are what matters.
"""

import socket
import statistics
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from types import SimpleNamespace
from typing import Any

from gevent.hub import get_hub

from tests.performance.measure import no_collector, spent_on
from tests.performance.node import HEADER, Bus, Clock, Node
from tests.performance.paths import ACK_S, message
from xcluster.bus import mesh, wire
from xcluster.node.connection import ClientConnection
from xcluster.node.inbound import Inbound
from xcluster.node.parcel import Parcel
from xcluster.node.transport.outbox import Outbox
from xcluster.node.transport.tcp import Connection
from xcluster.shared.framing import Event, Framer

ROUNDS = 60
CLIENTS = 100
OUTPUT_BYTES = 1_000_000

Stages = dict[str, float]  # name -> microseconds of CPU a message


class _Rounds:
    """The costs of parts, round after round."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = {}

    def add(self, name: str, run: Callable[[], None]) -> None:
        """Run it: once for each client."""
        self._spent.setdefault(name, []).append(spent_on(run) / CLIENTS / 1000)

    def medians(self) -> Stages:
        return {name: statistics.median(spent) for name, spent in self._spent.items()}


class _Swallow:
    """An exchange that takes parcels and lets none out."""

    def __init__(self, node: Node) -> None:
        self.me = node.exchange.me
        self.parcels: list[Parcel] = []

    def submit(self, parcel: Parcel, now: float) -> None:
        self.parcels.append(parcel)


class _Idle:
    """The turns of a loop that does not turn."""

    now = 0.0

    def __init__(self) -> None:
        self.ends: list[Callable[[], None]] = []

    def at_end(self, action: Callable[[], None]) -> None:
        self.ends.append(action)

    def ask_end(self) -> None:
        pass

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        raise AssertionError("nothing waits on the hot path")


class _Wire:
    """A socket whose kernel costs nothing: reads give the message, writes take everything."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sent = 0

    def recv(self, size: int) -> bytes:
        return self.data

    def send(self, data: memoryview) -> int:
        self.sent += 1
        return len(data)


def on_one_node(rounds: int = ROUNDS) -> Stages:
    """One message a read, one a write, a hundred clients ready in a turn."""
    node = Node("n1", Clock())
    senders = [node.bind(f"sender{number}") for number in range(CLIENTS)]
    recipients = [node.bind(f"recipient{number}") for number in range(CLIENTS)]
    texts = [message(recipient) for recipient in recipients]
    swallow = _Swallow(node)
    inbound = _inbound(node, swallow)
    events: list[Event] = []
    turns = _Idle()
    outbox = Outbox(turns, 0.0)  # type: ignore[arg-type]
    pairs = [_connected() for _ in range(CLIENTS)]
    connections = [
        _connection(server, turns, outbox, node, text) for (server, _), text in zip(pairs, texts, strict=True)
    ]

    def frame() -> None:
        for sender, text in zip(senders, texts, strict=True):
            events.append(sender.framer.feed(text)[0])

    def take_in() -> None:
        for sender, event in zip(senders, events, strict=True):
            inbound.stanza(sender.session, event)  # type: ignore[arg-type]

    def route() -> None:
        for parcel in swallow.parcels:
            node.exchange.submit(parcel, 0.0)

    def deliver() -> None:
        for recipient, parcel in zip(recipients, swallow.parcels, strict=True):
            node.delivery.deliver(recipient.session.counter, parcel)

    def connect() -> None:
        for connection in connections:
            connection._readable()

    def write() -> None:
        for connection, text in zip(connections, texts, strict=True):
            connection.owner.write(text)  # type: ignore[union-attr]
        for action in turns.ends:
            action()

    def send() -> None:
        for (_, client), text in zip(pairs, texts, strict=True):
            client.send(text)

    found = _Rounds()
    turn = _Turn([server for server, _ in pairs])
    with no_collector():
        for _ in range(rounds):
            events.clear()
            swallow.parcels.clear()
            found.add("framing", frame)
            found.add("inbound", take_in)
            node.exchange.local = _Taker()  # type: ignore[assignment]
            found.add("routing", route)
            node.exchange.local = node.delivery
            found.add("delivery", deliver)
            found.add("connection", connect)
            found.add("outbox", write)
            found.add("send", send)
            found.add("poll and recv", turn.run)
            for recipient in recipients:
                recipient.line.written.clear()
    turn.close()
    assert all(connection.sock.sent == rounds for connection in connections)  # type: ignore[union-attr]
    for server, client in pairs:
        with suppress(BlockingIOError):
            raise AssertionError(f"a turn has left {server.recv(1)!r}")
        server.close()
        client.close()
    return found.medians()


class _Taker:
    """Sessions that take everything."""

    def deliver(self, counter: int, stanza: Any) -> bool:
        return True


class _Turn:
    """One turn of a loop in which all these sockets are readable, and nothing but read."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._loop = get_hub().loop.__class__(default=False)
        self._watchers = []
        for sock in sockets:
            watcher = self._loop.io(sock.fileno(), 1)
            watcher.start(sock.recv, 65_536)
            self._watchers.append(watcher)

    def run(self) -> None:
        self._loop.run(nowait=True, once=True)

    def close(self) -> None:
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._loop.destroy()


def _connected() -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection over loopback: the server's, the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for sock in (server, client):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server, client


def _connection(sock: socket.socket, turns: Any, outbox: Outbox, node: Node, text: bytes) -> Connection:
    """A client's connection, with a framer that knows the event already and an inbound that ignores it."""
    reception: Any = SimpleNamespace(
        pool=node.pool,
        config=SimpleNamespace(c2s=SimpleNamespace(max_stanza_bytes_unauthenticated=65_536)),
        negotiation=lambda address: None,
        bucket=lambda: None,
        inbound=SimpleNamespace(stanza=lambda session, stanza: None),
    )
    framer = Framer(node.pool, 65_536)
    framer.feed(HEADER)
    events = framer.feed(text)
    loop = SimpleNamespace(io=lambda descriptor, events: SimpleNamespace(start=lambda callback: None))
    connection = Connection(sock, "192.0.2.1", turns, outbox, loop, OUTPUT_BYTES)
    owner = ClientConnection(connection, reception, direct_tls=False)
    owner.session = SimpleNamespace()  # type: ignore[assignment]
    owner._framer = SimpleNamespace(feed=lambda data: events)  # type: ignore[assignment]
    connection.sock = _Wire(text)  # type: ignore[assignment]
    return connection


def between_nodes(rounds: int = ROUNDS) -> Stages:
    """What comes on top between two nodes, a frame for each message: all but ZeroMQ's own work."""
    clock = Clock()
    here, there = Node("n1", clock, buses=1), Node("n2", clock, buses=1)
    bus = Bus([here, there], clock)
    bus.settle()
    senders = [here.bind(f"sender{number}") for number in range(CLIENTS)]
    recipients = [there.bind(f"recipient{number}") for number in range(CLIENTS)]
    bus.settle()
    swallow = _Swallow(here)
    inbound = _inbound(here, swallow)
    source = wire.routing_id(here.exchange.me)
    target = wire.routing_id(there.exchange.me)
    outgoing: list[mesh.Outgoing] = []

    def encode() -> None:
        for parcel in swallow.parcels:
            here.exchange.submit(parcel, clock.now)
            outgoing.extend(here.exchange.flush(clock.now))

    def pass_on() -> None:
        for out in outgoing:
            bus.relay.received(source, [target, out.data])

    def take() -> None:
        for out in outgoing:
            there.exchange.received(0, out.data, clock.now)

    def acknowledge() -> None:
        clock.now += ACK_S
        there.exchange.mesh.touch_owing()
        bus.turn(there)

    found = _Rounds()
    there.exchange.local = _Taker()  # type: ignore[assignment]
    with no_collector():
        for _ in range(rounds):
            swallow.parcels.clear()
            outgoing.clear()
            for sender, recipient in zip(senders, recipients, strict=True):
                for event in sender.framer.feed(message(recipient)):
                    inbound.stanza(sender.session, event)  # type: ignore[arg-type]
            found.add("encode", encode)
            found.add("relay", pass_on)
            found.add("decode", take)
            found.add("acknowledge", acknowledge)
    assert len(outgoing) == CLIENTS and not here.exchange.mesh.links[there.exchange.me].unacked
    return found.medians()


def _inbound(node: Node, exchange: _Swallow) -> Inbound:
    """The node's own way in, with another exchange behind it."""
    inbound = copy(node.inbound)
    inbound._exchange = exchange  # type: ignore[assignment]
    inbound._handlers = {"message": inbound._message}
    return inbound


MEASURED: dict[str, Callable[[], Stages]] = {
    "A message on one node": on_one_node,
    "A message between two nodes": between_nodes,
}
"""The headings of the page's tables, and what measures their rows again."""


def main() -> None:
    for title, measured in MEASURED.items():
        print(title)
        stages = measured()
        whole = sum(stages.values())
        for name, cost in stages.items():
            print(f"  {name:12} {cost:6.2f} µs {cost / whole:5.0%}")


if __name__ == "__main__":
    main()
