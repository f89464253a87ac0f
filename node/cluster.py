"""(I/O) Gives the exchange its sockets, its clock and the store's heartbeats.

The only greenlet here is `run_beat`, which waits for the store once a second; all else is callbacks.
"""

import logging
import os
import socket
from collections.abc import Callable

import gevent

from xcluster.bus.mesh import Mesh
from xcluster.bus.messages import Origin
from xcluster.bus.sockets import Handlers, Sockets
from xcluster.node.clock import Paced, Turns, wall_ms
from xcluster.node.exchange import Exchange
from xcluster.node.store.protocol import NodeRow, Notice, Store
from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError, StoreError
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

TICK_S = 0.05
PACE_S = 0.001  # between two sendings: what comes meanwhile goes in one message a peer
LONE_TICK_S = 0.5  # of a cluster of one: nothing is early, nobody beats
ACK_S = 0.02  # how soon a delayed acknowledgement goes out
BEAT_S = 1.0
WATCH_S = 2.5  # how long another node's heartbeat is watched before it is taken for dead
FRESH_S = 10.0  # a heartbeat older than this by its own clock is not watched at all


class Cluster:
    """This node's membership in its cluster; without bus endpoints a cluster of one."""

    def __init__(
        self,
        config: Config,
        name: str,
        store: Store,
        exchange: Exchange,
        turns: Turns,
        noticed: Callable[[Notice], None],
    ) -> None:
        self._config = config
        self._name = name
        self._store = store
        self._exchange = exchange
        self._turns = turns
        self._noticed = noticed
        self._sockets: Sockets | None = None
        self._beats: gevent.Greenlet | None = None
        self._notice = 0
        self._ack_timer = False
        self.superseded: Callable[[], None] = lambda: None
        self._stops: list[Callable[[], None]] = []
        self._sending = Paced(turns, PACE_S, self._send)
        turns.at_end(self._end_turn)
        exchange.mesh.wake = turns.ask_end

    @property
    def is_clustered(self) -> bool:
        return bool(self._config.bus.endpoints)

    @property
    def mesh(self) -> Mesh:
        return self._exchange.mesh

    # life

    def start(self) -> None:
        """Connect to the buses and begin to beat."""
        self._notice = self._store.last_notice()
        if self.is_clustered:
            handlers = Handlers(self._received, self._heard, self._bus_said)
            self._sockets = Sockets(self._config.bus, handlers)
            self._sockets.open(self._exchange.me)
        self._stops.append(self._turns.every(TICK_S if self.is_clustered else LONE_TICK_S, self._tick))
        self._beats = gevent.spawn(self.run_beat)

    def join(self) -> bool:
        """Wait for a bus, then for the rows of every live node; bounded. False: no bus answered.

        Runs in a greenlet, before clients are let in (design.md §6)."""
        if not self.is_clustered:
            return True
        cluster = self._config.cluster
        gevent.sleep(cluster.startup_delay_s)
        for attempt in range(cluster.startup_retry_count + 1):
            if _until(lambda: bool(self.mesh.members.working_buses(self._turns.now)), 3.0):
                break
            if attempt < cluster.startup_retry_count:
                log.warning("bus_unreachable", extra=kv(retry_s=cluster.startup_retry_s))
                gevent.sleep(cluster.startup_retry_s)
        else:
            log.warning("started_isolated", extra=kv(endpoints=",".join(self._config.bus.endpoints)))
            return False
        gevent.sleep(cluster.heartbeat_ms / 1000 * 1.2)  # everybody beats once: now we know who is there
        whole = _until(lambda: not any(r.is_behind for r in self.mesh.replicas.values()), 5.0)
        if not whole:
            missing = [str(o) for o, replica in self.mesh.replicas.items() if replica.is_behind]
            log.warning("started_incomplete", extra=kv(missing=",".join(missing)))
        return True

    def leave(self) -> None:
        """Tell everybody that this incarnation ends."""
        if self.is_clustered:
            self.mesh.leave()
            self._exchange.settle(self._turns.now)
            self._sending.do()

    def stop(self) -> None:
        for stop in self._stops:
            stop()
        if self._beats is not None:
            self._beats.kill(timeout=1.0)
        if self._sockets is not None:
            self._sockets.close()

    def overslept(self, gap_s: float) -> None:
        """More than dead_s passed between two turns: others may have buried us (the fence)."""
        if self.is_clustered:
            log.warning("overslept", extra=kv(gap_s=round(gap_s, 3)))
            self.be_reborn()

    def be_reborn(self) -> None:
        """Go on as a new incarnation, with the same clients."""
        me = Origin(self._name, max(self._exchange.me.incarnation + 1, wall_ms()))
        log.warning("reborn", extra=kv(was=self._exchange.me, now=me))
        self._exchange.be_reborn(me, self._turns.now)
        if self._sockets is not None:
            self._sockets.be_reborn(me)
        self._turns.ask_end()

    # turns

    def _tick(self) -> None:
        self._exchange.tick(self._turns.now)
        self._after_input()

    def _received(self, bus: int, data: bytes) -> None:
        self._exchange.received(bus, data, self._turns.now)
        self._after_input()

    def _heard(self, bus: int, data: bytes) -> None:
        self._exchange.heard(bus, data, self._turns.now)
        self._after_input()

    def _bus_said(self, bus: int, data: bytes) -> None:
        self._exchange.bus_said(bus, data, self._turns.now)

    def _after_input(self) -> None:
        if self._exchange.must_be_reborn and not self.mesh.leaving:  # who left is dead by its own wish
            if self.mesh.superseded:
                self.superseded()
                return
            self.be_reborn()
        elif self.mesh.superseded:
            self.superseded()
            return
        if self._exchange.wants_flush:
            self._turns.ask_end()

    def _end_turn(self) -> None:
        self._exchange.settle(self._turns.now)
        mesh = self._exchange.mesh
        if mesh.wants_flush:
            self._sending.ask()
        if mesh.links and not self._ack_timer and mesh.owes_acks:
            self._ack_timer = True
            self._turns.after(ACK_S, self._send_acks)

    def _send(self) -> None:
        """Everything for other nodes, at most one message a peer and kind."""
        outbox = self.mesh.flush(self._turns.now)  # settled at the end of each turn
        if outbox and self._sockets is not None:
            self._sockets.send(outbox)

    def _send_acks(self) -> None:
        self._ack_timer = False
        self.mesh.touch_owing()
        self._end_turn()

    # the store

    def run_beat(self) -> None:
        """Write our heartbeat, read everybody's, read what command lines have changed; every second."""
        beats = 0
        while True:
            try:
                me = self._exchange.me
                row = NodeRow(
                    me.name,
                    me.incarnation,
                    socket.gethostname(),
                    os.getpid(),
                    self.is_clustered,
                    wall_ms() / 1000,
                )
                rows = self._store.beat(row)
                others = [(Origin(r.name, r.incarnation), r.beats) for r in rows]
                self._exchange.mesh.stored(others, self._turns.now)
                self._read_notices()
                beats += 1
                if beats % 60 == 0:
                    self._store.sweep(wall_ms() / 1000)
            except StoreError as error:
                log.debug("beat_failed", extra=kv(error=error))
            gevent.sleep(BEAT_S)

    def _read_notices(self) -> None:
        for notice in self._store.notices(self._notice):
            self._notice = max(self._notice, notice.row)
            self._noticed(notice)


