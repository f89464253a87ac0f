"""(I/O) The node process: builds everything from its parts, starts it in order, stops it in order.

Order of a start (design.md §6): store, incarnation, buses, everybody's rows, then the client ports. A node that
can't reach the store or a bus in time starts all the same and says so in readiness; operator's mistakes end it.
"""

import gc
import logging
import os
import resource
import secrets
import signal
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from socket import socket as Socket
from typing import Any

import gevent
import gevent.event
import msgspec
from gevent.hub import get_hub

from xcluster.bus import mesh
from xcluster.bus.membership import Timing
from xcluster.bus.messages import Invalidated
from xcluster.node import cluster as clusters
from xcluster.node import features as all_features
from xcluster.node import lanes
from xcluster.node.admin import process
from xcluster.node.admin.desk import Desk
from xcluster.node.admin.memory import Memory
from xcluster.node.admin.report import Report
from xcluster.node.availability import Availability
from xcluster.node.cache import ACCOUNT, Cache
from xcluster.node.calls import Calls
from xcluster.node.clock import Turns
from xcluster.node.cluster import Cluster
from xcluster.node.connection import ClientConnection
from xcluster.node.contacts import Contacts
from xcluster.node.delivery import Delivery
from xcluster.node.exchange import Exchange
from xcluster.node.failures import Failures
from xcluster.node.hooks import Feature
from xcluster.node.inbound import Inbound
from xcluster.node.iqs import Iqs
from xcluster.node.passwords import Passwords
from xcluster.node.reception import Reception
from xcluster.node.registrar import Registrar
from xcluster.node.rosters import Rosters
from xcluster.node.session import Session, Sessions
from xcluster.node.store.protocol import Notice, ScramKey, Store
from xcluster.node.store.stores import open_store
from xcluster.node.stream import scram
from xcluster.node.stream.negotiation import Policy
from xcluster.node.transport import tls
from xcluster.node.transport.listener import Gate, Listener
from xcluster.node.transport.outbox import Outbox
from xcluster.node.transport.tcp import Connection
from xcluster.node.trimming import Trimming
from xcluster.node.watchers import Watchers
from xcluster.shared import jid
from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError, StoreError
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

DEPARTURES_S = 0.1  # how long those who leave wait to be written together
RESERVED_DESCRIPTORS = 200  # for the store, the buses, the admin API
WANTED_CLIENTS = 65_536  # a limit of descriptors that allows fewer on a node is worth a warning
# Next to nothing here is a cycle. A full collection looks at every session (13 µs each, in one pause), and by
# Python's own count would do so after every quarter more of them; so does one in some 5 million new objects.
GC_THRESHOLDS = (5_000, 20, 50)
SECRET = "sasl.secret"  # setting in the store: hides which users exist, the same on all nodes


def run(config: Config, name: str) -> int:
    """Run a node until SIGTERM or SIGINT; returns the exit code. Raises ConfigError, StoreError."""
    node = Node(config, name)
    stop = gevent.event.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, stop.set)
    node.cluster.superseded = stop.set
    try:
        node.start()
        stop.wait()
    finally:
        node.stop()
    if node.cluster.mesh.superseded:
        log.error("superseded", extra=kv(name=name))
        return 3
    return 0


