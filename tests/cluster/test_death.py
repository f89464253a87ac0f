"""Issue 2, point 5: a node dies with all its sessions; everybody is told, once, and it comes back."""

import signal
import time

import pytest

from tests.support.cluster import RunningCluster, eventually
from tests.support.started import StartedNode
from tests.support.swarm import IS_FULL, Member, Swarm

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

USERS = 10_000 if IS_FULL else 2_000
WATCHERS = 300 if IS_FULL else 60
CONTACTS = 30
OFFLINE_S = 3.5
EQUAL_S = 2.0
IDLE = "c2s.idle_ping_s=3600"  # most sessions of a swarm are deaf


def equal(cluster, node):
    """Whether all nodes have the same rows, asked of the rows themselves."""
    answer = cluster.admin(node).get("/api/verify")
    return answer if answer["equal"] else None


def watch(cluster, users, count):
    """Sessions on n2 and n3 of users whose contacts don't overlap."""
    step = users // count
    assert step > CONTACTS
    ports = [cluster.port("n2"), cluster.port("n3")]
    return [Member(f"user{number * step}", ports[number % 2], "watch") for number in range(count)]


def expected(watcher, users, domain):
    """Full JIDs on n1 that a watcher may see: its contacts, and itself elsewhere."""
    own = int(watcher.user.removeprefix("user"))
    around = range(own - CONTACTS // 2, own + CONTACTS // 2 + 1)
    return sorted(f"user{number % users}@{domain}/r" for number in around)


def test_users_of_a_killed_node_are_off_line_for_everybody_and_it_comes_back(tmp_path, capsys):
    cluster = RunningCluster(tmp_path / "c", settings=(IDLE,))
    try:
        cluster.provision(USERS, CONTACTS)
        port = cluster.port("n1")
        holders = [Member(f"user{number}", port, listens=False) for number in range(USERS)]
        watchers = watch(cluster, USERS, WATCHERS)
        want = {watcher: expected(watcher, USERS, cluster.domain) for watcher in watchers}
        with Swarm(cluster.domain) as swarm:
            rate = swarm.log_in(*holders, seconds=200)
            swarm.log_in(*watchers)
            for watcher in watchers:
                eventually(lambda w=watcher: sorted(jid for _, jid in w.saw()) == want[w])
            assert cluster.status("n2")["users_online"] == USERS

            killed_at = time.monotonic()
            cluster.kill("n1")
            total = sum(len(jids) for jids in want.values())
            eventually(lambda: sum(len(w.saw("unavailable")) for w in watchers) >= total, OFFLINE_S + 3.0)
            offline_s = max(at for w in watchers for at, _ in w.saw("unavailable")) - killed_at
            for node in ("n2", "n3"):
                eventually(lambda n=node: cluster.status(n)["users_online"] == WATCHERS)
            eventually(lambda: equal(cluster, "n2"), EQUAL_S)
            eventually(lambda: all(holder.closed_at for holder in holders))

            started_at = time.monotonic()
            with StartedNode(cluster, "n1", f'c2s.listen=["127.0.0.1:{port}"]', "c2s.listen_tls=[]") as node:
                start_s = node.ready_at - started_at
                again = eventually(lambda: equal(cluster, "n3"), EQUAL_S)
                equal_s = time.monotonic() - node.ready_at
                assert [name.partition("/")[0] for name in again["nodes"]] == ["n1", "n2", "n3"]
                back = [Member(f"user{number}", port) for number in range(0, USERS, USERS // 20)]
                swarm.log_in(*back)
                here = {member.jid for member in back}
                for watcher in watchers:
                    known = sorted(here.intersection(want[watcher]))
                    eventually(lambda w=watcher, k=known: sorted(j for _, j in w.saw(since=killed_at)) == k)
                    # told once: not again by the store's word, by the new incarnation, or by a late heartbeat
                    assert sorted(jid for _, jid in watcher.saw("unavailable")) == want[watcher]
            assert offline_s <= OFFLINE_S
            with capsys.disabled():
                print(
                    f"\n{USERS} sessions at {rate:.0f} log-ins/s; {total} told off line in {offline_s:.2f} s;"
                )
                print(f"ready {start_s:.2f} s after its start, directories equal {equal_s:.2f} s later")
    finally:
        cluster.stop()


def test_restart_within_the_limit_tells_everybody_once(tmp_path):
    users = 124
    cluster = RunningCluster(tmp_path / "c", settings=(IDLE,), restart=True)
    try:
        cluster.provision(users, CONTACTS)
        holders = [Member(f"user{number}", cluster.port("n1"), listens=False) for number in range(users)]
        watchers = watch(cluster, users, 4)
        with Swarm(cluster.domain) as swarm:
            swarm.log_in(*holders, *watchers)
            before = cluster.process("n1")["pid"]
            cluster.kill("n1", signal.SIGKILL)
            for watcher in watchers:
                eventually(lambda w=watcher: len(w.saw("unavailable")) == CONTACTS + 1)
            eventually(lambda: cluster.state()["ready"] and cluster.process("n1")["pid"] != before, 30.0)
            eventually(lambda: equal(cluster, "n2"), EQUAL_S)
            for watcher in watchers:
                gone = sorted(jid for _, jid in watcher.saw("unavailable"))
                assert gone == expected(watcher, users, cluster.domain)
    finally:
        cluster.stop()
