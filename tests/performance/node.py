"""A node's pure parts, put together as node/server.py does it, with lines that keep what they are given."""

from collections.abc import Callable

from xcluster.broker.relay import Relay
from xcluster.bus import mesh, wire
from xcluster.bus.messages import Origin, Task
from xcluster.node import lanes
from xcluster.node.availability import Availability
from xcluster.node.delivery import Delivery
from xcluster.node.exchange import Exchange
from xcluster.node.features.presence import Presence
from xcluster.node.inbound import Inbound
from xcluster.node.parcel import Parcel
from xcluster.node.rosters import Rosters
from xcluster.node.session import Session, Sessions
from xcluster.node.store.memory import MemoryStore
from xcluster.node.store.protocol import Account, Roster, RosterItem, ScramKey
from xcluster.node.watchers import Watchers
from xcluster.shared import jid
from xcluster.shared.framing import Framer, ParserPool, Stanza

DOMAIN = "example.org"
HEADER = (
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"
)
STANZA_BYTES = 262_144
_KEY = ScramKey(b"salt", 4096, b"stored", b"server")


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Line:
    """The way to a client, as far as its first list."""

    address = "192.0.2.1"
    heard_at = 0.0
    is_secure = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def write_later(self, data: bytes) -> None:
        self.written.append(data)

    def end(self, condition: str, text: str = "") -> None:
        raise AssertionError(f"the stream was ended: {condition} {text}")

    def hold(self) -> None:
        pass

    def release(self) -> None:
        pass


class Elsewhere:
    """The store and the other nodes' questions: no hot path comes by."""

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        raise AssertionError("a message went to the store")

    def fetch(self, session: Session) -> None:
        raise AssertionError("stored messages were fetched")

    def asked(self, origin: Origin, task: Task) -> None:
        raise AssertionError(f"asked {task}")

    def died(self, origin: Origin) -> None:
        raise AssertionError(f"{origin} died")


class Client:
    """A session, its line, and the framer of its connection."""

    def __init__(self, session: Session, line: Line, pool: ParserPool) -> None:
        self.session = session
        self.line = line
        self.framer = Framer(pool, STANZA_BYTES)
        self.framer.feed(HEADER)


class Node:
    """One node of a cluster with so many buses."""

    def __init__(self, name: str, clock: Clock, buses: int = 0) -> None:
        self.clock = clock
        self.pool = ParserPool()
        self.sessions = Sessions()
        self.watchers = Watchers()
        self.delivery = Delivery(DOMAIN, self.sessions, clock)
        self.exchange = Exchange(
            Origin(name, 1_800_000_000_000), buses, self.delivery, mesh.Options(), lanes.Options(), clock.now
        )
        self.store = MemoryStore(clock=clock)
        presence = Presence(self.sessions, self.watchers)
        elsewhere = Elsewhere()
        self.delivery.connect((presence,), elsewhere, presence, elsewhere)
        self.exchange.directory.on_change.append(presence.record_changed)
        self.rosters = Rosters(self.store, 10_000_000)
        self.availability = Availability(
            self.exchange,
            self.rosters,
            self.watchers,
            _never,
            _never,
            lambda session, before: None,
            lambda session, roster: None,
        )
        self.inbound = Inbound(
            DOMAIN, self.exchange, _never, self.availability.received, self.watchers, clock
        )

    def bind(self, user: str, contacts: tuple[str, ...] = ()) -> Client:
        """Somebody who has logged in, with a roster and initial presence."""
        if contacts:
            items = tuple(RosterItem(f"{contact}@{DOMAIN}", subscription="both") for contact in contacts)
            self.store.provision([Account(user, _KEY, _KEY)], [(user, Roster(items=items))])
        line = Line()
        session = Session(
            self.sessions.next_counter(), jid.make(user, DOMAIN, "phone"), line, 1, self.clock.now
        )
        self.sessions.add(session)
        client = Client(session, line, self.pool)
        self.received(client, b"<presence/>")
        return client

    def received(self, client: Client, data: bytes) -> None:
        """What node/connection.py does with what was read."""
        for event in client.framer.feed(data):
            assert type(event) is Stanza, event
            self.inbound.stanza(client.session, event)


class Bus:
    """A bus between nodes, that carries direct messages when it is told to."""

    def __init__(self, nodes: list[Node], clock: Clock) -> None:
        self.clock = clock
        self._nodes = {wire.routing_id(node.exchange.me): node for node in nodes}
        self.relay = Relay("b1", 1)

    def turn(self, source: Node) -> int:
        """The end of a turn at `source`: what it has for others arrives there. Returns how many messages."""
        outgoing = source.exchange.flush(self.clock.now)
        own = wire.routing_id(source.exchange.me)
        for out in outgoing:
            if out.target is mesh.EVERYBODY:
                for node in self._nodes.values():
                    if node is not source:
                        node.exchange.heard(out.bus, out.data, self.clock.now)
                continue
            target = wire.routing_id(out.target) if out.target is not None else b""
            send = self.relay.received(own, [target, out.data])
            assert send is not None
            if send.kind == wire.FROM_PEER:
                self._nodes[send.to].exchange.received(out.bus, send.payload, self.clock.now)
            else:
                source.exchange.bus_said(out.bus, send.payload, self.clock.now)
        return len(outgoing)

    def settle(self) -> None:
        """Let them meet, and everything that is on its way arrive."""
        for _ in range(40):
            self.clock.now += 0.05
            for node in self._nodes.values():
                node.exchange.tick(self.clock.now)
                node.exchange.mesh.touch_owing()
            while sum(self.turn(node) for node in self._nodes.values()):
                pass


def _never(*arguments: object) -> None:
    raise AssertionError(f"no hot path comes by here: {arguments}")
