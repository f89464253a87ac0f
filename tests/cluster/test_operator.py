"""What operators do to a running cluster: starts that are refused, ends, stops, accounts, sessions."""

import json
import os
import signal
import socket
import subprocess
import time

import pytest

from tests.support.cluster import RunningCluster, eventually
from tests.support.started import StartedNode, start_node
from tests.support.swarm import Member, Swarm
from xcluster.loadtest import stream

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

NODES = ("n1", "n2", "n3")
CLOSED_S = 2.5  # notices are read once a second
EQUAL_S = 2.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster whose nodes stay: tests that end one start their own, n4."""
    running = RunningCluster(tmp_path_factory.mktemp("operator") / "c")
    try:
        running.provision(20, 4)
        yield running
    finally:
        running.stop()


@pytest.fixture
def swarm(cluster):
    with Swarm(cluster.domain) as running:
        yield running


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def refused(cluster, name, *settings):
    """The one line on standard error of a start that is refused."""
    done = subprocess.run(
        start_node(cluster, name, *settings), capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    return line


def online(cluster, node):
    return {session["jid"] for session in cluster.admin(node).get("/api/sessions")}


def test_name_that_is_alive_is_refused(cluster):
    line = refused(cluster, "n1")
    assert f"host {socket.gethostname()}" in line
    assert f"pid {cluster.process('n1')['pid']}" in line
    assert cluster.status("n1")["ready"]


def test_node_without_a_bus_is_refused_on_a_store_in_use(cluster):
    line = refused(cluster, "solo", "bus.endpoints=[]", 'c2s.listen=["127.0.0.1:0"]', "c2s.listen_tls=[]")
    assert "need a bus" in line
    assert any(f"pid {cluster.process(node)['pid']}" in line for node in NODES)


def test_terminated_node_says_good_bye(cluster, swarm):
    port = free_port()
    watcher = Member("user0", cluster.port("n1"))
    leaving = [Member(f"user{number}", port, "n4") for number in (1, 2, 19)]
    swarm.log_in(watcher)
    with StartedNode(cluster, "n4", f'c2s.listen=["127.0.0.1:{port}"]', "c2s.listen_tls=[]") as node:
        swarm.log_in(*leaving)
        eventually(lambda: len(watcher.saw()) == 3)
        ended_at = time.monotonic()
        node.process.send_signal(signal.SIGTERM)
        eventually(lambda: len(watcher.saw("unavailable")) == 3, 3.0)
        assert max(at for at, _ in watcher.saw("unavailable")) - ended_at < 1.0
        assert sorted(jid for _, jid in watcher.saw("unavailable")) == sorted(
            member.jid for member in leaving
        )
        eventually(lambda: [member.failure for member in leaving] == ["system-shutdown"] * 3, 3.0)
        assert node.process.wait(10.0) == 0
    assert cluster.status("n1")["users_online"] == 1
    assert sorted(member["name"] for member in cluster.status("n1")["members"]) == ["n2", "n3"]


@pytest.mark.parametrize(
    "arguments", [("passwd", "--password", "secret"), ("disable",), ("remove",)], ids=lambda given: given[0]
)
def test_account_command_closes_sessions_on_all_nodes(cluster, swarm, arguments):
    user = {"passwd": "user5", "disable": "user6", "remove": "user7"}[arguments[0]]
    members = [Member(user, cluster.port(node), node) for node in NODES]
    bystander = Member("user10", cluster.port("n2"))
    swarm.log_in(*members, bystander)
    assert cluster.command("user", arguments[0], user, *arguments[1:]).returncode == 0
    eventually(lambda: all(member.closed_at for member in members), CLOSED_S)
    assert {member.failure for member in members} == {"not-authorized"}
    assert not bystander.closed_at
    eventually(lambda: online(cluster, "n3") == {bystander.jid})
    again = Member(user, cluster.port("n1"))
    swarm.start([again])
    if arguments[0] == "passwd":
        eventually(lambda: again.online_at)
    else:
        eventually(lambda: again.failure)
        assert again.failure in ("not-authorized", "account-disabled")


def test_sessions_are_listed_and_kicked_wherever_they_are(cluster, swarm):
    members = [Member("user8", cluster.port(node), node) for node in NODES]
    swarm.log_in(*members)
    listed = json.loads(cluster.command("session", "list", "--json").stdout)
    assert [(session["jid"], session["node"]) for session in listed] == [
        (f"user8@{cluster.domain}/{node}", node) for node in NODES
    ]
    assert cluster.command("session", "kick", members[2].jid).returncode == 0
    eventually(lambda: members[2].closed_at, 1.0)
    assert not members[0].closed_at and not members[1].closed_at
    assert cluster.command("session", "kick", f"user8@{cluster.domain}").returncode == 0
    eventually(lambda: all(member.closed_at for member in members), 1.0)
    assert cluster.command("session", "kick", members[0].jid).returncode == 1


def test_users_are_provisioned_while_others_talk(cluster, swarm):
    one, other = Member("user11", cluster.port("n1")), Member("user12", cluster.port("n2"))
    swarm.log_in(one, other)
    options = ("--users", "30", "--roster", "4", "--password", "secret", "--prefix", "fresh")
    assert cluster.command("provision", *options).returncode == 0
    fresh = [Member("fresh0", cluster.port("n3")), Member("fresh29", cluster.port("n1"))]
    swarm.log_in(*fresh)
    eventually(lambda: [jid for _, jid in fresh[0].saw()] == [fresh[1].jid])
    one.say(other.jid, "still here")
    eventually(lambda: other.heard() == ["still here"])


def test_status_for_scripts(cluster):
    done = cluster.command("status", "--json")
    assert done.returncode == 0, done.stderr
    nodes = json.loads(done.stdout)["nodes"]
    assert sorted(nodes) == sorted(NODES)
    for name, status in nodes.items():
        assert status["node"] == name and status["ready"]
        assert sorted(member["name"] for member in status["members"]) == sorted(set(NODES) - {name})
        for member in status["members"]:
            owner = nodes[member["name"]]
            assert (member["state"], member["lag"], member["incarnation"]) == (
                "alive",
                0,
                owner["incarnation"],
            )
            assert member["digests"] == owner["digests"]
        assert {"parked", "early", "woken", "expired"} <= set(status["early"])


def test_node_that_stood_still_is_reborn_with_its_clients(cluster, swarm):
    stop_s = 5.0
    port = free_port()
    watcher = Member("user14", cluster.port("n1"))
    with StartedNode(cluster, "n4", f'c2s.listen=["127.0.0.1:{port}"]', "c2s.listen_tls=[]") as node:
        kept = [Member(f"user{number}", port, "kept") for number in (13, 15)]
        swarm.log_in(watcher, *kept)
        eventually(lambda: len(watcher.saw()) == 2)
        before = cluster.admin("n4").get("/api/status")["incarnation"]
        os.kill(node.process.pid, signal.SIGSTOP)
        stopped_at = time.monotonic()
        try:
            eventually(lambda: len(watcher.saw("unavailable")) == 2, 4.0)
            kept[0].say(watcher.jid, "from the dead")
            eventually(lambda: time.monotonic() > stopped_at + stop_s, stop_s + 1.0)
        finally:
            os.kill(node.process.pid, signal.SIGCONT)
        continued_at = time.monotonic()
        eventually(lambda: cluster.admin("n4").get("/api/status")["incarnation"] > before, EQUAL_S)
        eventually(lambda: cluster.admin("n1").get("/api/verify")["equal"], EQUAL_S)
        eventually(lambda: len(watcher.saw(since=continued_at)) == 2, EQUAL_S)
        assert sorted(jid for _, jid in watcher.saw(since=continued_at)) == sorted(
            member.jid for member in kept
        )
        assert len(watcher.saw("unavailable")) == 2
        eventually(lambda: watcher.heard() == ["from the dead"])
        watcher.say(kept[1].jid, "welcome back")
        eventually(lambda: kept[1].heard() == ["welcome back"])
        assert not any(member.closed_at for member in (watcher, *kept))
        assert sorted(member["name"] for member in cluster.status("n1")["members"]) == ["n2", "n3", "n4"]
        # those on n4 must not have been told that the others went
        assert [jid for member in kept for _, jid in member.saw("unavailable")] == []
        kept[0].send(stream.presence("unavailable"))
        eventually(lambda: len(watcher.saw("unavailable")) == 3)
