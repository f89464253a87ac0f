"""What all scenarios share (I/O): options, log-ins that are counted, steps that locust hears of."""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import gevent
import msgspec
from locust import User
from locust.env import Environment

from xcluster.loadtest.client import Client
from xcluster.loadtest.ledger import Ledger
from xcluster.loadtest.nodes import Nodes
from xcluster.loadtest.report import Report
from xcluster.shared.errors import XclusterError

STEP_ERRORS = (OSError, XclusterError)


class StepFailed(XclusterError):
    """A named step of a session that did not succeed."""

    def __init__(self, step: str, cause: Exception) -> None:
        super().__init__(f"{step}: {cause}")
        self.step = step
        self.cause = cause


class Options(msgspec.Struct, kw_only=True):
    """What a run is told; not every scenario uses everything."""

    nodes: Nodes
    users: int
    password: str
    prefix: str = "user"
    mechanism: str | None = None  # SASL; None takes the best that is offered
    rate: float = 100.0  # arrivals, log-ins or messages per second
    time_s: float = 60.0
    stay_s: float = 1.0  # classic: from log-in to leaving
    limit_s: float = 10.0  # how long something may take to arrive
    clients: int | None = None  # presence: how many of the users log in; None is all
    pairs: int = 100  # chat
    placement: str = "mixed"  # chat: same, different or mixed (two of three pairs on different nodes)
    part: int = 0  # this process's share
    parts: int = 1


class Pace:
    """Every `period_s`, whatever a step took; the `number`-th of `count` users begins its share later.

    locust starts users in bursts; with paces the load comes evenly."""

    def __init__(self, period_s: float, number: int, count: int) -> None:
        self._period_s = period_s
        self._due = time.monotonic() + period_s * (number % count) / count

    def wait_s(self) -> float:
        """Until the next step."""
        wait_s = self._due - time.monotonic()
        self._due += self._period_s
        return max(0.0, wait_s)


def stagger_s(number: int, per_s: float) -> float:
    """How long the `number`-th user waits: locust starts a second's worth of them at once."""
    return number % max(1, round(per_s)) / per_s


class Scenario:
    """A load: gives locust its users, and keeps what they find.

    `run` starts `count` locust users, `spawn_rate` per second, calls `wait` while they work and `finish`
    when no more are to come; then `report` is complete.
    """

    name = ""
    count = 1
    spawn_rate = 1.0

    def __init__(self, options: Options, environment: Environment) -> None:
        self.options = options
        self.environment = environment
        self.report = Report(self.name, options.nodes.domain)
        self.stopping = False
        self.sessions_open = 0
        self.ledger = Ledger(secrets.token_hex(4))
        self.report.tally = self.ledger.tally
        self._started = time.monotonic()

    @staticmethod
    def user_class(options: Options, current: Callable[[], "Scenario"]) -> type[User]:
        """What locust spawns; `current` tells the scenario it works for (locust's page starts several)."""
        raise NotImplementedError

    def begin(self) -> None:
        self._started = time.monotonic()

    def wait(self) -> None:
        """Return when no more clients shall come."""
        while time.monotonic() < self._started + self.options.time_s and not self.stopping:
            gevent.sleep(0.05)

    def end(self) -> None:
        """No more clients come from here on."""
        self.stopping = True
        self.report.seconds = time.monotonic() - self._started

    def finish(self) -> None:
        raise NotImplementedError

    def line(self) -> str:
        """How far it is, on one line."""
        raise NotImplementedError

    # for scenarios

    def bare(self, user: int) -> str:
        return f"{self.options.prefix}{user}@{self.options.nodes.domain}"

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time what is inside and tell locust; an error becomes StepFailed."""
        began = time.perf_counter()
        try:
            yield
        except STEP_ERRORS as error:
            self.told(name, time.perf_counter() - began, error)
            raise StepFailed(name, error) from error
        self.told(name, time.perf_counter() - began)

    def told(self, name: str, seconds: float, error: Exception | None = None) -> None:
        self.environment.events.request.fire(  # type: ignore[no-untyped-call]
            request_type="XMPP", name=name, response_time=seconds * 1000, response_length=0,
            exception=error, context={},
        )  # fmt: skip

    def login(self, user: int, node: int, resource: str, *, later: bool = False) -> Client:
        """A counted log-in, but for those `later` than the run; raises StepFailed."""
        options = self.options
        place = options.nodes.places[node]
        client = Client(options.nodes.domain, max(options.limit_s, 10.0))
        began = time.perf_counter()
        with self.step("log in to fetch" if later else "log in"):
            client.login(
                place, f"{options.prefix}{user}", options.password, resource,
                tls=options.nodes.tls, mechanism=options.mechanism,
            )  # fmt: skip
        self.sessions_open += 1
        if not later:
            self.report.login.add(time.perf_counter() - began)
            self.report.sessions[place.name] = self.report.sessions.get(place.name, 0) + 1
        return client

    def leave(self, client: Client) -> None:
        """Close in order; a stream that broke before, or does not end, is a failure."""
        in_order = client.close()
        self.sessions_open -= 1
        if client.broken is not None:
            self.report.failed("session", client.broken)
        elif not in_order:
            self.report.failed("leave", TimeoutError())

    def failed(self, error: Exception) -> None:
        """Count what stopped a session."""
        if isinstance(error, StepFailed):
            self.report.failed(error.step, error.cause)
        else:
            self.report.failed("session", error)

    def session_broke(self, client: Client, error: Exception) -> None:
        """For a session that can't go on."""
        self.failed(error)
        client.abort()
        self.sessions_open -= 1
