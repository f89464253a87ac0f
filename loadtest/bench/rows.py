"""The rows of design.md §9 that a load generator can measure, each a function of a server."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from xcluster.loadtest.bench import processes
from xcluster.loadtest.bench.generator import BenchError, Generator, Load
from xcluster.loadtest.bench.servers import CONTACTS, DOMAIN, PASSWORD, Running, Server, Setup
from xcluster.loadtest.sightings import contacts

LIMIT_S = 120.0


class Sizes(msgspec.Struct, frozen=True):
    """How much is measured."""

    users: int = 6000
    sessions: int = 4000  # held for memory
    logins: int = 1500
    pairs: int = 500
    seconds: float = 8.0
    arrivals_per_s: int = 400
    settle_s: float = 3.0  # before idle figures are read


QUICK = Sizes(users=1600, sessions=1000, logins=300, pairs=100, seconds=3.0, arrivals_per_s=100, settle_s=1.0)


class Bench:
    """One server under measurement; started anew whenever a row wants it."""

    def __init__(self, server: Server, generator: Generator, sizes: Sizes, folder: Path) -> None:
        self.server = server
        self.generator = generator
        self.sizes = sizes
        self._folder = folder
        self._setup: Setup | None = None
        self.running: Running | None = None

    def start(self, setup: Setup, *, fresh: bool = False) -> Running:
        """The server in this setup; `fresh`: it has served nobody before."""
        if self.running is None or self._setup != setup or fresh:
            self.stop()
            folder = self._folder / self.server.name.replace(" ", "-") / f"{setup.nodes}"
            self.running = self.server.start(setup, folder, self.sizes.users)
            self._setup = setup
            time.sleep(self.sizes.settle_s)
        return self.running

    def stop(self) -> None:
        self.server.stop()
        self.running = None

    def load(self, mode: str, *, nodes: int | None = None, **options: object) -> Load:
        assert self.running is not None
        addresses = ",".join(self.running.addresses[:nodes])
        return self.generator.run(mode, nodes=addresses, domain=DOMAIN, password=PASSWORD, **options)

    @contextmanager
    def cpu(self) -> Iterator[list[float]]:
        """Appends the tree's CPU seconds of what is inside."""
        assert self.running is not None
        spent: list[float] = []
        before = processes.cpu_s(self.running.root)
        yield spent
        spent.append(processes.cpu_s(self.running.root) - before)


class Found(msgspec.Struct):
    """A measured value, and what else was seen."""

    value: float
    more: dict[str, float] = msgspec.field(default_factory=dict)


Measure = Callable[[Bench], Found]


SINGLE, CLUSTER, CLEAR = Setup(), Setup(nodes=3), Setup(passwords="clear")


def message(window: int, *, tls: str = "none", setup: Setup = SINGLE, rate: int = 0) -> Measure:
    """A message between two people who are online; CPU of one."""

    def measure(bench: Bench) -> Found:
        bench.start(setup)
        sizes = bench.sizes
        with bench.load(
            "message", users=2 * sizes.pairs, window=window, time=sizes.seconds, tls=tls,
            cross=int(setup.nodes > 1), rate=rate, contacts=CONTACTS, limit=LIMIT_S,
        ) as load:  # fmt: skip
            load.ready(LIMIT_S)
            time.sleep(sizes.settle_s)
            with bench.cpu() as spent:
                load.go()
                done = load.done(sizes.seconds + LIMIT_S)
        if not done["delivered"]:
            raise BenchError("no message was delivered")
        more = {
            "per_s": done["delivered"] / done["seconds"],
            "p50_ms": done["p50_ms"],
            "p99_ms": done["p99_ms"],
        }
        return Found(spent[0] / done["delivered"] * 1e6, more)

    return measure


def login(
    mechanism: str, *, tls: str = "none", warm: bool = False, full: bool = False, clear: bool = False
) -> Measure:
    """A log-in; `warm`: all have been there before; `clear`: where the server can, with stored passwords."""

    def measure(bench: Bench) -> Found:
        setup = CLEAR if clear and bench.server.can(CLEAR) else SINGLE
        bench.start(setup, fresh=not warm)
        if warm:
            _log_in(bench, mechanism, tls, full, bench.sizes.logins)
        return _log_in(bench, mechanism, tls, full, bench.sizes.logins)

    return measure


def _log_in(bench: Bench, mechanism: str, tls: str, full: bool, users: int) -> Found:
    everybody = set(range(users))
    expected = sum(len(contacts(user, bench.sizes.users) & everybody) for user in everybody)
    with bench.load(
        "login", users=users, mechanism=mechanism, tls=tls, full=int(full), expected=expected,
        exact=int(bench.server.tells_once), contacts=CONTACTS, limit=LIMIT_S,
    ) as load:  # fmt: skip
        load.ready(LIMIT_S)
        with bench.cpu() as spent:
            load.go()
            done = load.done(2 * LIMIT_S)
    return Found(spent[0] / done["logins"] * 1e3, {"per_s": done["logins"] / done["seconds"]})


