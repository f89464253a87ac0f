"""Two nodes that know each other, and what operators ask them, without sockets."""

from typing import Any

from tests.bus.shuttle import Shuttle
from tests.node.features.setting import DOMAIN, Line
from xcluster.bus import mesh
from xcluster.bus.messages import Delta, Origin, SessionUp, Task
from xcluster.node import lanes
from xcluster.node.admin.report import Report
from xcluster.node.admin.verify import Verify
from xcluster.node.exchange import Exchange
from xcluster.node.session import Session, Sessions
from xcluster.node.store.memory import MemoryStore
from xcluster.shared import jid
from xcluster.shared.errors import NodeDown

A, B = Origin("a", 10), Origin("b", 10)


class Node:
    """One node's exchange, sessions and answers."""

    def __init__(self, me: Origin, pair: "Pair") -> None:
        self.pair = pair
        shuttle = pair.shuttle
        self.exchange = Exchange(me, len(shuttle.relays), self, mesh.Options(), lanes.Options(), shuttle.now)
        self.sessions = Sessions()
        self.is_ready = True
        self.report = Report(
            self.exchange,
            self.sessions,
            MemoryStore(),
            lambda: shuttle.now,
            lambda: self.is_ready,
            lambda: {"more": 1},
        )
        self.verify = Verify(self.exchange, self.ask, pair.sleep)
        shuttle.join(self.exchange)

    def ask(self, origin: Origin, verb: str, argument: Any) -> Any:
        """As node/calls.py does it, without waiting."""
        node = self.pair.nodes.get(origin)
        if node is None or origin in self.pair.silent:
            raise NodeDown(f"{origin} is not a live node")
        return getattr(node.verify, verb)(argument)

    def bind(self, user: str, resource: str = "home") -> Session:
        address = jid.make(user, DOMAIN, resource)
        session = Session(self.sessions.next_counter(), address, Line(), 1, self.pair.shuttle.now)
        self.sessions.add(session)
        self.exchange.put(SessionUp(session.counter, session.jid, 1, b"<presence/>"))
        return session

    # node/exchange.py, Local: nothing is routed here

    def deliver(self, counter: int, stanza: Any) -> bool:
        return False

    def fetch_offline(self, counter: int) -> None: ...

    def keep(self, parcel: Any, done: Any) -> None:
        done()

    def refuse(self, parcel: Any, type: str, condition: str) -> None: ...

    def asked(self, origin: Origin, task: Task) -> None: ...

    def event(self, origin: Origin, delta: Delta) -> None: ...

    def skipped(self, origin: Origin) -> None: ...

    def member(self, event: Any) -> None: ...


class Pair:
    """`a` and `b`; while `verify` sleeps, time passes."""

    def __init__(self) -> None:
        self.shuttle = Shuttle()
        self.silent: set[Origin] = set()
        self.nodes: dict[Origin, Node] = {}
        self.slept = 0
        for me in (A, B):
            self.nodes[me] = Node(me, self)
        self.a, self.b = self.nodes[A], self.nodes[B]
        self.run(1.0)

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.run(seconds)

    def run(self, seconds: float) -> None:
        self.shuttle.run(seconds)
