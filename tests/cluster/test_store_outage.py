"""Issue 2, point 9: the store is locked, or away, and people who are on line don't notice."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.support.beats import Beats
from tests.support.cluster import RunningCluster, eventually
from tests.support.postgres import Postgres
from tests.support.swarm import IS_FULL, Member, Swarm
from xcluster.shared.config import load
from xcluster.tools.admin_client import AdminError

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

LOCKED_S = 4.0
AWAY_S = 30.0 if IS_FULL else 10.0
HEARTBEAT_S = 0.5
GAP_S = 0.25  # that a heartbeat may come late
NODES = ("n1", "n2", "n3")
PAIRS = 6
USERS = 60
LOCKER = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("pragma busy_timeout = 10000")
db.execute("begin immediate")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
db.execute("commit")
"""


class Chat:
    """Pairs on different nodes that write to each other, and to somebody who is away, all the time."""

    def __init__(self, cluster, swarm):
        ports = [cluster.port(node) for node in NODES]
        self.pairs = [
            (
                Member(f"user{number}", ports[number % 3]),
                Member(f"user{number + 20}", ports[(number + 1) % 3]),
            )
            for number in range(PAIRS)
        ]
        self.away = [f"user{number + 40}" for number in range(PAIRS)]
        self.said = {user: [] for user in self.away}  # what was sent to those who are away
        self.talked = {member: [] for pair in self.pairs for member in pair}  # what each was sent
        self.slowest_s = 0.0  # from a message to its arrival
        self._domain = cluster.domain
        self._sent_at = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self.run_chat, daemon=True)
        swarm.log_in(*(member for pair in self.pairs for member in pair))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._ending.set()
        self._thread.join(5.0)

    def run_chat(self):
        number = 0
        while not self._ending.wait(0.05):
            number += 1
            for (one, other), away in zip(self.pairs, self.away, strict=True):
                for sender, receiver in ((one, other), (other, one)):
                    self._say(sender, receiver.jid, f"{sender.user}-{number}", self.talked[receiver])
                if number % 4 == 0:
                    self._say(one, f"{away}@{self._domain}", f"{away}-{number}", self.said[away])

    def _say(self, sender, to, body, list_):
        list_.append(body)
        self._sent_at[body] = time.monotonic()
        sender.say(to, body)

    def slowest(self, since, until):
        """The longest that a message between people on line took, of those sent in a span."""
        taken = [0.0]
        for member in self.talked:
            for at, element in list(member.told):
                body = element.findtext("{jabber:client}body")
                if body and since <= self._sent_at[body] <= until:
                    taken.append(at - self._sent_at[body])
        return max(taken)

    def finish(self, swarm, port):
        """End; then everything that was sent has come: once, in order, to the right one."""
        self.__exit__()
        for member, bodies in self.talked.items():
            eventually(lambda m=member, b=bodies: len(m.heard()) >= len(b))
            assert member.heard() == bodies
        returned = [Member(user, port) for user in self.away]
        swarm.log_in(*returned)
        for member in returned:
            eventually(lambda m=member: len(m.heard()) >= len(self.said[m.user]), 20.0)
            assert member.heard() == self.said[member.user]
        return sum(map(len, self.talked.values())), sum(map(len, self.said.values()))


@contextlib.contextmanager
def running(folder, **options):
    cluster = RunningCluster(folder, **options)
    try:
        cluster.provision(USERS, 4)
        yield cluster
    finally:
        cluster.stop()


def readiness(cluster, node):
    """Why a node is not ready; "" when it is."""
    try:
        cluster.admin(node).get("/ready")
    except AdminError as error:
        return str(error)
    return ""


def test_file_that_a_command_has_used_is_still_that_of_the_nodes(tmp_path):
    """A process that closes the file must not take its write-ahead log away from the others."""
    with running(tmp_path / "c", nodes=1, buses=0) as cluster:
        for _ in range(3):
            assert cluster.command("user", "list").returncode == 0
        with contextlib.closing(sqlite3.connect(cluster.folder / "xcluster.db")) as db:

            def beats():
                return db.execute("select beats from nodes").fetchone()[0]

            before = beats()
            eventually(lambda: beats() > before + 1, 5.0)
        pid = cluster.process("n1")["pid"]
        names = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
        held = [name for name in names if "xcluster.db" in name]
        assert held and not [name for name in held if "(deleted)" in name]


