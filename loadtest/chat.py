"""The chat scenario (I/O): pairs on the same or on different nodes exchange numbered messages.

Each locust user is a pair. Every message must arrive once, in the order in which it was sent.
"""

import itertools
import time
from collections.abc import Callable
from functools import partial

import gevent
from gevent.pool import Pool
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from xcluster.loadtest.correspondent import Correspondent
from xcluster.loadtest.ledger import Letter
from xcluster.loadtest.user import STEP_ERRORS, Options, Pace, Scenario, stagger_s

LOGINS_PER_S = 100.0
LEAVERS = 50


def placed(number: int, nodes: int, placement: str) -> tuple[int, int]:
    """The nodes of a pair's two ends."""
    first = number // 3 % nodes if placement == "mixed" else number % nodes
    same = placement == "same" or (placement == "mixed" and number % 3 == 0)
    return first, first if same else (first + 1) % nodes


class Chat(Scenario):
    """One process's pairs."""

    name = "chat"

    def __init__(self, options: Options, environment: Environment) -> None:
        super().__init__(options, environment)
        self.count = max(1, options.pairs // options.parts)
        self.spawn_rate = LOGINS_PER_S / 2 / options.parts
        self._next_pair = options.part
        self._ends: list[Correspondent] = []
        self._node_of: dict[str, int] = {}

    @staticmethod
    def user_class(options: Options, current: Callable[[], Scenario]) -> type[User]:
        count = max(1, options.pairs // options.parts)
        numbers = itertools.count()

        class Pair(User):
            def on_start(self) -> None:
                scenario = current()
                assert isinstance(scenario, Chat)
                self.chat = scenario
                number = next(numbers)
                gevent.sleep(stagger_s(number, scenario.spawn_rate))
                try:
                    self.ends = scenario.open_pair()
                except STEP_ERRORS as error:
                    scenario.failed(error)
                    raise StopUser from error
                # One exchange is two messages, one each way.
                self.pace = Pace(2 * options.pairs / options.rate, number, count)
                gevent.sleep(self.pace.wait_s())

            def wait_time(self) -> float:
                return self.pace.wait_s()

            @task
            def exchange(self) -> None:
                try:
                    self.chat.exchange(*self.ends)
                except STEP_ERRORS as error:
                    self.chat.failed(error)
                    raise StopUser from error

        return Pair

    def open_pair(self) -> tuple[Correspondent, Correspondent]:
        number = self._next_pair
        self._next_pair += self.options.parts
        nodes = placed(number, len(self.options.nodes.places), self.options.placement)
        first, second = (self._enter(2 * number + end, node) for end, node in enumerate(nodes))
        return first, second

    def _enter(self, user: int, node: int) -> Correspondent:
        client = self.login(user, node, f"chat.{self.options.part}")
        self._node_of[client.jid] = node
        end = Correspondent(client, self.ledger, partial(self._read, node=node))
        self._ends.append(end)
        client.presence()
        client.roster()  # its answer comes after our presence was handled: we can be written to
        return end

    def exchange(self, first: Correspondent, second: Correspondent) -> None:
        if not self.stopping:
            first.write(second.client.bare)
            second.write(first.client.bare)

    def _read(self, letter: Letter, node: int) -> None:
        self.report.live += 1
        self.report.crossed += self._node_of[letter.sender] != node
        self.told("message", time.monotonic() - letter.sent_at)

    def finish(self) -> None:
        """Wait for what is on its way, leave, and count."""
        until = time.monotonic() + self.options.limit_s
        while self.ledger.waiting() and time.monotonic() < until:
            gevent.sleep(0.1)
        leavers = Pool(LEAVERS)
        for end in self._ends:
            leavers.spawn(self.leave, end.client)
        leavers.join()
        self.ledger.lost()

    def line(self) -> str:
        tally = self.ledger.tally
        return (
            f"{self.sessions_open:,} sessions, {tally.read:,} of {tally.written:,} messages read, "
            f"{tally.faults + sum(self.report.failures.values()):,} faults"
        )
