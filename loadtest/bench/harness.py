"""What every measurement works with: one server that runs, the generator, clocks and scales (I/O)."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from xcluster.loadtest.bench import processes
from xcluster.loadtest.bench.generator import BenchError, Generator, Load
from xcluster.loadtest.bench.servers import DOMAIN, PASSWORD, Running, Server, Setup

LIMIT_S = 120.0
CROWD_LIMIT_S = 900.0  # until many thousands have logged in


class Sizes(msgspec.Struct, frozen=True):
    """How much is measured."""

    users: int = 6000
    sessions: int = 4000  # held for memory
    logins: int = 1500
    pairs: int = 100
    crowd_pairs: int = 500
    seconds: float = 6.0
    arrivals_per_s: int = 400
    settle_s: float = 1.5  # before idle figures are read
    quiet_s: float = 15.0  # in which idle sessions' CPU is read, and what memory gets to shrink
    aged_logins: int = 6000
    few_idle: int = 1000
    many_idle: int = 19000
    old_logins: int = 100_000


QUICK = Sizes(
    users=1600, sessions=1000, logins=300, crowd_pairs=250, seconds=3.0, settle_s=1.0, quiet_s=4.0,
    aged_logins=1200, few_idle=200, many_idle=2000, old_logins=5000,
)  # fmt: skip


class Found(msgspec.Struct):
    """A measured value, and what else was seen."""

    value: float
    more: dict[str, float] = msgspec.field(default_factory=dict)


class Bench:
    """One server under measurement; started anew whenever a row wants it."""

    def __init__(self, server: Server, generator: Generator, sizes: Sizes, folder: Path) -> None:
        self.server = server
        self.generator = generator
        self.sizes = sizes
        self._folder = folder / server.name.replace(" ", "-")
        self._as: tuple[Setup, int] | None = None
        self._running: Running | None = None
        self._found: dict[Measure, Found | BenchError] = {}

    @property
    def running(self) -> Running:
        assert self._running is not None
        return self._running

    def start(self, setup: Setup, *, fresh: bool = False, users: int = 0) -> Running:
        """The server in this setup, with so many users; `fresh`: it has served nobody before."""
        users = users or self.sizes.users
        if self._running is None or self._as != (setup, users) or fresh:
            self.stop()
            self._running = self.server.start(setup, self._folder, users)
            self._as = setup, users
            time.sleep(self.sizes.settle_s)
        return self._running

    def stop(self) -> None:
        self.server.stop()
        self._running = None

    def once(self, measure: "Measure") -> Found:
        """For rows that are two views of one measurement."""
        if measure not in self._found:
            try:
                self._found[measure] = measure(self)
            except BenchError as error:
                self._found[measure] = error
        found = self._found[measure]
        if isinstance(found, BenchError):
            raise found
        return found

    def forget(self) -> None:
        """Before another run."""
        self._found.clear()

    def load(self, mode: str, *, nodes: int | None = None, **options: object) -> Load:
        options = {"limit": LIMIT_S} | options
        addresses = ",".join(self.running.addresses[:nodes])
        return self.generator.run(mode, nodes=addresses, domain=DOMAIN, password=PASSWORD, **options)

    @contextmanager
    def cpu(self) -> Iterator[list[float]]:
        """Appends the CPU seconds, in all of the server's processes, of what is inside."""
        roots = self.running.roots
        spent: list[float] = []
        before = processes.cpu_s(*roots)
        yield spent
        spent.append(processes.cpu_s(*roots) - before)

    def pss_kib(self) -> dict[int, int]:
        """Of each of the server's processes."""
        return processes.pss_kib(processes.tree(*self.running.roots))


Measure = Callable[[Bench], Found]


def view(key: str, measure: Measure) -> Measure:
    """Another figure of the same measurement."""

    def measure_view(bench: Bench) -> Found:
        found = bench.once(measure)
        return Found(found.more[key], {other: value for other, value in found.more.items() if other != key})

    return measure_view


def shared(measure: Measure) -> Measure:
    """The measurement that views look at."""
    return lambda bench: bench.once(measure)