def claim(config: Config, name: str, store: Store) -> Origin:
    """This start's incarnation; refuses a name that is alive, and a second single server on one store.

    Raises ConfigError naming host and pid. With the store away the clock alone has to do (design.md §5)."""
    try:
        _refuse_rivals(config, name, store)
        return Origin(name, store.claim_incarnation(name, wall_ms()))
    except StoreError as error:
        log.warning("incarnation_by_clock", extra=kv(name=name, error=error))
        return Origin(name, wall_ms())


def _refuse_rivals(config: Config, name: str, store: Store) -> None:
    clustered = bool(config.bus.endpoints)
    first = {row.name: row for row in store.nodes()}
    now = wall_ms() / 1000
    rivals = [
        row
        for row in first.values()
        if (row.name == name or not clustered or not row.clustered) and abs(now - row.seen_at) < FRESH_S
    ]
    rivals = [row for row in rivals if not _is_gone(row)]
    deadline = now + WATCH_S
    while rivals and wall_ms() / 1000 < deadline:
        gevent.sleep(0.1)
        for row in store.nodes():
            before = first.get(row.name)
            if (
                before is not None
                and row.beats != before.beats
                and any(rival.name == row.name for rival in rivals)
            ):
                _refuse(name, row)


def _is_gone(row: NodeRow) -> bool:
    """A process of this machine that no longer exists."""
    if row.host != socket.gethostname():
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return row.pid == os.getpid()


def _refuse(name: str, row: NodeRow) -> None:
    if row.name == name:
        raise ConfigError(
            "--name", name, f"is alive on host {row.host}, pid {row.pid}; stop it or take another name"
        )
    raise ConfigError(
        "bus.endpoints", [], f"node {row.name} (host {row.host}, pid {row.pid}) lives on the same store: two nodes "
        "need a bus, or they would not see each other",
    )  # fmt: skip


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = wall_ms() / 1000 + seconds
    while not condition():
        if wall_ms() / 1000 > deadline:
            return False
        gevent.sleep(0.02)
    return True
