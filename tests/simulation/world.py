"""A cluster in one process: nodes' pure parts, fake buses, a fake store, virtual time, seeded trouble.

Everything that can go wrong between processes goes wrong here: messages are dropped, delayed, doubled and
reordered; nodes and buses are killed, stopped and continued, cut off one way or both; the store goes down. At
the end the trouble stops, and `check` holds what clients saw against what they sent.
"""

import heapq
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

from xcluster.bus import membership, wire
from xcluster.bus.mesh import EVERYBODY, Options, Outgoing
from xcluster.bus.messages import (
    BusPing,
    BusPong,
    Delta,
    Gone,
    OfflineWaiting,
    Origin,
    RouteStanza,
    SessionUp,
    Task,
)
from xcluster.node import lanes
from xcluster.node.exchange import Exchange
from xcluster.node.identity import make, prefix
from xcluster.node.intake import Intake
from xcluster.node.parcel import Parcel
from xcluster.shared.jid import parse

DOMAIN = "sim"
TICK_S = 0.05
MAX_TURNS = 200_000  # an ordinary seed takes some 15,000
DEAD_S = 3.0
BIND_GAP_S = 1.0  # binds further apart than this: the later one survives (issue 2, point 6)


class Faults:
    """How bad the network is while the trouble lasts."""

    def __init__(self, chance: random.Random) -> None:
        self.drop = chance.choice([0.0, 0.01, 0.1])
        self.double = chance.choice([0.0, 0.05])
        self.late = chance.choice([0.0, 0.1, 0.3])  # share of messages that others overtake


class FakeBus:
    """A broker: relays by origin, fans out, knows who is connected, forgets all when it dies."""

    def __init__(self, world: "World", index: int) -> None:
        self.world = world
        self.index = index
        self.state = "up"  # up, down, stopped
        self.connected: set[Origin] = set()
        self.was_here: set[Origin] = set()
        self.started = 1
        self.queue: list[tuple[SimNode, Origin, Origin | None, bytes]] = []

    def arrived(self, source: "SimNode", origin: Origin, target: Origin | None, data: bytes) -> None:
        if self.state == "down":
            return
        if self.state == "stopped":
            if len(self.queue) < 20_000:
                self.queue.append((source, origin, target, data))
            return
        if source.origin == origin and source.state != "down":
            self.connected.add(origin)
            self.was_here.add(origin)
        if target == EVERYBODY:
            for node in self.world.nodes:
                if node is not source:
                    self.send(node, "heard", data)
        elif target is None:
            number = wire.control(data).number if isinstance(wire.control(data), BusPing) else 0
            self.send(source, "bus_said", wire.encode(BusPong(number, f"b{self.index}", self.started)))
        else:
            node = self.world.node_of(target)
            if target in self.connected and node is not None:
                self.send(node, "received", data)
            else:
                gone = wire.encode(Gone(target, target in self.was_here))
                self.send(source, "bus_said", gone)

    def send(self, node: "SimNode", how: str, data: bytes) -> None:
        self.world.carry(
            ("bus", self.index), ("node", node.name), lambda: node.arrived(how, self.index, data)
        )

    def kill(self) -> None:
        self.state = "down"
        self.connected.clear()
        self.was_here.clear()
        self.queue.clear()

    def start(self) -> None:
        self.state = "up"
        self.started += 1

    def resume(self) -> None:
        self.state = "up"
        queue, self.queue = self.queue, []
        for item in queue:
            self.arrived(*item)


class FakeStore:
    """Offline rows and heartbeats; may be down."""

    def __init__(self) -> None:
        self.down = False
        self.rows: dict[str, list[tuple[bytes, bytes]]] = defaultdict(list)
        self.seen: set[bytes] = set()
        self.beats: dict[Origin, int] = {}
        self.incarnations: dict[str, int] = {}

    def add(self, user: str, identity: bytes, raw: bytes) -> None:
        if identity not in self.seen:
            self.seen.add(identity)
            self.rows[user].append((identity, raw))

    def take(self, user: str) -> list[tuple[bytes, bytes]]:
        return self.rows.pop(user, [])


class Client:
    """One connection of a user: what it sent and what it saw."""

    def __init__(self, world: "World", node: "SimNode", jid: str, counter: int) -> None:
        self.world = world
        self.node = node
        self.jid = jid
        self.counter = counter
        self.bound_at = world.now
        self.alive = True
        self.intake = Intake()
        self.saw: list[bytes] = []
        self.ended = ""

    def show(self, stanzas: list[bytes]) -> None:
        for raw in stanzas:
            self.saw.append(raw)
            self.world.saw(self, raw)


