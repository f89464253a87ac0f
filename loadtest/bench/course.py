"""Watching a run of `hold`: a line now and then, and whether it goes on at all (I/O)."""

import time
from collections.abc import Callable

from rich.console import Console

from xcluster.loadtest.bench.crew import Crew
from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.hold_output import line
from xcluster.loadtest.bench.meter import Meter
from xcluster.loadtest.bench.outcome import Cpu, Moment, Outcome
from xcluster.loadtest.histogram import Histogram

BEAT_S = 10.0  # between lines
GRACE_S = 30.0  # for a rest to end


class Stalled(BenchError):
    """Something that should grow does not."""


class Course:
    """Watches a run: a line every BEAT_S; sees when it stands still or a process is gone."""

    def __init__(self, outcome: Outcome, crew: Crew, meter: Meter, console: Console) -> None:
        self._outcome = outcome
        self._crew = crew
        self._meter = meter
        self._console = console
        self._began = self._beat_at = time.monotonic()
        self._before: tuple[Cpu, int, int] = (meter.cpu(), 0, 0)

    def until(
        self, phase: str, reached: Callable[[], bool], limit_s: float, growing: str = "",
        stall_s: float = 0.0,
    ) -> None:  # fmt: skip
        """Watch until it is `reached`; raises Stalled when the count `growing` stands still, or BenchError."""
        limit = time.monotonic() + limit_s
        highest, grew_at = -1, time.monotonic()
        while not reached():
            self._crew.listen(min(0.5, BEAT_S))
            self._meter.check()
            now = time.monotonic()
            if now > limit:
                raise BenchError(f"phase {phase!r} did not end within {limit_s:.0f} s")
            if growing and (count := self._crew.count(growing)) > highest:
                highest, grew_at = count, now
            elif growing and now - grew_at > stall_s:
                raise Stalled(
                    f"phase {phase!r} stands still: {highest:,} {growing}, no more for {stall_s:.0f} s"
                )
            if now - self._beat_at >= BEAT_S:
                self._tell(phase, now)

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until("idle", lambda: time.monotonic() >= end, seconds + GRACE_S)

    def _tell(self, phase: str, now: float) -> None:
        crew, seconds = self._crew, now - self._beat_at
        cpu, logins, delivered = self._meter.cpu(), crew.count("logins"), crew.count("delivered")
        spent, logins_before, delivered_before = self._before
        recent, crew.recent = crew.recent, Histogram()
        p99 = recent.percentile(0.99)
        moment = Moment(
            now - self._began, phase, crew.count("open"), (logins - logins_before) / seconds,
            delivered - delivered_before, None if p99 is None else 1e3 * p99, self._meter.memory(),
            cpu.since(spent, 1 / seconds),
        )  # fmt: skip
        self._before, self._beat_at = (cpu, logins, delivered), now
        self._outcome.course.append(moment)
        self._console.print(line(moment), markup=False)