def test_locked_file_stops_no_heartbeat_and_loses_nothing(tmp_path, capsys):
    with running(tmp_path / "c") as cluster, Swarm(cluster.domain) as swarm:
        (bus,) = load(cluster.folder / "xcluster.toml").bus.endpoints
        with Beats(bus) as beats, Chat(cluster, swarm) as chat:
            eventually(lambda: set(beats.times) == set(NODES))
            for node in NODES:
                cluster.status(node)  # forgets the longest turn so far
            line = [sys.executable, "-c", LOCKER, str(cluster.folder / "xcluster.db"), str(LOCKED_S)]
            with subprocess.Popen(line, stdout=subprocess.PIPE) as locker:
                assert locker.stdout.readline() == b"locked\n"
                began = time.monotonic()
                newcomers = [Member(f"user{50 + n}", cluster.port(NODES[n % 3])) for n in range(6)]
                swarm.log_in(*newcomers, seconds=LOCKED_S)
                logged_in_s = time.monotonic() - began
                assert locker.wait(30) == 0
            ended = time.monotonic()
            gaps = beats.gaps(began, ended)
            turns = {node: cluster.status(node)["longest_turn_ms"] for node in NODES}
            slowest = chat.slowest(began, ended - 0.5)
            live, stored = chat.finish(swarm, cluster.port("n1"))
        with capsys.disabled():
            print(f"\nlocked for {ended - began:.1f} s: heartbeat gaps {max(gaps.values()) * 1000:.0f} ms,")
            print(f"longest turn {max(turns.values()):.0f} ms, 6 log-ins in {logged_in_s:.2f} s;")
            print(f"{live} messages to people on line (slowest {slowest * 1000:.0f} ms), {stored} to others")
        assert max(gaps.values()) <= HEARTBEAT_S + GAP_S
        assert slowest < 1.0


class Gone:
    """PostgreSQL crashes, and is started again."""

    noticed_s = 3.0

    def __init__(self, server):
        self.leave, self.come_back = server.kill, server.start

    def end(self):
        pass


class Frozen:
    """PostgreSQL stands still, its connections stay."""

    noticed_s = 8.0  # connections that break are seen at once, silence is not

    def __init__(self, server):
        self._server = server
        self._pids = []

    def leave(self):
        main = int((self._server.folder / "data" / "postmaster.pid").read_text().split()[0])
        self._pids = [main]
        self._signal(signal.SIGSTOP)  # first: it shall start no further ones
        self._pids += map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())
        self._signal(signal.SIGSTOP)

    def come_back(self):
        self._signal(signal.SIGCONT)

    end = come_back

    def _signal(self, number):
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


TRY_AGAIN = ("temporary-auth-failure", "connection-timeout")


@pytest.mark.postgres
@pytest.mark.parametrize("outage", [Gone, Frozen])
def test_postgres_away_loses_nothing(tmp_path, capsys, outage):
    server = Postgres()
    away = outage(server)
    try:
        server.start()
        store = server.create_database("outage")
        with running(tmp_path / "c", store=store) as cluster, Swarm(cluster.domain) as swarm:
            with Chat(cluster, swarm) as chat:
                eventually(lambda: not any(readiness(cluster, node) for node in NODES))
                away.leave()
                began = time.monotonic()
                newcomer = Member("user30", cluster.port("n3"))
                swarm.start([newcomer])
                for node in NODES:
                    eventually(lambda n=node: "the store is away" in readiness(cluster, n), outage.noticed_s)
                noticed_s = time.monotonic() - began
                eventually(lambda: time.monotonic() > began + AWAY_S, AWAY_S + 1.0, 0.2)
                assert {member["state"] for member in cluster.status("n1")["members"]} == {"alive"}
                ended = time.monotonic()
                slowest = chat.slowest(began, ended - 1.0)
                away.come_back()
                back_at = time.monotonic()
                for node in NODES:
                    eventually(lambda n=node: not readiness(cluster, n), 15.0)
                ready_s = time.monotonic() - back_at
                eventually(lambda: not any(cluster.status(node)["offline_waiting"] for node in NODES), 15.0)
                live, stored = chat.finish(swarm, cluster.port("n2"))
                # An answer in any case: let in, or told to come back, by the log-in or by its time limit.
                eventually(lambda: newcomer.online_at or newcomer.failure in TRY_AGAIN, 15.0)
            with capsys.disabled():
                print(
                    f"\nPostgreSQL {outage.__name__} for {ended - began:.0f} s, noticed in {noticed_s:.2f} s;"
                )
                print(f"ready {ready_s:.2f} s after its return;")
                print(
                    f"{live} messages to people on line (slowest {slowest * 1000:.0f} ms), {stored} to others"
                )
            assert slowest < 1.0
    finally:
        away.end()
        server.remove()
