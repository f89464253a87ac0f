"""One node's end of the cluster, without sockets: membership, replication and links together.

Bytes and `now` come in; what is to be sent collects in `outbox`, what happened goes to the `Listener`. The
owner (node/cluster.py, or the simulation) moves bytes and calls `tick` often and `flush` once a loop turn.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from xcluster.bus import membership, messages, wire
from xcluster.bus.link import Link, Sent
from xcluster.bus.membership import Died, Membership, State, Timing
from xcluster.bus.messages import (
    AskRange,
    AskSnapshot,
    BusPing,
    BusPong,
    Dead,
    Delta,
    Deltas,
    Farewell,
    Frame,
    Gone,
    Heartbeat,
    Origin,
    Ping,
    Pong,
    RangeGone,
    SessionDown,
    SessionUp,
    SnapshotChunk,
    Task,
    Undeliverable,
    Unsupported,
)
from xcluster.bus.replication import OwnLog, Replica, Table
from xcluster.shared.errors import WireError

TABLES: dict[type[Delta], str] = {SessionUp: "sessions", SessionDown: "sessions", Farewell: "sessions"}
EVERYBODY = Origin("*", 0)
OVERDUE_S = 1.25  # an origin not heard for this long may have written something that we don't know of


class Options(msgspec.Struct, frozen=True):
    """What of the configuration the mesh needs."""

    heartbeat_s: float = 0.5
    timing: Timing = Timing()
    ring: int = 65_536
    link_window: int = 8_192


class Outgoing(NamedTuple):
    """Bytes to be sent over a bus: published when `target` is EVERYBODY, to the bus itself when None."""

    bus: int
    target: Origin | None
    data: bytes


class Listener(Protocol):
    """Who is told what the mesh learns. Nothing here may block."""

    def task(self, origin: Origin, number: int, task: Task) -> None:
        """A task has come: in order, once."""

    def returned(self, origin: Origin, sent: Sent, targets: list[int] | None) -> None:
        """A task of ours was not taken by `targets` (None: by nobody, the peer is dead)."""

    def cut(self, origin: Origin) -> None:
        """The link to a peer is void; `returned` is called next for each task that it held."""

    def delta(self, origin: Origin, delta: Delta) -> None:
        """A delta that is no row: an event for whoever cares."""

    def caught_up(self, origin: Origin) -> None:
        """Everything that the origin is known to have written is applied."""

    def skipped(self, origin: Origin) -> None:
        """Events of the origin may have been missed: a snapshot was taken, or it is new."""

    def member(self, event: membership.Event) -> None:
        """A peer has changed its state, or died."""


class Mesh:
    """This incarnation among the others."""

    def __init__(
        self,
        me: Origin,
        buses: int,
        options: Options,
        tables: Mapping[str, Table],
        listener: Listener,
        now: float,
    ) -> None:
        self.me = me
        self.options = options
        self.tables = tables
        self.listener = listener
        self.members = Membership(me, options.timing, now)
        self.log = OwnLog(me, options.ring)
        self.replicas: dict[Origin, Replica] = {}
        self.links: dict[Origin, Link] = {}
        self.outbox: list[Outgoing] = []
        self.leaving = False
        self.superseded = False  # a newer incarnation of our name lives: this process has to end
        self.bus_names: dict[int, str] = {}
        self.counters = {"refused": 0, "unreadable": 0, "bus_switches": 0, "unknown_tasks": 0}
        self.wake: Callable[[], None] = _nothing  # there is something to flush: end this turn with it
        self._buses = range(buses)
        self._beat_at = now
        self._news_bus = 0  # the bus that our deltas go out on
        self._touched: dict[Origin, None] = {}  # links with something to send at the end of this turn
        self._handlers: dict[type, Any] = {
            Deltas: self._deltas,
            Frame: self._frame,
            Ping: self._ping,
            Pong: self._pong,
            AskRange: self._ask_range,
            RangeGone: self._range_gone,
            AskSnapshot: self._ask_snapshot,
            SnapshotChunk: self._snapshot_chunk,
            Dead: self._dead,
        }

    @property
    def bus_count(self) -> int:
        return len(self._buses)

    # what the node does

    def write(self, delta: Delta) -> int:
        """Append a delta to our log; it is published with the next `flush`."""
        if not self._buses:
            return self.log.skip()
        self.wake()
        return self.log.append(delta)

    def send(self, target: Origin, task: Task, context: Any = None) -> int:
        """Send a task to a live peer; returns its number on the link, 0 when there is no such peer.

        Also 0 for a client's stanza (it has a context) when the link holds more than its bound: while no bus
        answers nobody is declared dead, and nothing else would end the queue."""
        link = self.links.get(target)
        if link is None or (context is not None and link.is_overfull):
            return 0
        self._touch(target)
        return link.send(task, context)

    def offer(self, target: Origin, task: Task, context: Any) -> int:
        """As `send`, for what may take another way: 0 also when the peer does not accept it."""
        link = self.links.get(target)  # what `accepts` asks, with one look-up for both
        if (
            link is None
            or len(link.unacked) >= link.window
            or self.members.peers[target].state is not State.ALIVE
        ):
            return 0
        self._touch(target)
        return link.send(task, context)

    def _touch(self, target: Origin) -> None:
        """There is something for this peer at the end of the turn."""
        if target not in self._touched:
            self._touched[target] = None
            self.wake()

    def is_taken(self, target: Origin, number: int) -> bool:
        """Whether a task of ours is off our hands: acknowledged, or its link is void."""
        link = self.links.get(target)
        return link is None or link.acked >= number

    def accepts(self, target: Origin) -> bool:
        """Whether new client stanzas may be sent to the peer: it is alive and its window is not full."""
        link = self.links.get(target)
        return link is not None and not link.is_full and self.members.peers[target].state is State.ALIVE

    def behind(self, now: float) -> dict[Origin, int]:
        """Live origins that are ahead of what is applied here: the position to wait for.

        A position one above the applied one stands for an origin whose heartbeat is overdue."""
        result: dict[Origin, int] = {}
        for origin, replica in self.replicas.items():
            if replica.is_behind:
                result[origin] = max(replica.heard, replica.applied + 1)
            elif now - self.members.peers[origin].heard_at > OVERDUE_S:
                result[origin] = replica.applied + 1
        return result

    def has_reached(self, positions: Mapping[Origin, int]) -> bool:
        """Whether all these positions are applied, or their origins dead."""
        for origin, seq in positions.items():
            replica = self.replicas.get(origin)
            if replica is not None and (replica.applied < seq or replica.is_repairing):
                return False
        return True

    def digests(self, origin: Origin) -> dict[str, int]:
        return {name: table.digest(origin) for name, table in self.tables.items()}

    def be_reborn(self, me: Origin, now: float) -> None:
        """Take a new incarnation: a new log, new links; peers must be heard anew. Rows are the caller's."""
        for link in list(self.links.values()):
            self._cut(link)
        self.me = me
        self.members.reborn(me)
        self.log = OwnLog(me, self.options.ring)
        for origin in list(self.replicas):
            self.replicas[origin].me = me
            self.links[origin] = self._new_link(origin)
        self._beat_at = now

    # bytes coming in

    def received(self, bus: int, data: bytes, now: float) -> None:
        """A direct message has come over a bus."""
        try:
            message = wire.direct(data)
            source = message.origin if isinstance(message, Deltas) else message.source
            if isinstance(message, Dead):
                self._dead(message, bus, now)
            elif self._admit(source, bus, now) and getattr(message, "target", self.me) == self.me:
                self._handlers[type(message)](message, bus, now)
        except WireError:
            self.counters["unreadable"] += 1

    def heard(self, bus: int, data: bytes, now: float) -> None:
        """A published message has come over a bus."""
        try:
            message = wire.published(data)
            if message.origin == self.me:
                return
            if message.origin.name == self.me.name:
                self.superseded |= message.origin.incarnation > self.me.incarnation
                return
            if self._admit(message.origin, bus, now):
                if isinstance(message, Deltas):
                    self._deltas(message, bus, now)
                else:
                    self._heartbeat(message, bus, now)
        except WireError:
            self.counters["unreadable"] += 1

    def bus_said(self, bus: int, data: bytes, now: float) -> None:
        """The bus itself has answered."""
        try:
            message = wire.control(data)
        except WireError:
            self.counters["unreadable"] += 1
            return
        if isinstance(message, BusPong):
            self.members.bus_answered(bus, now)
            self.bus_names[bus] = message.bus
        elif isinstance(message, Gone):
            self.members.gone(message.target, message.was_here, now)

    def bus_lost(self, bus: int) -> None:
        self.members.bus_lost(bus)

    def stored(self, beats: Iterable[tuple[Origin, int]], now: float) -> None:
        """Everybody's heartbeat rows, as just read from the store."""
        self.members.stored(beats, now)

    def _admit(self, source: Origin, bus: int, now: float) -> bool:
        """The fence at the receiver."""
        if self.members.is_refused(source):
            self.counters["refused"] += 1
            self.outbox.append(Outgoing(bus, source, wire.encode(Dead(self.me, source))))
            return False
        if source == self.me:
            return False
        self._tell(self.members.heard(source, bus, now), now)
        return source in self.members.peers

    def _tell(self, events: list[membership.Event], now: float) -> None:
        if not events:
            return
        # Several may die at once: none is left half there while others hear of the first.
        for event in events:
            if isinstance(event, Died):
                self._bury(event.origin)
        for event in events:
            if isinstance(event, Died):
                for table in self.tables.values():
                    table.forget(event.origin)
                self.listener.member(event)
            else:
                if event.origin not in self.replicas:
                    self._meet(event.origin, now)
                self.listener.member(event)

    def _meet(self, origin: Origin, now: float) -> None:
        replica = Replica(self.me, origin, now)
        replica.want_snapshot(now)
        self.replicas[origin] = replica
        self.links[origin] = self._new_link(origin)
        self._beat_at = now  # let the newcomer hear of us at once

    def _new_link(self, origin: Origin) -> Link:
        return Link(self.me, origin, self.options.link_window)

    def _bury(self, origin: Origin) -> None:
        self.replicas.pop(origin, None)
        link = self.links.get(origin)
        if link is not None:  # first: what it held goes before whatever the death sets free
            self._cut(link)

    def _cut(self, link: Link) -> None:
        self.links.pop(link.peer, None)
        self.listener.cut(link.peer)
        for sent in link.cut():
            self.listener.returned(link.peer, sent, None)

    # messages

    def _heartbeat(self, beat: Heartbeat, bus: int, now: float) -> None:
        self._tell(self.members.declared_dead(beat.dead, now), now)
        replica = self.replicas.get(beat.origin)
        if replica is None:
            return
        self.members.peers[beat.origin].protocol = beat.protocol
        if beat.leaving:
            self._tell(self.members.left(beat.origin, now), now)
            return
        replica.heard_position(beat.seq, now)
        replica.overtook(beat.seq, now)
        if beat.seq == replica.applied:
            replica.compare(beat.seq, beat.digests, self.digests(beat.origin), now)

    def _deltas(self, batch: Deltas, bus: int, now: float) -> None:
        replica = self.replicas[batch.origin]
        self._apply(replica, replica.received(batch, now))

    def _apply(self, replica: Replica, deltas: Iterable[Delta | None]) -> None:
        count = 0
        for delta in deltas:
            count += 1
            if delta is None:
                continue
            table = TABLES.get(type(delta))
            if table is not None:
                self.tables[table].apply(replica.origin, delta)
            else:
                self.listener.delta(replica.origin, delta)
        if count and not replica.is_behind:
            self.listener.caught_up(replica.origin)

    def _frame(self, frame: Frame, bus: int, now: float) -> None:
        self.replicas[frame.source].heard_position(frame.seq, now)
        link = self.links[frame.source]
        for number, task in link.received(frame, now):
            if isinstance(task, Undeliverable):
                sent = link.find(task.number)
                if sent is not None:
                    self.listener.returned(frame.source, sent, task.targets)
            elif task is None:
                self.counters["unknown_tasks"] += 1
                self.send(frame.source, Unsupported(number))
            else:
                self.listener.task(frame.source, number, task)
        if link.has_work:
            self._touched[frame.source] = None
        link.acknowledged(frame, now)

    def _ping(self, ping: Ping, bus: int, now: float) -> None:
        self.replicas[ping.source].heard_position(ping.seq, now)
        pong = Pong(self.me, ping.source, self.log.seq)
        self.outbox.append(Outgoing(bus, ping.source, wire.encode(pong)))

    def _pong(self, pong: Pong, bus: int, now: float) -> None:
        self.replicas[pong.source].heard_position(pong.seq, now)

    def _ask_range(self, ask: AskRange, bus: int, now: float) -> None:
        reply: Deltas | RangeGone | None = self.log.range(ask.first, ask.last)
        if reply is None:
            reply = RangeGone(self.me, ask.source, self.log.oldest)
        self.outbox.append(Outgoing(bus, ask.source, wire.encode(reply)))

    def _range_gone(self, gone: RangeGone, bus: int, now: float) -> None:
        self.replicas[gone.source].gap_is_gone(now)

    def _ask_snapshot(self, ask: AskSnapshot, bus: int, now: float) -> None:
        chunk = self.log.chunk(ask, self._own_rows, now)
        self.outbox.append(Outgoing(bus, ask.source, wire.encode(chunk)))

    def _own_rows(self) -> Iterator[Delta]:
        for table in self.tables.values():
            yield from table.rows(self.me)

    def _snapshot_chunk(self, chunk: SnapshotChunk, bus: int, now: float) -> None:
        replica = self.replicas[chunk.source]
        whole = replica.snapshot_chunk(chunk, now)
        if whole is not None:
            rows, later = whole
            for name, table in self.tables.items():
                table.replace(chunk.source, [row for row in rows if TABLES[type(row)] == name])
            self.listener.skipped(chunk.source)
            self._apply(replica, later)
            if not replica.is_behind:
                self.listener.caught_up(chunk.source)
        self._ask(replica, now)

    def _dead(self, message: Dead, bus: int, now: float) -> None:
        if message.target == self.me and not self.members.is_refused(message.source):
            self.members.must_be_reborn = True

    # time

    def tick(self, now: float) -> None:
        """Judge silences, ask for what is missing, send again what was not taken, beat. Every 50 ms or so."""
        self._tell(self.members.tick(now), now)
        for origin, replica in self.replicas.items():
            self._ask(replica, now)
            link = self.links[origin]
            link.tick(now)
            self._stick(link, now)
            if link.has_work:
                self._touched[origin] = None
        if now >= self._beat_at:
            self._beat_at = now + self.options.heartbeat_s
            self._beat()

    def _ask(self, replica: Replica, now: float) -> None:
        ask = replica.asks(now)
        if ask is not None:
            bus = self._path(self.links[replica.origin], now)
            self.outbox.append(Outgoing(bus, replica.origin, wire.encode(ask)))

    def _beat(self) -> None:
        heartbeat = wire.encode(self.heartbeat())
        ping = wire.encode(BusPing(self.log.seq))
        for bus in self._buses:
            self.outbox.append(Outgoing(bus, None, ping))
            self.outbox.append(Outgoing(bus, EVERYBODY, heartbeat))
            for origin in self.links:
                data = wire.encode(Ping(self.me, origin, self.log.seq))
                self.outbox.append(Outgoing(bus, origin, data))

    def heartbeat(self) -> Heartbeat:
        dead = list(self.members.told_dead)
        return Heartbeat(self.me, self.log.seq, self.digests(self.me), dead, messages.PROTOCOL, self.leaving)

    def leave(self) -> None:
        """Tell everybody that this incarnation ends now."""
        self.leaving = True
        self._beat()

    def _stick(self, link: Link, now: float) -> None:
        """Keep the link's bus while its pings come back, else move to one whose do, and send again."""
        bus = self._path(link, now)
        if bus != link.bus:
            if link.bus >= 0:
                self.counters["bus_switches"] += 1
                link.resend(now)
            link.bus = bus

    def _path(self, link: Link, now: float) -> int:
        """The bus to reach a peer: the one in use while it works, else the one last heard over."""
        paths = self.members.peers[link.peer].paths
        if link.bus >= 0 and now - paths.get(link.bus, -1e9) < membership.PATH_S:
            return link.bus
        return max(paths, key=lambda bus: paths[bus], default=max(link.bus, 0))

    def flush(self, now: float) -> list[Outgoing]:
        """Everything to be sent now: call once at the end of each loop turn."""
        if self.log.has_unsent:
            bus = self._bus_for_news(now)
            for batch in self.log.take():
                if self._buses:
                    self.outbox.append(Outgoing(bus, EVERYBODY, wire.encode(batch)))
        if self._touched:
            touched, self._touched = self._touched, {}
            for origin in touched:
                link = self.links.get(origin)
                if link is not None:
                    for frame in link.frames(now, self.log.seq):
                        self.outbox.append(Outgoing(max(link.bus, 0), origin, wire.encode(frame)))
        outbox, self.outbox = self.outbox, []
        return outbox

    @property
    def owes_acks(self) -> bool:
        """Whether some peer waits for an acknowledgement that found no frame to ride on."""
        return any(link.has_work for link in self.links.values())

    def touch_owing(self) -> None:
        """Let the next flush look at the links that owe an acknowledgement."""
        for origin, link in self.links.items():
            if link.has_work:
                self._touched[origin] = None

    @property
    def wants_flush(self) -> bool:
        return bool(self._touched or self.outbox or self.log.has_unsent)

    def _bus_for_news(self, now: float) -> int:
        working = self.members.working_buses(now)
        if working and self._news_bus not in working:
            self._news_bus = working[0]
        return self._news_bus


def _nothing() -> None:
    pass
