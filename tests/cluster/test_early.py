"""Early tasks on real nodes (design.md §7): Bob answers before his node has heard of Alice.

Only the subscriptions of Bob's node are slow. Alice binds and at once writes to Bob; her message takes the
tasks' way and overtakes the delta that says who she is.
"""

import sqlite3
import time

import pytest
from gevent.pool import Pool

from tests.support.cluster import RunningCluster
from tests.support.lone_node import LoneNode
from tests.support.relay import Relay, bus_address
from tests.support.xmpp import Person, until

BINDS = 1000
ENOUGH = 990
AT_ONCE = 8  # clients that log in at the same time
BOB = f"user{BINDS}"
AWAY = f"user{BINDS + 1}"

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    bus = bus_address()
    cluster = RunningCluster(
        tmp_path_factory.mktemp("early") / "c",
        nodes=1,
        settings=(f'bus.endpoints=["{bus}"]', "sasl.iterations=4096"),
    )
    cluster.bus = bus
    try:
        cluster.provision(BINDS + 2, roster=0)
        yield cluster
    finally:
        cluster.stop()


class Scene:
    """Bob on a node of his own, behind a relay; Alices on n1."""

    def __init__(self, cluster, name, *settings):
        self.cluster = cluster
        self.relay = Relay(cluster.bus)
        self.alices = []
        self.node = None
        try:
            self.node = LoneNode(cluster, name, f'bus.endpoints=["{self.relay.address}"]', *settings)
            self.bob = Person(cluster.domain, self.node.port, BOB, "bob")
            until(lambda: self._sees(cluster.status(), name, 1))
            self.kept = self.stored()
        except BaseException:
            self.stop()
            raise

    def _sees(self, status, name, sessions):
        return any(row["name"] == name and row["sessions"] == sessions for row in status["members"])

    def play(self, delay_s, binds=BINDS):
        """Let Alices bind and write; Bob answers each with two messages."""
        self.relay.delay("subscribe", "to_node", delay_s)
        self.bob.answer = self._answer
        Pool(AT_ONCE).map(self._alice, range(binds))

    def _answer(self, sender, body):
        self.bob.say(sender, f"{body} first")
        return f"{body} second"

    def _alice(self, number):
        alice = Person(self.cluster.domain, self.cluster.port("n1"), f"user{number}", "alice")
        self.alices.append(alice)
        alice.say(self.bob.jid, alice.jid)

    def answers(self):
        return sum(len(alice.received) for alice in self.alices)

    def lanes(self):
        """What the lanes of Bob's node have counted."""
        counters = self.node.status()["counters"]
        return {name: counters[f"lanes_{name}"] for name in ("early", "woken", "expired", "kept")}

    def stored(self):
        """Messages that any node has given to the store."""
        reports = [self.cluster.status()] + ([self.node.status()] if self.node else [])
        return sum(report["traffic"]["offline"]["stored"] for report in reports)

    def until_quiet(self):
        """Everything has come to Bob's node, and nothing waits there."""

        def is_quiet():
            status = self.node.status()
            return status["early"]["parked"] == 0 and all(row["lag"] == 0 for row in status["members"])

        until(is_quiet, 30.0)

    def wrong(self):
        """Alices that did not get both answers once, in order; and why."""
        bob = self.bob.jid
        return [
            (alice.jid, alice.received, alice.errors)
            for alice in self.alices
            if alice.received != [(bob, f"{alice.jid} first"), (bob, f"{alice.jid} second")] or alice.errors
        ]

    def stop(self):
        for person in [*self.alices, *([self.bob] if hasattr(self, "bob") else [])]:
            person.abort()
        if self.node is not None:
            self.node.stop()
        self.relay.stop()


@pytest.fixture
def scene(cluster):
    scenes = []

    def open_scene(name, *settings):
        scenes.append(Scene(cluster, name, *settings))
        return scenes[-1]

    yield open_scene
    for one in scenes:
        one.stop()


def test_answers_wait_for_a_delta_that_is_300_ms_late(scene):
    it = scene("late")
    it.play(0.3)
    until(lambda: it.answers() >= 2 * BINDS, 30.0)
    it.until_quiet()
    lanes = it.lanes()
    print("300 ms:", lanes)
    assert it.wrong() == []
    assert lanes["early"] >= ENOUGH
    assert lanes["woken"] >= ENOUGH
    assert lanes["expired"] == lanes["kept"] == 0
    assert it.stored() == it.kept


def test_answers_fall_back_when_the_delta_is_10_s_late(scene):
    it = scene("very-late")
    it.play(10.0)
    until(lambda: it.stored() - it.kept >= 2 * BINDS, 30.0)
    assert it.answers() == 0
    lanes = it.lanes()
    print("10 s:", lanes)
    assert lanes["expired"] >= ENOUGH
    assert lanes["kept"] == 2 * BINDS
    for alice in it.alices:
        alice.presence()
    until(lambda: it.answers() >= 2 * BINDS, 30.0)
    it.until_quiet()
    assert it.wrong() == []


def test_without_parking_answers_go_to_the_store(scene):
    it = scene("hasty", "early.attempts=0")
    it.play(0.3, 200)
    until(lambda: it.answers() + it.stored() - it.kept >= 400, 30.0)
    lanes = it.lanes()
    print("no parking:", lanes, it.stored() - it.kept)
    assert lanes["early"] == lanes["woken"] == 0
    assert it.stored() - it.kept >= 360


def test_message_to_somebody_offline_is_committed_at_once(scene, cluster):
    it = scene("prompt")
    waits = []
    with sqlite3.connect(
        f"file:{cluster.folder}/xcluster.db?mode=ro", uri=True, isolation_level=None
    ) as rows:
        for count in range(1, 22):
            started = time.monotonic()
            it.bob.say(f"{AWAY}@{cluster.domain}", "for later")
            until(lambda count=count: _kept(rows, AWAY) == count, every=0.001)
            waits.append(time.monotonic() - started)
    waits.sort()
    print("committed after ms:", [round(wait * 1000, 1) for wait in waits])
    assert waits[len(waits) // 2] < 0.05
    assert it.lanes()["early"] == 0


def _kept(rows, user):
    return rows.execute("select count(*) from offline where localpart = ?", (user,)).fetchone()[0]
