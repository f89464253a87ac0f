"""Several generators that hold one large load together, and what they report (I/O)."""

import contextlib
import os
import selectors
import subprocess
import time
from typing import Any

import msgspec

from xcluster.loadtest.bench import processes
from xcluster.loadtest.bench.generator import FAULTS, BenchError, Generator
from xcluster.loadtest.histogram import Histogram

SOCKETS = 16_000  # of one generator: a process here may hold 20,000 descriptors
SOURCES = 8  # addresses that each connects from: 28,000 ports of one are not enough
COUNTS = (*FAULTS, "logins", "open", "dropped", "written", "delivered", "presences", "departures", "sampled",
          "missing", "repeated", "strange")  # fmt: skip


class Worker:
    """One generator; `last` is its last report: totals since its start (generator.c, `report`)."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.is_there = False  # at the end of the phase
        self.last: dict[str, Any] = {}
        self._phase = "begin"
        self._rest = b""

    def go(self, until: str) -> None:
        assert self.process.stdin is not None
        self._phase, self.is_there = until, False
        with contextlib.suppress(BrokenPipeError):  # its end is noticed by `take`
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()

    def take(self) -> list[dict[str, Any]]:
        """The reports that have come; raises BenchError when it has ended."""
        assert self.process.stdout is not None
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        if not data:
            raise BenchError(f"a generator ended (exit code {self.process.wait()})")
        *lines, self._rest = (self._rest + data).split(b"\n")
        reports = [msgspec.json.decode(line) for line in lines]
        for self.last in reports:
            self.is_there = self.is_there or self.last["event"] == self._phase
        return reports

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for file in (self.process.stdin, self.process.stdout):
            assert file is not None
            with contextlib.suppress(BrokenPipeError):
                file.close()


class Crew:
    """All generators of a run; a context, so that they end with whoever started them."""

    def __init__(
        self,
        generator: Generator,
        sessions: int,
        *,
        active: int,
        sample: int,
        rate: float,
        pace: float,
        parallel: int,
        workers: int = 0,
        **options: object,
    ) -> None:
        """`sessions` to `parallel` are of all together, each gets its share; `options` go to each as they are."""
        self.arrivals: list[float] = []  # when each session was there
        self.latencies = Histogram()
        self.recent = Histogram()  # of messages since `recent` was emptied by whoever reads it
        self.first_failure = ""
        self._workers: list[Worker] = []
        self._selector = selectors.DefaultSelector()
        workers = workers or max(2, -(-sessions // SOCKETS))
        parts = [_shares(total, workers) for total in (sessions, active // 2, sample)]
        seed = int.from_bytes(os.urandom(3), "big")
        for number, (users, pairs, sampled) in enumerate(zip(*parts, strict=True)):
            own = options | {
                "users": users, "first": sum(parts[0][:number]), "ring": sessions,
                "active": 2 * pairs, "sample": sampled, "seed": seed + number,
                "rate": rate * pairs / max(1, active // 2), "pace": pace / workers,
                "parallel": max(1, parallel // workers),
                "source": f"127.0.{number + 1}.1", "sources": SOURCES, "report": 1,
            }  # fmt: skip
            command = [str(generator.binary), "hold", *(f"{key}={value}" for key, value in own.items())]
            try:
                worker = Worker(command)
            except OSError as error:
                self.end()
                raise BenchError(f"a generator did not start: {error}") from error
            self._workers.append(worker)
            assert worker.process.stdout is not None
            self._selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        for worker in self._workers:
            worker.end()
        self._selector.close()

    def go(self, until: str) -> None:
        """Begin the phase that ends with this event."""
        for worker in self._workers:
            worker.go(until)

    @property
    def is_there(self) -> bool:
        """Whether all have come to the end of the phase."""
        return all(worker.is_there for worker in self._workers)

    def listen(self, limit_s: float) -> None:
        """Take what is reported within so long, at most until the phase ends; raises BenchError."""
        until = time.monotonic() + limit_s
        was_there = self.is_there
        while (left := until - time.monotonic()) > 0 and (was_there or not self.is_there):
            for key, _ in self._selector.select(left):
                for report in key.data.take():
                    self._took(report)

    def _took(self, report: dict[str, Any]) -> None:
        self.arrivals += report["arrivals"]
        self.first_failure = self.first_failure or report["first_failure"]
        for latency_ms in report["latencies_ms"]:
            self.latencies.add(latency_ms / 1e3)
            self.recent.add(latency_ms / 1e3)

    def count(self, name: str) -> int:
        """One of COUNTS, over all generators."""
        return sum(int(worker.last.get(name, 0)) for worker in self._workers)

    def counts(self) -> dict[str, int]:
        return {name: self.count(name) for name in COUNTS}

    def cpu_s(self) -> float:
        return sum(processes.cpu_s(worker.process.pid) for worker in self._workers)


def _shares(total: int, parts: int) -> list[int]:
    """`total` in as many nearly equal parts."""
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]