class Node:
    """All parts of one node, and what holds them together."""

    def __init__(self, config: Config, name: str) -> None:
        self.config = config
        self.name = name
        self.is_ready = False
        self.store: Store = open_store(config)
        self.loop = get_hub().loop
        self.turns = Turns(config.cluster.dead_s, self._overslept)
        self.sessions = Sessions()
        self.watchers = Watchers()
        self.passwords = Passwords(
            config.sasl.plain_threads, config.sasl.plain_queue, config.sasl.plain_cache
        )
        self.failures = Failures(config.limits.login_failures, config.limits.login_window_s)
        self.rosters = Rosters(self.store, config.roster.cache_bytes)
        domain = jid.prepare_domain(config.server.domain)
        self.delivery = Delivery(domain, self.sessions, _wall)
        me = clusters.claim(config, name, self.store)
        self.exchange = Exchange(
            me,
            len(config.bus.endpoints),
            self.delivery,
            _mesh_options(config),
            lanes.Options(config.early.attempts, config.early.window_ms / 1000, config.early.max_parked),
            self.turns.now,
        )
        self.cluster = Cluster(config, name, self.store, self.exchange, self.turns, self._noticed)
        self.calls = Calls(self.exchange, config.cluster.max_execution_s)
        contacts = Contacts(self.store, self.exchange.announce, domain, config.roster.max_items, gevent.spawn)
        self.features = self._build_features(domain, contacts)
        self.iqs = Iqs(self.features, gevent.spawn)
        roster = self._feature(all_features.Roster)
        self.availability = Availability(
            self.exchange,
            self.rosters,
            self.watchers,
            contacts.subscribe,
            lambda session, stanza, to: self.inbound.route(session, stanza, to),
            self._presence_changed,
            roster.became_available,
        )
        self.inbound = Inbound(
            domain, self.exchange, self.iqs.handle, self.availability.received, self.watchers, self._now
        )
        self.delivery.connect(
            self.features,
            self._feature(all_features.Offline),
            self._feature(all_features.Presence),
            self.calls,
        )
        for feature in self.features:
            if type(feature).record_changed is not Feature.record_changed:
                self.exchange.directory.on_change.append(feature.record_changed)
        self.gate = self._build_gate()
        self.outbox = Outbox(self.turns, config.c2s.presence_delay_ms / 1000)
        self.reception = self._build_reception(domain)
        self.listeners: list[Listener] = []
        self.ports: dict[str, int] = {}
        self.trimming = Trimming()
        report = Report(
            self.exchange, self.sessions, self.store, self._now, lambda: self.is_ready, self._more
        )
        self.desk = Desk(
            name, domain, self.exchange, self.sessions, self.calls, report, self._memory(), self._objections,
            self._counters, config.admin.test_hooks,
        )  # fmt: skip

    # building

    def _build_features(self, domain: str, contacts: Contacts) -> list[Feature]:
        config, store, directory = self.config, self.store, self.exchange.directory
        self.departures = all_features.Departures(store)
        vcards = all_features.vcard_cache(config.vcard.cache_bytes)
        return all_features.in_order(
            [
                all_features.Roster(
                    domain, store, self.rosters, contacts, self.sessions, directory, self.watchers,
                    gevent.spawn, self.turns.after,
                ),
                all_features.Presence(self.sessions, self.watchers),
                all_features.Offline(
                    config, store, self.sessions, directory, self.exchange.announce,
                    lambda: bool(self.exchange.mesh.behind(self._now())),
                    self.delivery.refuse, gevent.spawn, gevent.sleep, _wall,
                ),
                all_features.LegacySession(),
                all_features.Disco(lambda: self.features, directory, self.rosters),
                all_features.Caps(lambda: self.features),
                all_features.Ping(store),
                all_features.Keepalive(
                    domain, self.sessions, lambda: config.c2s.idle_ping_s, lambda: config.c2s.idle_timeout_s
                ),
                all_features.Version(_version()),
                all_features.Time(_wall),
                all_features.LastActivity(
                    store, self.departures, self.sessions, directory, self.rosters,
                    partial(gevent.spawn_later, DEPARTURES_S), self._now, _wall,
                ),
                all_features.Vcard(config, store, vcards, self.exchange.announce),
                all_features.Registration(
                    domain, store, self._derive, self.exchange.announce, lambda session: session.line.is_secure
                ),
                all_features.LoginLimits(self.failures, self._now),
            ]
        )  # fmt: skip

    def _feature(self, kind: type[Any]) -> Any:
        return next(feature for feature in self.features if type(feature) is kind)

    def _build_gate(self) -> Gate:
        limits = self.config.limits
        descriptors = _descriptors()
        most = descriptors - RESERVED_DESCRIPTORS
        if most <= 0:
            raise ConfigError(
                "ulimit -n", descriptors, f"leaves none for clients: at least {RESERVED_DESCRIPTORS + 1}"
            )
        if self.config.c2s.max_connections:
            most = min(most, self.config.c2s.max_connections)
        wanted = self.config.c2s.max_connections or WANTED_CLIENTS
        level = logging.WARNING if most < wanted else logging.INFO
        log.log(level, "clients_limited", extra=kv(connections=most, descriptors=descriptors))
        if not limits.enabled:
            return Gate(self.turns, most, 0, 0.0, 0)
        return Gate(
            self.turns, most, limits.connections_per_address, limits.connects_per_s, limits.connects_burst
        )

    def _build_reception(self, domain: str) -> Reception:
        config = self.config
        certificate, key = config.tls.certificate, config.tls.key
        policy = Policy(
            domain=domain,
            secret=self._secret(),
            iterations=config.sasl.iterations,
            registration=config.registration.enabled,
            features=b"".join(feature.stream_features() for feature in self.features),
        )
        return Reception(
            config, self.store, self.exchange, self.sessions, self.watchers, self.inbound, self.features, policy,
            self.passwords, Registrar(config, domain, self.store, self._derive, self._now, _wall), self.failures,
            self.turns, self.gate, tls.context(certificate, key), tls.end_point(certificate),
        )  # fmt: skip

    def _secret(self) -> bytes:
        """The same on all nodes, from the store; while that is away, one of our own."""
        try:
            known = self.store.settings().get(SECRET)
            if known is None:
                self.store.set_setting(SECRET, secrets.token_hex(32))
                known = self.store.settings()[SECRET]
            return bytes.fromhex(known)
        except StoreError:
            return secrets.token_bytes(32)

    def _derive(self, password: str) -> tuple[ScramKey, ScramKey]:
        def key(hash_name: str) -> ScramKey:
            salt = secrets.token_bytes(scram.SALT_BYTES)
            return self.passwords.derive(password, salt, self.config.sasl.iterations, hash_name)

        return key("sha1"), key("sha256")

    def _memory(self) -> Memory:
        parts: dict[str, list[Any]] = {
            "connections": [self.reception, self.gate], "parsers": [self.reception.pool],
            "watchers": [self.watchers], "roster cache": [self.rosters], "features": self.features,
            "log-in": [self.passwords, self.failures],
        }  # fmt: skip
        return Memory(
            self.sessions, self.reception.connections, self.exchange, parts, process.HIDDEN, process.SECURED,
            process.outside,
        )  # fmt: skip

    # life

    def start(self) -> None:
        """Join the cluster, open the ports, become ready."""
        self.desk.api.open(self.config.run_dir / f"{self.name}.sock", self.config.admin.listen)
        self.cluster.start()
        self.cluster.join()
        self._listen()
        self._stop_second = self.turns.every(1.0, self._second)
        self.is_ready = True
        self._write_state()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        log.info(
            "node_ready", extra=kv(name=self.name, incarnation=self.exchange.me.incarnation, **self.ports)
        )

    def _listen(self) -> None:
        c2s = self.config.c2s
        for key, name, addresses, direct in (
            ("c2s.listen", "c2s", c2s.listen, False),
            ("c2s.listen_tls", "c2s_tls", c2s.listen_tls, True),
        ):
            for address in addresses:
                listener = Listener(
                    key, address, c2s.backlog, self.gate, self.turns, self.loop, self._accept(direct)
                )
                self.ports[name] = (
                    listener.port
                )  # the last one: `up --own-ports` puts a node's own port there
                self.listeners.append(listener)
        for listener in self.listeners:
            listener.start()

    def _accept(self, direct_tls: bool) -> Callable[[Socket, str], None]:
        limit = self.config.c2s.max_output_bytes

        def accepted(sock: Socket, address: str) -> None:
            connection = Connection(sock, address, self.turns, self.outbox, self.loop, limit)
            client = ClientConnection(connection, self.reception, direct_tls)
            if not connection.is_closed:
                self.reception.entered(client)

        return accepted

    def stop(self) -> None:
        """Say good-bye to clients and peers, finish what is queued for the store."""
        self.is_ready = False
        for listener in self.listeners:
            listener.close()
        for client in list(self.reception.connections):
            client.end("system-shutdown")
        self.outbox.flush()
        gevent.sleep(0.1)  # the loop writes what clients and peers are told
        self.departures.write()
        self.cluster.leave()
        gevent.sleep(0.1)
        self.desk.api.close()
        (self.config.run_dir / f"{self.name}.json").unlink(missing_ok=True)
        self.cluster.stop()
        self.store.close()
        log.info("node_ended", extra=kv(name=self.name))

    def _second(self) -> None:
        now = self._now()
        self.reception.sweep(now)
        self.trimming.second(len(self.sessions), now)
        for feature in self.features:
            feature.turned(now)

    def _write_state(self) -> None:
        self.config.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        ports = dict(self.ports)
        if self.desk.api.port:
            ports["admin"] = self.desk.api.port
        state = {
            "kind": "node",
            "name": self.name,
            "pid": os.getpid(),
            "incarnation": self.exchange.me.incarnation,
            "ports": ports,
        }
        path = self.config.run_dir / f"{self.name}.json"
        path.with_suffix(".new").write_bytes(msgspec.json.encode(state))
        path.with_suffix(".new").rename(path)

    # what parts tell each other

    def _presence_changed(self, session: Session, before: bytes) -> None:
        for feature in self.features:
            feature.presence_changed(session, before)

    def _overslept(self, gap_s: float) -> None:
        self.cluster.overslept(gap_s)

    def _noticed(self, notice: Notice) -> None:
        """A command line has changed the store behind our back."""
        if notice.kind == "close":
            self.delivery.event(self.exchange.me, Invalidated(ACCOUNT, notice.subject))
            self.reception.close(
                f"{notice.subject}@{self.config.server.domain}", "not-authorized", "account changed"
            )
        elif notice.kind == "roster":
            self._feature(all_features.Roster).changed_elsewhere(notice.subject)
        else:
            for feature in self.features:
                feature.missed(self.exchange.me)

    def _now(self) -> float:
        return self.turns.now

    # for operators

    def _objections(self) -> list[str]:
        """Why no clients should be sent here."""
        reasons = []
        if not self.is_ready:
            reasons.append("starting or stopping")
        if not self.store.healthy:
            reasons.append("the store is away")
        if self.gate.is_full:
            reasons.append("no descriptors left for clients")
        if self.cluster.is_clustered and self.exchange.mesh.members.is_isolated(self._now()):
            reasons.append("no bus answers")
        return reasons

    def _counters(self) -> dict[str, dict[str, int]]:
        return {
            "inbound": self.inbound.counters,
            "delivery": self.delivery.counters,
            "reception": self.reception.counters,
            "offline": self._feature(all_features.Offline).counters,
            "passwords": self.passwords.counters,
            "roster_cache": _cache_figures(self.rosters.cache),
        }

    def _more(self) -> dict[str, Any]:
        return {
            "connections": self.gate.count,
            "ports": self.ports,
            "pid": os.getpid(),
            "offline_waiting": self._feature(all_features.Offline).waiting,
            "traffic": self._counters(),
            "longest_turn_ms": round(self.turns.take_longest() * 1000, 1),
        }


def _cache_figures(cache: Cache[Any, Any]) -> dict[str, int]:
    return {
        "entries": len(cache), "bytes": cache.bytes, "hits": cache.hits, "misses": cache.misses,
        "evictions": cache.evictions,
    }  # fmt: skip


def _mesh_options(config: Config) -> mesh.Options:
    cluster = config.cluster
    timing = Timing(cluster.suspect_s, cluster.dead_s, cluster.unreachable_s)
    return mesh.Options(cluster.heartbeat_ms / 1000, timing, cluster.ring_deltas, cluster.link_window)


def _descriptors() -> int:
    """How many this process may open; the soft limit is raised as far as it goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1_000_000


def _version() -> str:
    try:
        return version("xcluster")
    except PackageNotFoundError:
        return "development"


def _wall() -> float:
    return time.time()
