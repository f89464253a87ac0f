"""One run of `hold`: a cluster, its load, and what is seen of both, phase by phase (I/O)."""

import contextlib
import time
from pathlib import Path

from rich.console import Console

from xcluster.loadtest.bench.capacity import refusals
from xcluster.loadtest.bench.course import Course, Stalled
from xcluster.loadtest.bench.crew import Crew
from xcluster.loadtest.bench.generator import BenchError, Generator
from xcluster.loadtest.bench.meter import Meter
from xcluster.loadtest.bench.outcome import Outcome, Plan
from xcluster.loadtest.bench.servers import CONTACTS, DOMAIN, PASSWORD, Running, Server, Setup

BEGIN_S = 30.0  # for the generators to start
STALL_S = 30.0  # without a single log-in
QUIET_S = 15.0  # without a single presence, when some are missing
REST_S = 2.0  # in which whatever is told twice would come
DRAIN_S = 20.0  # for the last messages
IDLE_S = 10.0  # all there, and nothing said


class Holding:
    """The phases in their order; whatever goes wrong ends them, and the outcome says so."""

    def __init__(
        self, plan: Plan, server: Server, generator: Generator, console: Console,
        domain: str = DOMAIN,
    ) -> None:  # fmt: skip
        self._plan = plan
        self._server = server
        self._generator = generator
        self._console = console
        self._domain = domain
        self.outcome = Outcome(plan, CONTACTS)

    def run(self, folder: Path, to_the_limit: bool = False) -> Outcome:
        """All of it; raises BenchError when the cluster did not even start."""
        plan = self._plan
        try:
            running = self._server.start(Setup(nodes=plan.nodes), folder, plan.sessions)
            few = max(2, round(plan.active * plan.sessions / 2)) * 2
            with Crew(
                self._generator, plan.sessions, active=min(few, plan.sessions // 2),
                sample=min(plan.sessions, max(20, plan.sessions // 100)), rate=plan.messages_per_s,
                pace=plan.logins_per_s, parallel=plan.parallel, nodes=",".join(running.addresses),
                domain=self._domain, password=PASSWORD, full=1, contacts=CONTACTS, mechanism=plan.mechanism,
                tls="starttls" if plan.tls else "none", time=plan.minutes * 60, limit=self._login_limit_s,
                drain=DRAIN_S / 2,
            ) as crew:  # fmt: skip
                try:
                    self._phases(running, crew, to_the_limit)
                except BenchError as error:
                    self.outcome.error = str(error)
                self.outcome.counts = crew.counts()
                self.outcome.first_failure = crew.first_failure
        finally:
            self._server.stop()
        return self.outcome

    @property
    def _login_limit_s(self) -> float:
        """For all log-ins: far below what is asked for, so that a slow run still tells how slow."""
        slow = min(20.0, self._plan.logins_per_s / 2 or 20.0)
        return 60.0 + self._plan.sessions / slow

    def _phases(self, running: Running, crew: Crew, to_the_limit: bool) -> None:
        outcome, plan = self.outcome, self._plan
        meter = Meter(running, crew)
        course = Course(outcome, crew, meter, self._console)
        course.until("start", lambda: crew.is_there, BEGIN_S)
        time.sleep(REST_S)  # what starting and provisioning left to do
        outcome.empty, before = meter.memory(), meter.cpu()

        began = time.monotonic()
        crew.go("ready")
        try:
            course.until("log-in", lambda: crew.is_there, self._login_limit_s + BEGIN_S, "logins", STALL_S)
        finally:
            outcome.arrived(crew.arrivals, began)
        expected = crew.count("logins") * CONTACTS  # fewer if some have failed: they are missed at once
        with contextlib.suppress(Stalled):  # presence that is missing is told by the conditions
            course.until("presence", lambda: crew.count("presences") >= expected, self._login_limit_s,
                         "presences", QUIET_S)  # fmt: skip
        outcome.login_cpu = meter.cpu().since(before, 1 / max(1, crew.count("logins")))
        course.rest(REST_S)
        if crew.count("logins") - crew.count("dropped") < plan.sessions / 2:
            raise BenchError("most sessions are not there: the rest was left out")

        before, began = meter.cpu(), time.monotonic()
        course.rest(IDLE_S)
        outcome.idle_cpu = meter.cpu().since(before, 1 / max(1e-3, time.monotonic() - began))
        outcome.full = meter.memory()
        if to_the_limit:
            outcome.beyond, outcome.refused = refusals(running.addresses)

        before, began = meter.cpu(), time.monotonic()
        crew.go("done")
        try:
            course.until("messages", lambda: crew.is_there, plan.minutes * 60 + DRAIN_S + BEGIN_S)
        finally:
            outcome.hold_cpu = meter.cpu().since(before, 1 / max(1e-3, time.monotonic() - began))
            outcome.after = meter.memory()
            latencies = crew.latencies
            if latencies.count:
                median, most = latencies.percentile(0.5), latencies.percentile(0.99)
                outcome.p50_ms, outcome.p99_ms = 1e3 * (median or 0.0), 1e3 * (most or 0.0)
                outcome.longest_ms = 1e3 * latencies.longest_s
