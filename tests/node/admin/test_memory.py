"""node/admin/memory.py: what a node's memory is spent on."""

import time

import pytest

from tests.node.admin.pair import B, Pair
from xcluster.node.admin.memory import INDEX, LOG, OTHER, OWN, PRESENCES, SESSIONS, Memory, Outside
from xcluster.node.watchers import Watchers

USERS = 300


class World:
    """Node `a` of a pair, and what the kernel says of it."""

    def __init__(self):
        self.pair = Pair()
        self.watchers = Watchers()
        self.outside = Outside(50_000_000, 10_000_000, 1_000_000, 0, 1000)
        node = self.pair.a
        self.connections = {}
        self.memory = Memory(
            node.sessions, self.connections, node.exchange, {"watchers": [self.watchers]}, {}, type(None),
            lambda: self.outside,
        )  # fmt: skip

    def fill(self):
        for number in range(USERS):
            session = self.pair.a.bind(f"user{number}")
            self.connections[session.line] = None
            self.watchers.watch(session, [f"user{(number + n) % USERS}@example.org" for n in range(30)])
            if number % 2:
                self.pair.b.bind(f"other{number}")
        self.pair.run(1.0)

    def rows(self):
        return {row["kind"]: row for row in self.memory.report()["kinds"]}


@pytest.fixture
def world():
    return World()


def test_kinds_have_their_counts_and_some_bytes(world):
    world.fill()
    rows = world.rows()
    for kind, count in (
        (SESSIONS, USERS),
        ("connections", USERS),
        (OWN, USERS),
        (f"directory, records of {B.name}", USERS // 2),
        (PRESENCES, 1),
        (LOG, USERS),
        ("watchers", USERS),
    ):
        assert rows[kind]["count"] == count, kind
        assert rows[kind]["bytes"] > 0, kind
    assert rows[INDEX]["bytes"] > 0


def test_watchers_cost_what_they_are_made_of(world):
    """Two lists of 30 a session, one each way; the addresses are shared with nobody else."""
    world.fill()
    lists = 2 * (56 + 8 * 30)
    assert lists < world.rows()["watchers"]["per_session"] < 1.8 * lists + 150


def test_own_record_and_session_share_the_address(world):
    """About 300 bytes a replicated session (design.md §4), its strings and tables included."""
    world.fill()
    rows = world.rows()
    assert 100 < rows[OWN]["per_session"] < 350
    assert 250 < rows[SESSIONS]["per_session"] < 900


def test_bytes_add_up_to_the_growth(world):
    world.fill()
    world.outside = Outside(60_000_000, 14_000_000, 1_500_000, 200_000, 2000)
    report = world.memory.report()
    rows = report["kinds"]
    assert report["grown"] == sum(row["bytes"] for row in rows) == 10_000_000
    assert rows[-1]["kind"] == OTHER
    assert [row["bytes"] for row in rows[:-1]] == sorted((row["bytes"] for row in rows[:-1]), reverse=True)
    named = {row["kind"]: row["bytes"] for row in rows}
    assert (named["free, kept by malloc"], named["SQLite"]) == (500_000, 200_000)
    assert (report["sessions"], report["pss"], report["pss_at_start"]) == (USERS, 60_000_000, 50_000_000)


def test_node_without_sessions_has_no_shares(world):
    assert {row["per_session"] for row in world.memory.report()["kinds"]} == {0}


def test_report_takes_no_longer_for_more_sessions(world):
    """Within 20 ms (measured: 3 to 6), with room for a busy machine: walking all would take a second."""
    world.fill()
    world.watchers._by_contact.update((f"u{n}@example.org", [None] * 4) for n in range(200_000))
    took = []
    for _ in range(5):
        began = time.thread_time()
        world.memory.weigh()
        took.append(time.thread_time() - began)
    assert min(took) < 0.04
