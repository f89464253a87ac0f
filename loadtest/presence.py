"""The presence scenario (I/O): a storm of log-ins; then half of all leave. What each session is told of its
contacts is compared with the ring that `xcluster provision` makes: everybody told of everybody, once.

Each locust user is one client. One process only: a ring can't be judged by halves.
"""

import itertools
import time
from collections.abc import Callable

import gevent
from gevent.pool import Pool
from locust import User, constant, task
from locust.env import Environment
from locust.exception import StopUser

from xcluster.loadtest import stream
from xcluster.loadtest.client import Client
from xcluster.loadtest.sightings import Sightings, contacts
from xcluster.loadtest.stream import Element
from xcluster.loadtest.user import STEP_ERRORS, Options, Scenario, stagger_s

GRACE_S = 1.0  # after all have been told: what comes now is told again
LEAVERS = 50

Expected = dict[int, set[int]]


class Presence(Scenario):
    """All clients, and what they saw."""

    name = "presence"

    def __init__(self, options: Options, environment: Environment) -> None:
        super().__init__(options, environment)
        self.count = min(options.clients or options.users, options.users)
        self.spawn_rate = options.rate
        self._next_user = 0
        self._there: dict[int, Client] = {}
        self._tried = 0
        self._available = Sightings()
        self._unavailable = Sightings()

    @staticmethod
    def user_class(options: Options, current: Callable[[], Scenario]) -> type[User]:
        numbers = itertools.count()

        class Contact(User):
            wait_time = constant(1.0)

            def on_start(self) -> None:
                scenario = current()
                assert isinstance(scenario, Presence)
                gevent.sleep(stagger_s(next(numbers), options.rate))
                try:
                    scenario.enter()
                except STEP_ERRORS as error:
                    scenario.failed(error)
                    raise StopUser from error

            @task
            def stay(self) -> None:
                """The client's own greenlet does what there is to do."""

        return Contact

    def enter(self) -> None:
        user = self._next_user
        self._next_user += 1
        try:
            client = self.login(user, user % len(self.options.nodes.places), "storm")
            client.start(lambda element: self._take(user, client, element))
            with self.step("roster"):
                client.roster()
            client.presence()
            self._there[user] = client
        finally:
            self._tried += 1

    def _take(self, user: int, client: Client, element: Element) -> None:
        sender, slash, _ = str(element.get("from")).partition("/")
        # Without a resource it is the answer to a probe: nobody came or left.
        if element.tag != stream.PRESENCE or not slash or sender == client.bare:
            return
        contact = int(sender.partition("@")[0].removeprefix(self.options.prefix))
        if element.get("type") is None:
            self._available.saw(user, contact)
        elif element.get("type") == "unavailable":
            self._unavailable.saw(user, contact)

    def wait(self) -> None:
        until = self._started + self.options.time_s
        while self._tried < self.count and time.monotonic() < until and not self.stopping:
            gevent.sleep(0.05)

    def finish(self) -> None:
        """Judge who was seen coming; let every other client leave, judge who was seen leaving."""
        everybody = set(self._there)
        self._judge("available", self._available, self._expected(everybody, everybody))
        leaving = {user for user in everybody if user % 2}
        staying = everybody - leaving
        self._leave(leaving)
        self._judge("unavailable", self._unavailable, self._expected(staying, leaving))
        self._leave(staying)

    def _expected(self, who: set[int], whom: set[int]) -> Expected:
        return {user: contacts(user, self.options.users) & whom for user in who}

    def _judge(self, what: str, sightings: Sightings, expected: Expected) -> None:
        began = time.monotonic()
        while not (done := sightings.complete(expected)) and time.monotonic() < began + self.options.limit_s:
            gevent.sleep(0.1)
        self.told(f"all told: {what}", time.monotonic() - began, None if done else TimeoutError())
        gevent.sleep(GRACE_S)
        self.report.seen[what] = sightings.judge(expected, what)

    def _leave(self, users: set[int]) -> None:
        leavers = Pool(LEAVERS)
        for user in sorted(users):
            leavers.spawn(self.leave, self._there.pop(user))
        leavers.join()

    def line(self) -> str:
        there = set(self._there)
        missing = self._available.missing(self._expected(there, there))
        failures = sum(self.report.failures.values())
        return f"{self.sessions_open:,} sessions, {failures:,} failures, {missing:,} not told yet"
