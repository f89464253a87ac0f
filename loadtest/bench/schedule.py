"""Who is measured when: run by run, in each server by server, and how long the rest may take (I/O)."""

import time
from collections.abc import Callable

from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.harness import Bench
from xcluster.loadtest.bench.results import OURS, Result
from xcluster.loadtest.bench.rows import Row
from xcluster.loadtest.bench.servers import Setup

START_S = 8.0  # of a server and its users' log-ins, where nothing better is known
SLOW_S = 150.0

Tell = Callable[[str], None]


class Schedule:
    """The servers take turns, so that whatever changes on the machine meanwhile meets all of them."""

    def __init__(self, results: list[Result], benches: list[Bench], runs: int) -> None:
        self._runs = runs
        self._benches = benches
        self._results = results
        self._took: dict[tuple[str, str], float] = {}
        once = [
            (bench.server.name, result.row.name, _guess_s(result.row, bench))
            for bench in benches
            for result in results
            if applies(result.row, bench)
        ]
        self._left = once * runs

    def measure(self, tell: Tell, after_turn: Callable[[], None]) -> None:
        """All of it; `after_turn` is called when a server's run is over."""
        for run in range(self._runs):
            for bench in self._benches:
                bench.forget()
                try:
                    for result in self._results:
                        if applies(result.row, bench):
                            self._step(f"run {run + 1} of {self._runs}", bench, result, tell)
                finally:
                    bench.stop()
                after_turn()

    def left_s(self) -> float:
        """What is still to come may take: as in the run before, else a guess."""
        return sum(self._took.get((server, row), guess_s) for server, row, guess_s in self._left)

    def _step(self, run: str, bench: Bench, result: Result, tell: Tell) -> None:
        server, row = bench.server.name, result.row
        tell(f"{run}, about {self.left_s() / 60:.0f} min left: {server}: {row.name}")
        began = time.monotonic()
        try:
            found = row.measure(bench)
        except BenchError as error:
            result.void.setdefault(server, []).append(str(error))
            bench.stop()
            tell(f"    void: {error}")
        else:
            result.found.setdefault(server, []).append(found)
            more = ", ".join(f"{key} {value:,.3g}" for key, value in found.more.items())
            tell(f"    {found.value:.3g} {row.unit}  {more}")
        self._took[server, row.name] = time.monotonic() - began
        self._left.pop(0)


def applies(row: Row, bench: Bench) -> bool:
    """Whether this server has such a row."""
    return (
        (not row.ours or bench.server.name == OURS)
        and bench.server.can(Setup(nodes=row.nodes))
        and (bench.generator.openssl or not row.openssl)
    )


def _guess_s(row: Row, bench: Bench) -> float:
    sizes = bench.sizes
    return START_S + 2 * sizes.settle_s + sizes.seconds + (SLOW_S if row.slow else 0.0)