def tls_on_top(bench: Bench) -> Found:
    """What STARTTLS adds to a log-in."""
    plain = login("PLAIN", warm=True, clear=True)(bench)
    secured = login("PLAIN", warm=True, clear=True, tls="starttls")(bench)
    return Found(secured.value - plain.value, {"with": secured.value, "without": plain.value})


def classic(bench: Bench) -> Found:
    """One client of the classic scenario, from log-in to leaving."""
    bench.start(CLEAR if bench.server.can(CLEAR) else SINGLE, fresh=True)
    sizes = bench.sizes
    away = sizes.users // 4
    _log_in(bench, "PLAIN", "none", False, sizes.users - away)  # passwords have been seen before
    with bench.load(
        "classic", users=sizes.users, away=away, rate=sizes.arrivals_per_s, time=sizes.seconds,
        contacts=CONTACTS, mechanism="PLAIN",
    ) as load:  # fmt: skip
        load.ready(LIMIT_S)
        with bench.cpu() as spent:
            load.go()
            done = load.done(sizes.seconds + LIMIT_S)
    more = {"p50_ms": done["p50_ms"], "p99_ms": done["p99_ms"], "per_s": done["logins"] / sizes.seconds}
    return Found(spent[0] / done["logins"] * 1e3, more)


def memory(*, tls: str = "none", setup: Setup = SINGLE) -> Measure:
    """PSS of an idle session with roster and presence; with several nodes, on those that don't own it."""

    def measure(bench: Bench) -> Found:
        running = bench.start(setup, fresh=True)
        before = processes.pss_kib(processes.tree(running.root))
        users = bench.sizes.sessions
        with bench.load(
            "hold", nodes=1, users=users, full=1, tls=tls, contacts=CONTACTS, limit=LIMIT_S
        ) as load:  # fmt: skip
            load.ready(2 * LIMIT_S)
            time.sleep(bench.sizes.settle_s)
            after = processes.pss_kib(processes.tree(running.root))
            with bench.cpu() as spent:
                time.sleep(bench.sizes.seconds)
        grown = {pid: size - before.get(pid, 0) for pid, size in after.items()}
        others = running.node_pids[1:]
        if others:
            return Found(sum(grown[pid] for pid in others) / len(others) / users)
        return Found(sum(grown.values()) / users, {"idle_percent": spent[0] / bench.sizes.seconds * 100})

    return measure


def idle(bench: Bench) -> Found:
    """CPU of holding idle sessions, in percent of a core."""
    return Found(memory()(bench).more["idle_percent"], {"sessions": bench.sizes.sessions})


class Row(msgspec.Struct, frozen=True):
    """A row of the budget table."""

    name: str
    unit: str
    measure: Measure
    goals: tuple[float, float] | None = None  # the first goal, then the next
    reference: dict[str, float] = {}  # what design.md §9 says of the peers
    cluster: bool = False  # needs several nodes
    openssl: bool = False  # needs a generator built with OpenSSL


def _peers(ejabberd: float, prosody: float) -> dict[str, float]:
    return {"ejabberd": ejabberd, "prosody": prosody}


ROWS = [
    Row("message, one node, one at a time", "µs", message(1), (30, 22), _peers(62, 109)),
    Row("message, one node, bursts of 10", "µs", message(10), (14, 9), _peers(50, 70)),
    Row("message, one node, TLS", "µs", message(1, tls="starttls"), (43, 34), _peers(86, 486), openssl=True),
    Row("message, two nodes, one at a time", "µs", message(1, setup=CLUSTER), (45, 35),
        {"ejabberd": 91}, cluster=True),
    Row("message, two nodes, bursts of 10", "µs", message(10, setup=CLUSTER), (27, 18),
        {"ejabberd": 55}, cluster=True),
    Row("message, calm 1,000/s", "µs", message(1, rate=1000), (68, 50), _peers(178, 137)),
    Row("log-in, bind only, SCRAM-SHA-1", "ms", login("SCRAM-SHA-1"), (0.35, 0.25), openssl=True),
    Row("log-in, bind only, PLAIN cold", "ms", login("PLAIN"), (1.4, 1.3), _peers(9.6, 3.1)),
    Row("log-in, bind only, PLAIN warm", "ms", login("PLAIN", warm=True, clear=True), (0.31, 0.2),
        _peers(0.39, 0.83)),
    Row("log-in, roster, presence to and from all", "ms", login("PLAIN", full=True, clear=True), (1.1, 0.75),
        _peers(4.2, 2.3)),
    Row("TLS on top of a log-in", "ms", tls_on_top, (0.6, 0.45), _peers(1.0, 1.1), openssl=True),
    Row("classic client", "ms", classic, (0.85, 0.55), _peers(2.9, 1.7)),
    Row("memory per idle session", "KiB", memory(), (10, 6), _peers(156, 41)),
    Row("memory per idle session, TLS", "KiB", memory(tls="starttls"), (25, 20), _peers(197, 54),
        openssl=True),
    Row("replicated session, every other node", "KiB", memory(setup=CLUSTER), (0.6, 0.6), cluster=True),
    Row("idle sessions, of a core", "%", idle, (1.0, 1.0), _peers(0.15, 0.15)),
]  # fmt: skip
