"""`xcluster up` with real buses and nodes, and the commands that work on a running cluster."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

XCLUSTER = [sys.executable, "-P", "-m", "xcluster.tools.main"]
LIMIT_S = 40.0

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


class Cluster:
    """A running `xcluster up` on free loopback ports; its output is in a file."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.log = folder.with_suffix(".log")
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen(
                [
                    *XCLUSTER, "up", "--data", str(folder), "--domain", "example.org",
                    "--set", 'c2s.listen=["127.0.0.1:0"]', "--set", 'c2s.listen_tls=["127.0.0.1:0"]',
                    *options,
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip

    def until(self, claim):
        """What cluster.json says once `claim` holds."""
        cluster = {}
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                cluster = json.loads((self.folder / "cluster.json").read_text())
                if claim(cluster):
                    return cluster
            time.sleep(0.05)
        pytest.fail(f"not so: {cluster}; exit code {self.process.poll()}\n{self.log.read_text()[-4000:]}")

    def ready(self):
        ours = {"up": self.process.pid}  # not of one that was killed before us
        return self.until(
            lambda cluster: (
                cluster["ready"]
                and ours == {name: entry["pid"] for name, entry in named(cluster, "supervisor").items()}
            )
        )

    def run(self, *arguments):
        """An xcluster command on this cluster: exit code, standard output, standard error."""
        ran = subprocess.run(
            [*XCLUSTER, *arguments, "--data", str(self.folder)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        return ran.returncode, ran.stdout, ran.stderr

    def eventually(self, expected, *arguments):
        """The output of a command once it ends with the exit code `expected`."""
        end = time.monotonic() + LIMIT_S
        while True:
            code, output, error = self.run(*arguments)
            if code == expected:
                return output
            assert time.monotonic() < end, f"{arguments} ended with {code}: {output}{error}"

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LIMIT_S)


@pytest.fixture
def up(tmp_path):
    started = []

    def start(*options):
        started.append(Cluster(tmp_path / "cluster", *options))
        return started[-1]

    yield start
    for cluster in started:
        if cluster.process.poll() is None:
            cluster.end()


def named(cluster, kind):
    return {entry["name"]: entry for entry in cluster["processes"] if entry["kind"] == kind}


HEADER = (
    "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
)


class Client:
    """A session by hand: what is sent, and what must come."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        self.seen = b""

    def send(self, text):
        self.socket.sendall(text.encode())

    def expect(self, text):
        """Read until `text` has come; what came before it is gone."""
        while text.encode() not in self.seen:
            data = self.socket.recv(65_536)
            assert data, f"the stream ended before {text}: {self.seen.decode()}"
            self.seen += data
        self.seen = self.seen.partition(text.encode())[2]

    def log_in(self, user, password):
        self.send(HEADER)
        self.expect("</stream:features>")
        secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>")
        self.expect("<success")
        self.send(HEADER)
        self.expect("</stream:features>")
        self.send(
            "<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            "<resource>phone</resource></bind></iq><presence/>"
        )
        self.expect(f"{user}@example.org/phone")


@pytest.fixture
def client():
    opened = []

    def connect(port):
        opened.append(Client(port))
        return opened[-1]

    yield connect
    for one in opened:
        one.socket.close()


def greets(client):
    """Whether a node serves our domain."""
    client.send(HEADER)
    client.expect("example.org")
    client.expect("</stream:features>")
    return True


def test_cluster_starts_serves_and_ends_without_a_rest(up, client):
    cluster = up("--nodes", "3", "--own-ports")
    started = cluster.ready()
    nodes = named(started, "node")
    assert (set(nodes), set(named(started, "bus")), set(named(started, "supervisor"))) == (
        {"n1", "n2", "n3"}, {"b1"}, {"up"},
    )  # fmt: skip
    ports = [entry["ports"][name] for entry in nodes.values() for name in ("c2s", "c2s_tls")]
    assert len(set(ports)) == 6
    for entry in nodes.values():
        assert greets(client(entry["ports"]["c2s"]))
    cluster.eventually(0, "status")
    assert cluster.run("verify")[0] == 0
    assert {row["node"] for row in json.loads(cluster.run("node", "list", "--json")[1])} == {"n1", "n2", "n3"}
    assert json.loads(cluster.run("session", "list", "--json")[1]) == []
    assert cluster.run("session", "kick", "nobody@example.org")[0] == 1
    assert cluster.end() == 0
    assert not (cluster.folder / "cluster.json").exists()
    for entry in started["processes"]:
        with pytest.raises(ProcessLookupError):
            os.kill(entry["pid"], 0)
    code, output, error = cluster.run("status")
    assert (code, output) == (1, "")
    assert error.startswith("xcluster: no node answers")


def test_killed_node_comes_back_on_its_ports(up, client):
    cluster = up("--nodes", "2", "--own-ports")
    before = named(cluster.ready(), "node")["n2"]
    os.kill(before["pid"], signal.SIGKILL)
    after = cluster.until(lambda now: now["ready"] and named(now, "node")["n2"]["pid"] != before["pid"])
    assert named(after, "node")["n2"]["ports"]["c2s"] == before["ports"]["c2s"]
    assert greets(client(before["ports"]["c2s"]))
    cluster.eventually(0, "status")
    cluster.eventually(0, "verify")


def test_node_that_stands_still_is_started_again(up):
    cluster = up("--nodes", "2")
    before = named(cluster.ready(), "node")["n1"]["pid"]
    os.kill(before, signal.SIGSTOP)
    cluster.until(lambda now: now["ready"] and named(now, "node")["n1"]["pid"] != before)
    cluster.eventually(0, "status")


def test_single_server_needs_no_bus(up, client):
    cluster = up("--nodes", "1", "--buses", "0", "--own-ports")
    started = cluster.ready()
    assert named(started, "bus") == {}
    assert greets(client(named(started, "node")["n1"]["ports"]["c2s"]))
    assert cluster.run("status")[0] == 0
    assert cluster.end() == 0


def test_processes_end_when_their_supervisor_is_killed(up):
    cluster = up("--nodes", "1")
    pids = [entry["pid"] for entry in cluster.ready()["processes"]]
    cluster.process.kill()
    cluster.process.wait(LIMIT_S)
    end = time.monotonic() + LIMIT_S
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    again = up("--nodes", "1")  # it finds a clean place, and removes what the killed one left
    again.ready()
    assert again.end() == 0


def test_accounts_and_sessions_are_ruled_from_the_command_line(up, client):
    cluster = up("--nodes", "2", "--own-ports", "--set", "c2s.plain_without_tls=true")
    ports = [entry["ports"]["c2s"] for entry in named(cluster.ready(), "node").values()]
    for user in ("alice", "bob", "carol", "dave"):
        assert cluster.run("user", "add", user, "--password", "secret")[0] == 0
    alice, bob, carol, dave = clients = [client(port) for port in ports * 2]
    for one, user in zip(clients, ("alice", "bob", "carol", "dave"), strict=True):
        one.log_in(user, "secret")
    sessions = json.loads(cluster.run("session", "list", "--json")[1])
    assert [(session["jid"], session["node"]) for session in sessions] == [
        ("alice@example.org/phone", "n1"), ("bob@example.org/phone", "n2"),
        ("carol@example.org/phone", "n1"), ("dave@example.org/phone", "n2"),
    ]  # fmt: skip
    assert len(json.loads(cluster.run("session", "list", "--user", "bob", "--json")[1])) == 1
    assert cluster.run("user", "disable", "alice")[0] == 0
    alice.expect("</stream:stream>")
    assert cluster.run("user", "passwd", "bob", "--password", "other")[0] == 0
    bob.expect("</stream:stream>")
    assert cluster.run("user", "remove", "carol")[0] == 0
    carol.expect("</stream:stream>")
    assert cluster.run("session", "kick", "dave@example.org/phone")[0] == 0
    dave.expect("</stream:stream>")
    client(ports[0]).log_in("bob", "other")
    refused = client(ports[0])
    with pytest.raises(AssertionError, match=r"account-disabled|not-authorized"):
        refused.log_in("alice", "secret")
    code, output, _ = cluster.run("status")
    assert code == 0
    assert all(word in output for word in ("n1", "n2", "alive", "early tasks", "digests"))


def test_users_are_provisioned_while_the_cluster_runs(up, client):
    cluster = up("--nodes", "2", "--own-ports", "--set", "c2s.plain_without_tls=true")
    ports = [entry["ports"]["c2s"] for entry in named(cluster.ready(), "node").values()]
    assert cluster.run("provision", "--users", "40", "--roster", "4", "--password", "secret")[0] == 0
    watching = client(ports[0])
    watching.log_in("user0", "secret")
    client(ports[1]).log_in("user39", "secret")
    watching.expect("user39@example.org/phone")
