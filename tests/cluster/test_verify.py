"""Issue 2, point 7: a row that one node has lost is named by `xcluster verify`, and repaired."""

import json
import time
from types import SimpleNamespace

import pytest

from tests.support.cluster import RunningCluster, eventually
from tests.support.swarm import Member, Swarm
from xcluster.bus.messages import Origin
from xcluster.node.admin.verify import Verify

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

HOLD_S = 6.0  # `xcluster verify` looks for 1.5 s, and has to start
HEARTBEATS_S = 1.0  # two of them
USERS = 12


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    running = RunningCluster(tmp_path_factory.mktemp("verify") / "c")
    try:
        running.provision(USERS, 4)
        ports = [running.port(node) for node in ("n1", "n2", "n3")]
        with Swarm(running.domain) as swarm:
            swarm.log_in(*(Member(f"user{number}", ports[number % 3]) for number in range(USERS)))
            eventually(lambda: running.admin().get("/api/verify")["equal"])
            yield running
    finally:
        running.stop()


def counters(cluster, node):
    return cluster.status(node)["counters"]


def test_lost_row_is_named_and_repaired_when_repairs_are_let(cluster):
    assert cluster.command("verify").returncode == 0
    lost = cluster.admin("n1").post("/api/test/drop-replica-row", {"hold_repair_s": HOLD_S})
    dropped_at = time.monotonic()
    done = cluster.command("verify")
    assert time.monotonic() - dropped_at < HOLD_S, "this machine is too slow for the test"
    assert done.returncode == 1
    line = next(line for line in done.stdout.splitlines() if lost["jid"] in line)
    assert line.startswith("n1/") and f"sessions of {lost['origin']}" in line
    assert "NOT equal" in done.stdout
    shown = cluster.command("verify", "--json")
    if time.monotonic() - dropped_at < HOLD_S:
        assert shown.returncode == 1
        (difference,) = json.loads(shown.stdout)["differences"]
        assert (difference["table"], difference["key"], difference["have"]) == ("sessions", lost["jid"], None)
    eventually(lambda: counters(cluster, "n1")["replicas_mismatches"], HOLD_S + HEARTBEATS_S)
    eventually(lambda: cluster.admin("n1").get("/api/verify")["equal"], HEARTBEATS_S)
    assert cluster.command("verify").returncode == 0


def test_lost_row_is_repaired_within_two_heartbeats(cluster):
    before = counters(cluster, "n2")["replicas_mismatches"]
    held = cluster.status("n2")["users_online"]
    lost = cluster.admin("n2").post("/api/test/drop-replica-row", {})
    assert lost["jid"]
    assert cluster.status("n2")["users_online"] == held - 1
    eventually(lambda: cluster.status("n2")["users_online"] == held, HEARTBEATS_S, 0.01)
    assert counters(cluster, "n2")["replicas_mismatches"] == before + 1
    assert cluster.admin("n2").get("/api/verify")["equal"]


def test_node_that_only_some_know_is_a_difference():
    """Whoever is asked may be the one that is cut off."""
    one, two, three = Origin("n1", 1), Origin("n2", 2), Origin("n3", 3)
    digests = {str(origin): {"sessions": "0"} for origin in (one, two, three)}
    known = {one: digests, two: digests, three: digests}

    def asked(*peers):
        exchange = SimpleNamespace(
            me=one, mesh=SimpleNamespace(replicas=dict.fromkeys(peers)), directory=None
        )
        return Verify(exchange, lambda node, verb, argument: known[node], lambda seconds: None).run()

    assert asked(two, three)["equal"]
    answer = asked(two)
    assert not answer["equal"]
    assert "n3/3" in answer["errors"]["n2/2"]