class SimNode:
    """A node process: the real Exchange, fake sessions."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.state = "up"  # up, down, stopped
        self.clients: dict[int, Client] = {}
        self.counter = 0
        self.queue: list[tuple[str, int, bytes]] = []
        self.turned_at = 0.0
        self.executed: Counter[tuple[bytes, int]] = Counter()
        self.start()

    # a process's life

    def start(self) -> None:
        world = self.world
        self.state = "up"
        self.origin = Origin(self.name, self.next_incarnation())
        self.clients = {}
        self.executed = Counter()
        self.queue = []
        self.jobs: deque[Callable[[], None]] = deque()
        self.exchange = Exchange(
            self.origin,
            len(world.buses),
            self,
            Options(0.5, membership.Timing(1.5, DEAD_S, 30.0), world.ring, 4096),
            lanes.Options(world.attempts, 0.5, 10_000),
            world.now,
        )
        self.exchange.directory.on_conflict.append(self.conflict)
        self.turned_at = world.now
        self.started = world.now
        life = self.origin
        world.after(0.0, lambda: self.tick(life))
        world.after(world.chance.random(), lambda: self.beat(life))
        world.after(world.chance.random() * 10, lambda: self.poll(life))

    def next_incarnation(self) -> int:
        incarnations = self.world.store.incarnations
        incarnation = max(incarnations.get(self.name, 0) + 1, int(self.world.now * 1000) + 1)
        incarnations[self.name] = incarnation
        return incarnation

    def kill(self) -> None:
        self.world.killed_at[self.origin] = self.world.now
        self.state = "down"
        for bus in self.world.buses:
            if not self.world.is_cut(("bus", bus.index), ("node", self.name)):
                bus.connected.discard(self.origin)
        for client in list(self.clients.values()):
            client.alive = False
            client.ended = "killed"
            self.world.come_back(client)
        self.clients = {}

    def stop(self) -> None:
        self.state = "stopped"

    def resume(self) -> None:
        self.state = "up"
        if self.world.now - self.turned_at > DEAD_S:
            self.be_reborn()
        queue, self.queue = self.queue, []
        for how, bus, data in queue:
            self.arrived(how, bus, data)
        self.tick(self.origin)

    def be_reborn(self) -> None:
        old = self.origin
        self.origin = Origin(self.name, self.next_incarnation())
        for bus in self.world.buses:
            bus.connected.discard(old)
        self.exchange.be_reborn(self.origin, self.world.now)
        self.world.fired["reborn"] += 1
        origin = self.origin
        self.world.after(TICK_S, lambda: self.tick(origin))
        self.world.after(1.0, lambda: self.beat(origin))
        self.world.after(1.0, lambda: self.poll(origin))

    def tick(self, life: Origin) -> None:
        if self.origin != life or self.state == "down":
            return
        if self.state == "up":
            self.turned_at = self.world.now
            self.exchange.tick(self.world.now)
            self.turn()
            if self.origin == life:
                self.world.after(TICK_S, lambda: self.tick(life))

    def beat(self, life: Origin) -> None:
        if self.origin != life or self.state == "down":
            return
        store = self.world.store
        if self.state == "up" and not store.down and not self.world.is_cut(("node", self.name), ("store", 0)):
            store.beats[life] = store.beats.get(life, 0) + 1
            self.exchange.mesh.stored(store.beats.items(), self.world.now)
        self.world.after(1.0, lambda: self.beat(life))

    def poll(self, life: Origin) -> None:
        """Every 10 s: rows of our own users that nobody announced (design.md §8)."""
        if self.origin != life or self.state == "down":
            return
        if self.state == "up":
            for client in list(self.clients.values()):
                if self.world.store.rows.get(client.jid.partition("/")[0]):
                    self.fetch_offline(client.counter)
        self.world.after(10.0, lambda: self.poll(life))

    def arrived(self, how: str, bus: int, data: bytes) -> None:
        if self.state == "down":
            return
        if self.state == "stopped":
            if len(self.queue) < 20_000:
                self.queue.append((how, bus, data))
            return
        getattr(self.exchange, how)(bus, data, self.world.now)
        self.turn()

    def turn(self) -> None:
        """The end of a loop turn."""
        if self.exchange.must_be_reborn:
            self.be_reborn()
        for out in self.exchange.flush(self.world.now):
            self.send(out)

    def send(self, out: Outgoing) -> None:
        bus = self.world.buses[out.bus]
        origin = self.origin
        self.world.carry(
            ("node", self.name), ("bus", bus.index), lambda: bus.arrived(self, origin, out.target, out.data)
        )

    # sessions

    def bind(self, jid: str) -> Client:
        self.counter += 1
        client = Client(self.world, self, jid, self.counter)
        self.clients[self.counter] = client
        generation = self.exchange.directory.next_generation(jid, int(self.world.now * 1000))
        client.intake.fetch()
        self.exchange.put(SessionUp(self.counter, jid, generation, b"<presence/>", 0))
        self.fetch_later(client)
        self.turn()
        return client

    def unbind(self, client: Client, why: str) -> None:
        if client.alive:
            client.alive = False
            client.ended = why
            del self.clients[client.counter]
            held = client.intake.give_up()
            self.exchange.drop(client.counter)
            user = client.jid.partition("/")[0]
            for identity, raw in held:
                self.world.given_up.add(identity)
                self.store(lambda identity=identity, raw=raw: self.world.store.add(user, identity, raw))
            self.turn()

    def conflict(self, record: Any) -> None:
        client = self.clients.get(record.counter)
        if client is not None:
            self.world.fired["conflicts"] += 1
            self.world.after(0.0, lambda: self.unbind(client, "conflict"))

    def say(self, client: Client, to: str, raw: bytes) -> None:
        parcel = Parcel(client.counter, client.jid, parse(to), "message", "chat", raw, raw)
        self.exchange.submit(parcel, self.world.now)
        self.turn()

    # node/exchange.py, Local

    def deliver(self, counter: int, stanza: RouteStanza | Parcel) -> bool:
        client = self.clients.get(counter)
        if client is None:
            return False
        self.executed[stanza.identity, counter] += 1
        if self.executed[stanza.identity, counter] > 1 and not stanza.delayed:
            self.world.wrong.append(f"executed twice: {stanza.identity!r} at {self.origin}")
        self.world.accepted[stanza.identity].append(self.origin)
        client.show(client.intake.take(stanza.identity, stanza.raw, stanza.delayed))
        return True

    def fetch_offline(self, counter: int) -> None:
        client = self.clients.get(counter)
        if client is not None:
            client.intake.fetch()
            self.fetch_later(client)

    def fetch_later(self, client: Client) -> None:
        user = client.jid.partition("/")[0]

        def take() -> None:
            if client.alive:
                rows = self.world.store.take(user)
                for identity, _ in rows:
                    self.world.accepted[identity].append(self.origin)
                client.show(client.intake.fetched(rows))
                self.turn()

        self.store(take)

    def store(self, action: Callable[[], None]) -> None:
        """Do it in the store, in the order of asking; while the store is away it waits."""
        self.jobs.append(action)
        if len(self.jobs) == 1:
            self.work(self.started)

    def work(self, life: float) -> None:
        def attempt() -> None:
            if self.state == "down" or self.started != life:
                return
            if self.state == "stopped" or self.world.store.down:
                self.world.after(0.1, attempt)
                return
            self.jobs[0]()
            self.jobs.popleft()
            if self.jobs:
                self.work(life)

        self.world.after(self.world.chance.uniform(0.001, 0.003), attempt)

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        self.world.fired["stored"] += 1
        user = parcel.to.bare

        def commit() -> None:
            self.world.store.add(user, parcel.identity, parcel.raw)
            done()
            records = [r for r in self.exchange.directory.resources(user) if r.is_available]
            for record in records:
                if record.origin == self.origin:
                    self.fetch_offline(record.counter)
            if not records or any(record.origin != self.origin for record in records):
                self.exchange.announce(OfflineWaiting(user))
            self.turn()

        self.store(commit)

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        self.world.refused.add(parcel.identity)

    def asked(self, origin: Origin, task: Task) -> None:
        raise AssertionError(task)

    def event(self, origin: Origin, delta: Delta) -> None:
        if isinstance(delta, OfflineWaiting):
            for record in self.exchange.directory.resources(delta.user):
                if record.origin == self.origin:
                    self.fetch_offline(record.counter)

    def skipped(self, origin: Origin) -> None:
        self.world.fired["skipped"] += 1

    def member(self, event: membership.Event) -> None:
        self.world.fired[
            f"member_{event.why if isinstance(event, membership.Died) else event.state.value}"
        ] += 1


class World:
    """The whole simulation of one seed."""

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        buses: int = 2,
        users: int = 6,
        trouble_s: float = 9.0,
        attempts: int = 5,
    ) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.now = 0.0
        self.attempts = attempts
        self.ring = self.chance.choice([8, 4096])
        self.trouble_s = trouble_s
        self.quiet = False  # the trouble is over
        self.faults = Faults(self.chance)
        self.store = FakeStore()
        self.killed_at: dict[Origin, float] = {}
        self.wrong: list[str] = []
        self.fired: Counter[str] = Counter()
        self.refused: set[bytes] = set()
        self.given_up: set[bytes] = set()  # taken by a session that ended before its client saw them
        self.sent: dict[bytes, tuple[Client, str]] = {}
        self.accepted: dict[bytes, list[Origin]] = defaultdict(list)
        self.clients: list[Client] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._event = 0
        self._entered = 0
        self._turns = 0
        self._lost_rows: set[str] = set()
        self._cuts: Counter[tuple[Any, Any]] = Counter()
        self._order: dict[tuple[Any, Any], float] = {}
        self.buses = [FakeBus(self, index) for index in range(buses)]
        self.nodes: list[SimNode] = []
        for index in range(nodes):
            self.nodes.append(SimNode(self, f"n{index}"))
        self.users = [f"u{index}@{DOMAIN}" for index in range(users)]

    # time and network

    def after(self, delay: float, action: Callable[[], None]) -> None:
        self._event += 1
        heapq.heappush(self._events, (self.now + delay, self._event, action))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            self._turns += 1
            if self._turns > MAX_TURNS:
                raise RuntimeError(f"no end in sight at {self.now:.1f} s")
            action()
        self.now = until

    def is_cut(self, source: Any, target: Any) -> bool:
        return self._cuts[source, target] > 0

    def cut(self, source: Any, target: Any, seconds: float) -> None:
        self._cuts[source, target] += 1
        self.after(seconds, lambda: self._cuts.subtract([(source, target)]))

    def carry(self, source: Any, target: Any, action: Callable[[], None]) -> None:
        """One message over one path; in order unless the trouble says otherwise."""
        if self.is_cut(source, target):
            return
        delay = self.chance.uniform(0.0002, 0.002)
        times = 1
        if not self.quiet:
            faults = self.faults
            dice = self.chance.random()
            if dice < faults.drop:
                self.fired["dropped"] += 1
                return
            if dice > 1 - faults.double:
                times = 2
            if self.chance.random() < faults.late:
                delay += self.chance.uniform(0.0, 0.2)
                for _ in range(times):
                    self.after(delay, action)
                return
        at = max(self.now + delay, self._order.get((source, target), 0.0) + 1e-6)
        self._order[source, target] = at
        for _ in range(times):
            self.after(at - self.now, action)

    def node_of(self, origin: Origin) -> "SimNode | None":
        for node in self.nodes:
            if node.name == origin.name:
                return node
        return None

    # clients

    def running(self) -> list[SimNode]:
        return [node for node in self.nodes if node.state == "up"]

    def arrive(self, jid: str) -> None:
        nodes = self.running()
        if nodes:
            client = self.chance.choice(nodes).bind(jid)
            self.clients.append(client)
            if not self.quiet or self.chance.random() < 0.5:
                self.greet(client)

    def greet(self, client: Client) -> None:
        """Write to somebody at once: the answer may overtake our own record."""
        self.say(client, self.chance.choice(self.users))

    def come_back(self, client: Client) -> None:
        jid = client.jid if self.chance.random() < 0.7 else f"{client.jid.partition('/')[0]}/r{self._event}"
        self.after(self.chance.uniform(0.05, 2.0), lambda: self.arrive(jid))

    def say(self, client: Client, to: str) -> None:
        if not client.alive or client.node.state != "up":
            return
        lane = (id(client), to.partition("/")[0])
        name = f"{client.jid}/{client.counter}@{client.bound_at:.3f}>{lane[1]}".encode()
        self._entered += 1
        identity = make(name + b"@" + prefix(client.node.origin), self._entered)
        self.sent[identity] = (client, to)
        client.node.say(client, to, identity)

    def saw(self, client: Client, raw: bytes) -> None:
        sender, to = self.sent[raw]
        if to.partition("/")[0] != client.jid.partition("/")[0]:
            self.wrong.append(f"misrouted: {raw!r} to {client.jid}")
        if self.now < self.trouble_s + 6 and self.chance.random() < 0.4:
            reply_to = sender.jid
            self.after(self.chance.uniform(0.0, 0.005), lambda: self.say(client, reply_to))

    # the story

    def story(self) -> None:
        """Clients come, talk, move and go, while things break."""
        chance = self.chance
        for user in self.users:
            for resource in range(chance.choice([0, 1, 1, 2])):
                jid = f"{user}/r{resource}"
                self.after(chance.uniform(0.0, self.trouble_s / 2), lambda jid=jid: self.arrive(jid))
        self.after(0.1, self.chatter)
        self.after(0.3, self.moves)
        self.after(chance.uniform(0.3, 1.5), self.trouble)

    def chatter(self) -> None:
        if self.now > self.trouble_s + 3:
            return
        alive = [c for c in self.clients if c.alive and c.node.state == "up"]
        if alive:
            client = self.chance.choice(alive)
            others = [c.jid for c in self.clients[-12:]] if self.chance.random() < 0.3 else self.users
            to = self.chance.choice(others)
            for _ in range(self.chance.choice([1, 1, 4])):
                self.say(client, to)
        self.after(self.chance.uniform(0.005, 0.06), self.chatter)

    def moves(self) -> None:
        """Somebody leaves, or binds a resource that is bound elsewhere."""
        if self.now > self.trouble_s:
            return
        alive = [c for c in self.clients if c.alive and c.node.state == "up"]
        if alive:
            client = self.chance.choice(alive)
            if self.chance.random() < 0.5:
                client.node.unbind(client, "left")
                self.come_back(client)
            else:
                self.arrive(client.jid)
        self.after(self.chance.uniform(0.1, 0.8), self.moves)

    def trouble(self) -> None:
        if self.now > self.trouble_s - 1:
            return
        chance = self.chance
        seconds = chance.choice([0.05, 0.3, 1.0, 2.0, 4.5])
        seconds = min(seconds, self.trouble_s - self.now)
        node = chance.choice(self.nodes)
        bus = chance.choice(self.buses)
        what = chance.choice(
            ["kill", "stop", "cut_in", "cut_out", "cut_pair", "cut_all", "isolate", "isolate", "bus_kill",
             "bus_stop", "all_buses", "store", "lose_row"]
        )  # fmt: skip
        if what == "isolate":
            seconds = min(4.5, self.trouble_s - self.now)
        self.fired[what] += 1
        here, there = ("node", node.name), ("bus", bus.index)
        if what == "kill" and node.state == "up" and len(self.running()) > 1:
            node.kill()
            self.after(chance.uniform(0.05, 4.5), node.start)
        elif what == "stop" and node.state == "up":
            node.stop()
            self.after(seconds, lambda: node.state == "stopped" and node.resume())
        elif what == "cut_in":
            self.cut(there, here, seconds)
        elif what == "cut_out":
            self.cut(here, there, seconds)
        elif what in ("cut_pair", "cut_all", "isolate"):
            buses = [bus] if what == "cut_pair" else self.buses
            for each in buses:
                self.cut(here, ("bus", each.index), seconds)
                self.cut(("bus", each.index), here, seconds)
            if what == "isolate":  # from the store too, and long: to the others this is what death looks like
                self.cut(here, ("store", 0), seconds + 1)
        elif what in ("bus_kill", "bus_stop", "all_buses"):
            for each in self.buses if what == "all_buses" else [bus]:
                if each.state == "up" and what != "bus_stop":
                    each.kill()
                    self.after(seconds, each.start)
                elif each.state == "up":
                    each.state = "stopped"
                    self.after(seconds, lambda each=each: each.state == "stopped" and each.resume())
        elif what == "store":
            self.store.down = True
            self.after(seconds, lambda: setattr(self.store, "down", False))
        elif what == "lose_row":
            self.lose_row(node)
        self.after(chance.uniform(0.2, 2.0), self.trouble)

    def lose_row(self, node: SimNode) -> None:
        """A replica loses a row that no delta took: what digests are for."""
        if node.state == "up" and node.name not in self._lost_rows:  # repairs are 10 s apart
            self._lost_rows.add(node.name)
            directory = node.exchange.directory
            for origin in list(node.exchange.mesh.replicas):
                for record in list(directory.of(origin)):
                    directory._remove(record)
                    return

    def play(self) -> "World":
        """The whole story, then quiet, then a check."""
        self.story()
        self.run(self.trouble_s + 5)
        self.quiet = True
        self.store.down = False
        self._cuts.clear()
        for bus in self.buses:
            if bus.state == "down":
                bus.start()
            elif bus.state == "stopped":
                bus.resume()
        for node in self.nodes:
            if node.state == "stopped":
                node.resume()
            elif node.state == "down":
                node.start()
        self.run(self.now + 2.0)
        self.check_directories()
        self.run(self.now + 11.0)  # the slow poll for rows that nobody announced
        self.check_directories()
        self.check_stanzas()
        self.count()
        return self

    # holding it against what was promised

    def check_directories(self) -> None:
        truth = {c.jid: (c.node.origin, c.counter) for c in self.clients if c.alive}
        bound: Counter[str] = Counter(c.jid for c in self.clients if c.alive)
        for jid, times in bound.items():
            if times > 1:
                self.wrong.append(f"{jid} is bound {times} times")
        live = {node.origin for node in self.nodes}
        for node in self.nodes:
            directory = node.exchange.directory
            seen = {
                record.jid: (record.origin, record.counter)
                for user in self.users
                for record in directory.resources(user)
            }
            if seen != truth:
                odd = set(seen.items()) ^ set(truth.items())
                self.wrong.append(f"t={self.now:.1f} directory of {node.origin}: {sorted(odd)[:3]}")
            if set(node.exchange.mesh.replicas) != live - {node.origin}:
                self.wrong.append(
                    f"t={self.now:.1f} members of {node.origin}: {sorted(node.exchange.mesh.replicas)}"
                )
            for origin in live:
                if directory.digest(origin) != directory.recomputed_digest(origin):
                    self.wrong.append(f"digest of {origin} at {node.origin}")
        self.check_conflicts()

    def check_conflicts(self) -> None:
        """Of two binds of one full JID at least a second apart, the earlier one must not outlive the later."""
        by_jid: dict[str, list[Client]] = defaultdict(list)
        for client in self.clients:
            by_jid[client.jid].append(client)
        for jid, clients in by_jid.items():
            latest = clients[-1]
            for earlier in clients[:-1]:
                if (
                    earlier.alive
                    and latest.ended == "conflict"
                    and latest.bound_at - earlier.bound_at >= BIND_GAP_S
                ):
                    self.wrong.append(f"{jid}: the earlier session survived")

    def check_stanzas(self) -> None:
        stored = {identity for rows in self.store.rows.values() for identity, _ in rows}
        seen: Counter[bytes] = Counter()
        for client in self.clients:
            twice = [
                raw for raw, times in Counter(client.saw).items() if times > 1 and raw not in self.given_up
            ]
            if twice:
                self.wrong.append(f"{client.jid} saw twice: {twice[:2]}")
            seen.update(client.saw)
            self.check_order(client)
        for identity, (sender, _) in self.sent.items():
            if identity in seen or identity in stored or identity in self.refused:
                continue
            holders = [sender.node.name, *(origin.name for origin in self.accepted[identity])]
            if any(origin.name in holders for origin in self.killed_at):
                continue  # died with a process: stream management's business, not this layer's
            self.wrong.append(f"lost: {identity!r}")

    def check_order(self, client: Client) -> None:
        last: dict[tuple[Any, ...], tuple[int, bytes]] = {}
        for raw in client.saw:
            if raw in self.given_up:
                continue  # settled once, and on its way again: order is only promised until then
            sender, to = self.sent[raw]
            number = int.from_bytes(raw[-8:], "big")
            lane = (id(sender), to.partition("/")[0])
            if lane in last and last[lane][0] > number:
                self.wrong.append(f"{client.jid} saw {last[lane][1]!r} before {raw!r}")
            last[lane] = (number, raw)

    def count(self) -> None:
        """How often each rule fired."""
        for node in self.nodes:
            exchange = node.exchange
            self.fired.update(exchange.lanes.counters)
            self.fired.update(exchange.mesh.counters)
            self.fired["refused_zombies"] += exchange.mesh.counters["refused"]
            self.fired.update({f"member_{k}": v for k, v in exchange.mesh.members.counters.items()})
            self.fired["undeliverable"] += exchange.counters["undeliverable"]
            for replica in exchange.mesh.replicas.values():
                self.fired.update(replica.counters)
            for link in exchange.mesh.links.values():
                self.fired["resent"] += link.resent
        self.fired["sent"] += len(self.sent)
        self.fired["deduplicated"] += sum(client.intake.dropped for client in self.clients)
