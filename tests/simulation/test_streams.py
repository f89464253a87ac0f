"""One client with stream management and connections that break: nothing is lost, doubled or out of order.

The server's side is ours (node/backlog.py, node/ledger.py), the client's a double that keeps to XEP-0198. What is
under way when a connection breaks is lost, in both directions; the client comes back and resumes.
"""

import random
from collections import deque

import pytest

from xcluster.node.backlog import Backlog, Unacknowledged
from xcluster.node.ledger import Ledger
from xcluster.node.parcel import Parcel
from xcluster.node.stream.management import COUNTS
from xcluster.shared.jid import parse

SEEDS = 300
STEPS = 600
NEAR_THE_END = COUNTS - 40  # so that the counts begin again while we look


class Client:
    """What a client knows: its own two counts, and what it has to send again."""

    def __init__(self, start: int) -> None:
        self.handled = start
        self.acked = start
        self.unacknowledged: deque[int] = deque()
        self.saw: list[int] = []
        self.written = 0

    def acknowledged(self, h: int) -> None:
        for _ in range((h - self.acked) % COUNTS):
            self.unacknowledged.popleft()
        self.acked = h


class Story:
    """Steps that a seed chooses. `down` and `up` are what is under way on the present connection."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        start = self.chance.choice([0, NEAR_THE_END])
        self.client = Client(start)
        self.backlog = Backlog(10_000, 1_000_000, start)
        self.ledger: Ledger[Parcel] = Ledger()
        self.ledger.received = self.ledger.told = start
        self.now = 0.0
        self.down: deque[tuple[str, int]] = deque()
        self.up: deque[tuple[str, int]] = deque()
        self.open: list[int] = []  # numbers in the ledger that are not settled
        self.taken: list[int] = []  # the client's stanzas, as the server took them
        self.entered: dict[int, int] = {}  # the client's stanza by its number here
        self.settled: set[int] = set()
        self.pushed = 0
        self.resumptions = 0

    def play(self) -> None:
        steps = (self.push, self.push, self.say, self.say, self.settle, self.carry_down, self.carry_down,
                 self.carry_up, self.carry_up, self.carry_up)  # fmt: skip
        for _ in range(STEPS):
            self.now += self.chance.choice([0.0, 0.01, 3.0])
            if self.chance.random() < 0.02:
                self.break_off()
            else:
                self.chance.choice(steps)()
        self.finish()

    # the server

    def push(self) -> None:
        """Somebody has something for the client."""
        self.pushed += 1
        raw = str(self.pushed).encode()
        identity = raw if self.chance.random() < 0.7 else b""
        self.down.append(("stanza", self.pushed))
        if self.backlog.add(Unacknowledged(raw, identity, self.now)):
            self.down.append(("r", 0))

    def settle(self) -> None:
        """One of the client's stanzas has been taken care of, in whatever order."""
        if self.open:
            number = self.open.pop(self.chance.randrange(len(self.open)))
            self.settled.add(self.entered[number])
            if self.ledger.settle(number):
                self.down.append(("a", self.ledger.tell()))

    def carry_up(self) -> None:
        if not self.up:
            return
        kind, value = self.up.popleft()
        if kind == "stanza":
            number = self.ledger.enter()
            self.entered[number] = value
            self.taken.append(value)
            if self.chance.random() < 0.8:
                self.open.append(number)
                self.ledger.open(number, _parcel(self.now))
            else:
                self.settled.add(value)
        elif kind == "a":
            self.backlog.acknowledged(value)
            if self.backlog.ask(self.now):
                self.down.append(("r", 0))
        else:
            self.down.append(("a", self.ledger.tell()))

    # the client

    def say(self) -> None:
        self.client.written += 1
        self.client.unacknowledged.append(self.client.written)
        self.up.append(("stanza", self.client.written))
        if self.chance.random() < 0.3:
            self.up.append(("r", 0))

    def carry_down(self) -> None:
        if not self.down:
            return
        kind, value = self.down.popleft()
        if kind == "stanza":
            self.client.handled = (self.client.handled + 1) % COUNTS
            self.client.saw.append(value)
        elif kind == "r":
            self.up.append(("a", self.client.handled))
        else:
            self.client.acknowledged(value)
            covered = set(range(1, self.client.written + 1)) - set(self.client.unacknowledged)
            assert covered <= self.settled, "acknowledged early"

    def break_off(self) -> None:
        """The connection is lost, and with it what was under way; the client resumes (§5)."""
        self.resumptions += 1
        self.down.clear()
        self.up.clear()
        for number in self.open:  # h has to equal what was received before it is told (design.md §8)
            self.settled.add(self.entered[number])
            self.ledger.settle(number)
        self.open.clear()
        self.backlog.resumed(self.client.handled)
        self.down.extend(("stanza", int(stanza.raw)) for stanza in self.backlog)
        if self.backlog.ask(self.now):
            self.down.append(("r", 0))
        self.client.acknowledged(self.ledger.tell())
        self.up.extend(("stanza", again) for again in self.client.unacknowledged)

    def finish(self) -> None:
        while self.down or self.up or self.open:
            self.carry_down()
            self.carry_up()
            self.settle()
            self.now += 1.0
            if not self.up and self.backlog.ask(self.now):
                self.down.append(("r", 0))
        assert self.client.saw == list(range(1, self.pushed + 1))
        assert self.taken == list(range(1, self.client.written + 1))
        assert self.ledger.h == self.ledger.received


def _parcel(now: float) -> Parcel:
    return Parcel(1, "a@d/r", parse("b@d"), "message", "chat", b"", b"", since=now)


def play_all(seeds: range) -> int:
    """How often they resumed."""
    resumptions = 0
    for seed in seeds:
        story = Story(seed)
        story.play()
        resumptions += story.resumptions
    return resumptions


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_stream_that_breaks_loses_nothing(first: int) -> None:
    assert play_all(range(first, first + 50)) > 100


@pytest.mark.parametrize("rule", ["early", "no_replay"])
def test_rule_taken_out_is_caught(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if rule == "early":  # h covers what has come, settled or not
        monkeypatch.setattr(Ledger, "h", property(lambda ledger: ledger.received))
    else:  # what was under way is not sent again
        monkeypatch.setattr(Backlog, "__iter__", lambda backlog: iter(()))
    with pytest.raises((AssertionError, IndexError)):
        play_all(range(50))
