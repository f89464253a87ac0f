"""A node that may open few descriptors: it says so, turns away whom it can't serve, and serves the others."""

import contextlib
import os
import re
import resource
import subprocess
import time

import pytest

from tests.support.cluster import RunningCluster, eventually
from tests.support.raw import Pair, RawClient
from tests.support.started import end, start_node
from xcluster.node.server import RESERVED_DESCRIPTORS
from xcluster.tools.admin_client import AdminClient, AdminError, processes
from xcluster.tools.options import resolve

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]

ALLOWED = 40
LIMIT = RESERVED_DESCRIPTORS + ALLOWED
REFUSED = "503 {'name': 'small', 'ready': False, 'reasons': ['no descriptors left for clients']}"


class SmallNode:
    """A node of a running cluster whose hard limit is `LIMIT`: it can't raise it."""

    def __init__(self, cluster):
        self.domain = cluster.domain
        self._config = resolve(str(cluster.folder), None, ())
        self._log = cluster.folder.with_name("small.log")
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(
                start_node(cluster, "small", 'c2s.listen=["127.0.0.1:0"]', "c2s.listen_tls=[]"),
                stdout=log, stderr=log,
                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT // 2, LIMIT)),
            )  # fmt: skip
        self.admin = AdminClient(self._config.run_dir / "small.sock")
        self.port = eventually(self._ready_port, 40.0)

    def _ready_port(self):
        assert self.process.poll() is None, self.log()
        return next(
            (p["ports"]["c2s"] for p in processes(self._config, "node") if p["pid"] == self.process.pid), 0
        )

    def log(self):
        return self._log.read_text(errors="replace")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connections(self):
        return self.admin.get("/api/status")["connections"]

    def objections(self):
        """The reasons of /ready; none when it answers 200."""
        try:
            answer = self.admin.get("/ready")
        except AdminError as error:
            return str(error)
        return "" if answer == {"name": "small", "ready": True, "reasons": []} else f"odd: {answer}"

    def client(self):
        return RawClient(self.port, self.domain)

    def stop(self):
        end(self.process)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    running = RunningCluster(tmp_path_factory.mktemp("descriptors") / "c", nodes=1)
    try:
        running.provision(4, 2)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def node(cluster):
    running = SmallNode(cluster)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def crowd(node):
    """Clients that go when the test does."""
    clients = []
    yield clients
    for client in clients:
        client.close()
    eventually(lambda: node.connections() == 0)


def test_one_line_at_the_start_says_how_many_clients_the_limit_allows(node):
    lines = [line for line in node.log().splitlines() if "clients_limited" in line]
    assert len(lines) == 1
    assert re.search(rf"connections={ALLOWED} descriptors={LIMIT}\b", lines[0])


def test_soft_limit_is_raised_to_the_hard_one(node):
    assert resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE) == (LIMIT, LIMIT)


def test_full_node_turns_away_and_says_so_while_its_clients_go_on(node, crowd):
    assert node.objections() == ""
    pair = Pair(node.client().log_in("user0", "a"), node.client().log_in("user1", "b"))
    crowd += [pair.one, pair.other]
    crowd += [node.client() for _ in range(ALLOWED - 2)]
    eventually(lambda: node.connections() == ALLOWED)
    assert REFUSED in node.objections()
    for _ in range(2 * LIMIT):
        with node.client() as late:
            began = time.monotonic()
            turned_away(late)
            assert time.monotonic() - began < 2.0
    pair.talk()
    assert node.connections() == ALLOWED
    assert node.descriptors() < LIMIT
    assert node.process.poll() is None
    assert [line for line in node.log().splitlines() if "accept_paused" in line] == []
    full = [line for line in node.log().splitlines() if " warning " in line and "clients_refused" in line]
    assert len(full) == 1  # told once, not for each
    assert f"most={ALLOWED}" in full[0]


def test_node_takes_clients_again_when_some_have_left(node, crowd):
    crowd += [node.client() for _ in range(ALLOWED)]
    eventually(lambda: REFUSED in node.objections())
    for _ in range(3):
        crowd.pop().close()
    eventually(lambda: node.objections() == "")
    newcomer = node.client().log_in("user2", "c")
    crowd.append(newcomer)
    newcomer.ping()


def turned_away(client):
    """The server closes without a word; a reset is as good."""
    with contextlib.suppress(ConnectionResetError):
        assert client.sock.recv(1) == b""
