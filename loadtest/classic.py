"""The classic scenario (I/O): clients come one after the other, write to somebody online and somebody
offline, and leave; afterwards those who were away log in on another node, and what was kept is counted.

Arrivals are open: they do not wait for those before them. Each locust user is a door through which one
client a second comes, so on locust's page the number of users is the number of arrivals per second.
"""

import itertools
import time
from collections.abc import Callable
from functools import partial

import gevent
from gevent.event import Event
from gevent.pool import Group, Pool
from locust import User, task
from locust.env import Environment

from xcluster.loadtest.client import Client
from xcluster.loadtest.correspondent import Correspondent
from xcluster.loadtest.ledger import Letter
from xcluster.loadtest.population import Population, Visitor, other_node
from xcluster.loadtest.user import STEP_ERRORS, Options, Pace, Scenario

FETCHERS = 24  # log-ins at the same time when what was kept is fetched


def doors(options: Options) -> int:
    """About one arrival a second through each."""
    return max(1, round(options.rate / options.parts))


class Classic(Scenario):
    """One process's part of it."""

    name = "classic"

    def __init__(self, options: Options, environment: Environment) -> None:
        super().__init__(options, environment)
        self.count = doors(options)
        self.spawn_rate = float(self.count)
        self.report.kept = 0
        self._nodes = len(options.nodes.places)
        self._population = Population(options.users, self._nodes, part=options.part, parts=options.parts)
        self._visits = Group()
        self._node_of: dict[str, int] = {}  # full JID of a sender -> its node
        self._arrivals: dict[tuple[str, str, int], Event] = {}
        self._away: set[str] = set()  # bare JIDs that were written to while away
        self._arrived = 0

    @staticmethod
    def user_class(options: Options, current: Callable[[], Scenario]) -> type[User]:
        count = doors(options)
        numbers = itertools.count()

        class Door(User):
            def on_start(self) -> None:
                self.pace = Pace(count * options.parts / options.rate, next(numbers), count)
                gevent.sleep(self.pace.wait_s())

            def wait_time(self) -> float:
                return self.pace.wait_s()

            @task
            def arrive(self) -> None:
                scenario = current()
                assert isinstance(scenario, Classic)
                scenario.arrive()

        return Door

    def arrive(self) -> None:
        if self.stopping:
            return
        visitor = self._population.arrive()
        if visitor is None:
            self.report.turned_away += 1
            return
        self._arrived += 1
        self._visits.spawn(self.run_visit, visitor)

    def run_visit(self, visitor: Visitor) -> None:
        """One client, from log-in to leaving."""
        began = time.monotonic()
        try:
            client = self.login(visitor.user, visitor.node, f"visit{visitor.visit}.{self.options.part}")
        except STEP_ERRORS as error:
            self.failed(error)
            self._population.left(visitor)
            return
        try:
            self._stay(visitor, client, began)
            self._population.leaving(visitor)
            self.leave(client)
        except STEP_ERRORS as error:
            self.session_broke(client, error)
        finally:
            self._population.left(visitor)

    def _stay(self, visitor: Visitor, client: Client, began: float) -> None:
        available = Event()

        def on_presence(sender: str, type: str | None) -> None:
            if sender == client.jid and type is None:
                available.set()  # RFC 6121 §4.2.2: the server tells us of ourselves, too

        self._node_of[client.jid] = visitor.node
        on_letter = partial(self._read, node=visitor.node)
        me = Correspondent(client, self.ledger, on_letter, on_presence)
        with self.step("roster"):
            size = len(client.roster())
        self.report.contacts[size] = self.report.contacts.get(size, 0) + 1
        with self.step("presence"):
            client.presence()
            if not available.wait(self.options.limit_s):
                raise TimeoutError("our own presence did not come back")
        self._population.entered(visitor)
        if partner := self._population.partner(visitor):
            self._write_online(me, self.bare(partner.user))
        away = self.bare(self._population.away_from(visitor.node))
        self._away.add(away)
        me.write(away)
        assert self.report.kept is not None
        self.report.kept += 1
        remaining = began + self.options.stay_s - time.monotonic()
        if remaining > 0:
            client.closed.wait(remaining)

    def _write_online(self, me: Correspondent, recipient: str) -> None:
        began = time.monotonic()
        letter = me.write(recipient)
        if self.ledger.is_open(letter):  # else it was read while we wrote: the other end is in this process
            arrival = self._arrivals[letter.key] = Event()
            if not arrival.wait(self.options.limit_s):
                self._arrivals.pop(letter.key, None)  # kept for later, or lost: the ledger will tell
                self.told("message", time.monotonic() - began, TimeoutError())
                return
        self.told("message", time.monotonic() - began)

    def _read(self, letter: Letter, node: int) -> None:
        if arrival := self._arrivals.pop(letter.key, None):
            arrival.set()
        self.report.live += 1
        self.report.crossed += self._node_of[letter.sender] != node

    def finish(self) -> None:
        """Let the last visitors leave, fetch what was kept, and count."""
        self._visits.join(timeout=self.options.stay_s + 3 * self.options.limit_s)
        for _ in self._visits:
            self.report.failed("visit", TimeoutError())
        self._visits.kill()
        fetchers = Pool(FETCHERS)
        for recipient, senders in self.ledger.waiting().items():
            used = {self._node_of[sender] for sender in senders}
            fetchers.spawn(self.run_fetch, recipient, other_node(self._nodes, used))
        fetchers.join()
        self.ledger.lost()

    def run_fetch(self, recipient: str, node: int) -> None:
        """Log in as somebody who has mail, and wait until it is all there."""
        done = Event()

        def on_letter(letter: Letter) -> None:
            if recipient in self._away:
                self.report.fetched += 1
            if not self.ledger.waiting_for(recipient):
                done.set()

        user = int(recipient.partition("@")[0].removeprefix(self.options.prefix))
        try:
            client = self.login(user, node, f"fetch.{self.options.part}", later=True)
        except STEP_ERRORS as error:
            self.failed(error)
            return
        try:
            Correspondent(client, self.ledger, on_letter)
            with self.step("fetch offline messages"):
                client.presence()
                if not done.wait(self.options.limit_s):
                    raise TimeoutError(f"{self.ledger.waiting_for(recipient)} are missing")
            self.leave(client)
        except STEP_ERRORS as error:
            self.session_broke(client, error)

    def line(self) -> str:
        tally = self.ledger.tally
        return (
            f"{self._arrived:,} arrived, {self._population.there():,} online, {tally.read:,} messages read, "
            f"{self.report.fetched:,} of {self.report.kept:,} kept ones fetched, "
            f"{tally.faults + sum(self.report.failures.values()):,} faults"
        )
