"""A node cut off from the bus, without a word, and healed (design.md §8).

n1 and n2 have the bus to themselves; n3 reaches it through a relay, and its client ports all the time, as when
only the network between machines fails.
"""

import time

import pytest

from tests.support.cluster import RunningCluster
from tests.support.lone_node import LoneNode
from tests.support.relay import Relay, bus_address
from tests.support.traffic import Traffic
from tests.support.xmpp import Person, until

PEOPLE = 12
RIVALS = 4  # full JIDs that are bound on both sides of the partition, half of them last on each
HEAL_S = 2.0

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]


class Stage:
    """Three nodes, people on each."""

    def __init__(self, folder):
        bus = bus_address()
        self.people = []
        self.node = None
        self.relay = Relay(bus)
        try:
            self.cluster = RunningCluster(folder / "c", nodes=2, settings=(f'bus.endpoints=["{bus}"]',))
            self.node = LoneNode(self.cluster, "n3", f'bus.endpoints=["{self.relay.address}"]')
            self.ports = [self.cluster.port("n1"), self.cluster.port("n2"), self.node.port]
            self.cluster.provision(PEOPLE + RIVALS, roster=2)
            for number in range(PEOPLE):
                self.people.append(self.enter(number, number % 3))
            until(lambda: sum(len(person.online) for person in self.people) == 3 * PEOPLE - 2, 20.0)
            until(self.directories_are_equal)
            self.before = self.nodes()
        except BaseException:
            self.stop()
            raise

    def enter(self, number, node):
        person = Person(self.cluster.domain, self.ports[node], f"user{number}", "here")
        person.presence()
        return person

    def statuses(self):
        return [self.cluster.status("n1"), self.cluster.status("n2"), self.node.status()]

    def nodes(self):
        return {status["node"]: (status["pid"], status["incarnation"]) for status in self.statuses()}

    def directories_are_equal(self):
        """Whether all three have, of each, what that one has itself; nobody is suspected."""
        statuses = self.statuses()
        own = {
            status["node"]: (status["incarnation"], status["seq"], status["digests"]) for status in statuses
        }
        for status in statuses:
            known = {
                row["name"]: (row["incarnation"], row["applied"], row["digests"]) for row in status["members"]
            }
            if {**known, status["node"]: own[status["node"]]} != own:
                return False
            if any(row["state"] != "alive" for row in status["members"]):
                return False
        return True

    def owners(self, number):
        """The nodes that have a session of a rival; as each tells of itself."""
        user = f"user{number}@{self.cluster.domain}"
        return [row["node"] for row in self.cluster.admin().get("/api/sessions", user=user)]

    def stop(self):
        for person in self.people:
            person.abort()
        if self.node is not None:
            self.node.stop()
        if hasattr(self, "cluster"):
            self.cluster.stop()
        self.relay.stop()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    it = Stage(tmp_path_factory.mktemp("partitions"))
    yield it
    it.stop()


@pytest.mark.parametrize(
    ("seconds", "directions"),
    [(0.05, ()), (1.0, ()), (20.0, ()), (6.0, ("to_bus",)), (6.0, ("to_node",))],
    ids=["50 ms", "1 s", "20 s", "6 s towards the bus", "6 s towards the node"],
)
def test_directories_are_equal_after_healing(stage, seconds, directions):
    it = stage
    before = it.nodes()
    people = it.people
    pairs = [(people[0], people[3]), (people[6], people[1])]  # on n1; n1 and n2: these must not notice
    pairs += [(people[4], people[8]), (people[7], people[2]), (people[5], people[11])]  # n2 and n3; on n3
    sent = Traffic(pairs, 100.0)
    rivals = []
    try:
        it.relay.cut(*directions)
        cut_at = time.monotonic()
        far, near = 2, 0
        for number in range(PEOPLE, PEOPLE + RIVALS):
            rivals.append((number, [it.enter(number, far if number % 2 else near)]))
        bound_at = time.monotonic()
        is_long = seconds >= 1.0
        until(lambda: time.monotonic() - (bound_at if is_long else cut_at) >= seconds, seconds + 1)
        for number, sessions in rivals:
            sessions.append(it.enter(number, near if number % 2 else far))
        it.relay.heal()
        healed_at = time.monotonic()
        until(it.directories_are_equal, HEAL_S, every=0.01)
        took_s = time.monotonic() - healed_at
        for number, (earlier, later) in rivals:
            until(lambda number=number: len(it.owners(number)) == 1, HEAL_S)
            until(lambda one=earlier, other=later: one.is_cut or other.is_cut)
            assert earlier.is_cut or not is_long
            assert [str(end.broken) for end in (earlier, later) if end.is_cut] == ["conflict"]
        sent.finish()
        print(f"equal after {took_s:.2f} s; {sent.total} messages")
        assert sent.wrong() == []
        after = it.nodes()
        assert {name: pid for name, (pid, _) in after.items()} == {
            name: pid for name, (pid, _) in before.items()
        }
        assert [person.jid for person in it.people if person.is_cut] == []
        assert it.cluster.command("verify").returncode == 0
        if directions == ("to_node",):
            return  # it gave its connections up, which the bus could see: it may be taken for dead, and reborn
        assert after == before
        names = {person.jid for person in it.people}
        assert [(person.jid, names.intersection(person.departed)) for person in it.people] == [
            (person.jid, set()) for person in it.people
        ]
    finally:
        sent.stop()
        it.relay.heal()
        for _, sessions in rivals:
            for session in sessions:
                session.abort()
        for person in it.people:
            person.received.clear()
            person.departed.clear()
