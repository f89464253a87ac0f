"""The heart of a node, without sockets: mesh, directory and lanes as one machine.

    session ─ submit ─▶ Lanes ─▶ Local.deliver                     (same node)
                          └────▶ Mesh ─▶ bus ─▶ Mesh ─▶ Local.deliver   (another node)
    bind, presence, end ─▶ Directory + own log ─▶ bus ─▶ Directory ─▶ watchers, parked lanes

node/cluster.py gives it sockets and a clock, the simulation gives it a fake network and a virtual one; both run
this same code. What only sessions and the store can do is asked of `Local`.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from xcluster.bus import membership, mesh
from xcluster.bus.link import Sent
from xcluster.bus.messages import (
    Delta,
    Farewell,
    FetchOffline,
    Origin,
    RouteStanza,
    SessionDown,
    SessionUp,
    Task,
    Undeliverable,
)
from xcluster.node import lanes
from xcluster.node.directory import Directory
from xcluster.node.lanes import Lanes
from xcluster.node.parcel import Parcel


class Local(Protocol):
    """What this node's sessions and store do for the exchange. Nothing here may block."""

    def deliver(self, counter: int, stanza: RouteStanza | Parcel) -> bool:
        """Give a stanza to a session; False when there is no such session."""

    def fetch_offline(self, counter: int) -> None:
        """Stored messages of the session's user go to it before anything that comes later."""

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        """Store a message as a free row, then call `done`; refuse it when that can't be."""

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        """Send an error to whoever sent it."""

    def asked(self, origin: Origin, task: Task) -> None:
        """A task that is not about stanzas has come."""

    def event(self, origin: Origin, delta: Delta) -> None:
        """Something happened at `origin` (ourselves included) that caches and sessions should know."""

    def skipped(self, origin: Origin) -> None:
        """Events of an origin may have been missed: drop what they would have invalidated."""

    def member(self, event: membership.Event) -> None:
        """A peer has come, changed its state, or died."""


class Exchange:
    """One incarnation's routing state."""

    def __init__(
        self,
        me: Origin,
        buses: int,
        local: Local,
        mesh_options: mesh.Options,
        lane_options: lanes.Options,
        now: float,
    ) -> None:
        self.local = local
        self.now = now
        self.directory = Directory(me)
        self.mesh = mesh.Mesh(me, buses, mesh_options, {"sessions": self.directory}, self, now)
        self.lanes = Lanes(self.directory, self.mesh, self, lane_options)
        self.counters = {"undeliverable": 0, "reborn": 0}

    @property
    def me(self) -> Origin:
        return self.mesh.me

    # our sessions

    def put(self, row: SessionUp, farewell: bytes = b"") -> None:
        """A session of ours is there, or has changed: tell the directory and everybody.

        `farewell` is the unavailable presence that ended its availability."""
        if farewell:
            self._write(Farewell(row.counter, farewell))
        self._write(row)

    def drop(self, counter: int, farewell: bytes = b"") -> None:
        """A session of ours has ended, perhaps with an unavailable presence."""
        if self.directory.own(counter) is not None:
            if farewell:
                self._write(Farewell(counter, farewell))
            self._write(SessionDown(counter))

    def _write(self, delta: Delta) -> None:
        self.directory.apply(self.me, delta)
        self.mesh.write(delta)

    def announce(self, event: Delta) -> None:
        """Tell everybody, ourselves first, of an event that is no row."""
        self.mesh.write(event)
        self.local.event(self.me, event)

    def submit(self, parcel: Parcel, now: float) -> None:
        """Route a stanza of one of our sessions, or of this server."""
        self.now = now
        self.lanes.submit(parcel, now)

    # bytes and time

    def received(self, bus: int, data: bytes, now: float) -> None:
        self.now = now
        self.mesh.received(bus, data, now)

    def heard(self, bus: int, data: bytes, now: float) -> None:
        self.now = now
        self.mesh.heard(bus, data, now)

    def bus_said(self, bus: int, data: bytes, now: float) -> None:
        self.now = now
        self.mesh.bus_said(bus, data, now)

    def tick(self, now: float) -> None:
        self.now = now
        self.mesh.tick(now)
        self.lanes.tick(now)

    def settle(self, now: float) -> None:
        """At the end of each loop turn: lanes go on with what this turn settled."""
        self.now = now
        if self.lanes.is_waiting:
            self.lanes.pump(now)

    def flush(self, now: float) -> list[mesh.Outgoing]:
        """`settle`, and what is to be sent: for owners without a pace of their own, like the simulation's."""
        self.settle(now)
        return self.mesh.flush(now)

    @property
    def wants_flush(self) -> bool:
        """Whether this turn has produced something for other nodes, or settled what a lane waits for."""
        return self.mesh.wants_flush or self.lanes.is_waiting

    @property
    def must_be_reborn(self) -> bool:
        """Somebody has declared this incarnation dead: handle no input before `be_reborn`."""
        return self.mesh.members.must_be_reborn

    def be_reborn(self, me: Origin, now: float) -> None:
        """Go on as a new incarnation: the same clients, published under new sids."""
        self.now = now
        self.counters["reborn"] += 1
        self.directory.rename(me)
        self.mesh.be_reborn(me, now)
        for row in list(self.directory.rows(me)):
            self.mesh.write(row)

    # what the mesh tells (bus/mesh.py, Listener)

    def task(self, origin: Origin, number: int, task: Task) -> None:
        if isinstance(task, RouteStanza):
            missing = []
            for counter in task.targets:
                if not self.local.deliver(counter, task):
                    missing.append(counter)
            if missing:
                self.counters["undeliverable"] += len(missing)
                self.mesh.send(origin, Undeliverable(number, missing))
        elif isinstance(task, FetchOffline):
            for counter in task.targets:
                self.local.fetch_offline(counter)
        else:
            self.local.asked(origin, task)

    def returned(self, origin: Origin, sent: Sent, targets: list[int] | None) -> None:
        if sent.context is not None:
            parcel, counters = sent.context
            self.lanes.returned(origin, parcel, counters, targets, self.now)

    def cut(self, origin: Origin) -> None:
        self.lanes.cut(origin)

    def delta(self, origin: Origin, delta: Delta) -> None:
        self.local.event(origin, delta)

    def caught_up(self, origin: Origin) -> None:
        self.lanes.caught_up(self.now)

    def skipped(self, origin: Origin) -> None:
        self.local.skipped(origin)

    def member(self, event: membership.Event) -> None:
        self.local.member(event)
        if isinstance(event, membership.Died):
            self.lanes.caught_up(self.now)

    # what lanes want done (node/lanes.py, Effects)

    def deliver(self, counter: int, parcel: Parcel) -> bool:
        return self.local.deliver(counter, parcel)

    def fetch_offline(self, counter: int) -> None:
        self.local.fetch_offline(counter)

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        self.local.keep(parcel, done)

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        self.local.refuse(parcel, type, condition)

    # for operators

    def differences(self) -> Iterator[tuple[Origin, str, int, int]]:
        """Tables whose kept digest is not what their rows give: (origin, table, kept, recomputed)."""
        for origin in [self.me, *self.mesh.replicas]:
            kept, real = self.directory.digest(origin), self.directory.recomputed_digest(origin)
            if kept != real:
                yield origin, "sessions", kept, real
