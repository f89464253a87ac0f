"""`xcluster status --memory` of real nodes: what is counted, and how far it is from what the kernel says."""

import json

import pytest

from tests.support.cluster import RunningCluster
from tests.support.raw import RawClient

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

CLIENTS = 150
ROSTER = 10


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    running = RunningCluster(tmp_path_factory.mktemp("memory") / "c", nodes=2)
    try:
        running.provision(CLIENTS, ROSTER)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def clients(cluster):
    """On n1, every third with TLS, all available."""
    everybody = []
    for number in range(CLIENTS):
        client = RawClient(cluster.port("n1"), cluster.domain)
        everybody.append(client)
        if number % 3 == 0:
            client.starttls()
        client.log_in(f"user{number}", "home").appear()
    yield everybody
    for client in everybody:
        client.close()


def asked(cluster):
    done = cluster.command("status", "--memory", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["nodes"]


def test_every_kind_is_counted_where_it_is(cluster, clients):
    nodes = asked(cluster)
    one, two = ({row["kind"]: row for row in nodes[name]["kinds"]} for name in ("n1", "n2"))
    for kind in ("sessions", "connections", "watchers", "directory, own records"):
        assert one[kind]["count"] >= CLIENTS, kind
        assert one[kind]["per_session"] > 100, kind
    assert one["TLS"]["count"] == pytest.approx(CLIENTS / 3, rel=0.8)  # from a sample of 64
    assert one["TLS"]["bytes"] > 10_000 * CLIENTS / 8
    assert one["own log"]["count"] >= CLIENTS
    assert two["directory, records of n1"]["count"] == CLIENTS
    assert two["directory, records of n1"]["bytes"] > 100 * CLIENTS
    assert (nodes["n1"]["sessions"], nodes["n2"]["sessions"]) == (CLIENTS, 0)


def test_kinds_explain_most_of_what_the_node_has_grown_by(cluster, clients):
    """Half at least; with 2,000 sessions it is nine tenths and more. The rest is there once, not per session."""
    node = asked(cluster)["n1"]
    rows = node["kinds"]
    assert sum(row["bytes"] for row in rows) == node["grown"] == node["pss"] - node["pss_at_start"]
    (other,) = [row["bytes"] for row in rows if row["kind"] == "other"]
    assert abs(other) < 4_000_000
    assert node["grown"] - other > 8_000 * CLIENTS


def test_a_person_gets_a_table(cluster, clients):
    done = cluster.command("status", "--memory")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("n1: ") and f"; {CLIENTS} sessions; " in lines[0]
    assert any(line.startswith("n2: ") for line in lines)
    assert any(line.split()[:2] == ["connections", str(CLIENTS)] for line in lines)
    assert max(map(len, lines)) <= 80
