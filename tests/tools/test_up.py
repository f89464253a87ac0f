"""`xcluster up` with real buses and nodes, and the commands that work on a running cluster."""

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
        return self.until(lambda cluster: cluster["ready"])

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


def greeting(port):
    """What a node answers to a stream header."""
    with socket.create_connection(("127.0.0.1", port), LIMIT_S) as client:
        client.sendall(
            b"<stream:stream to='example.org' version='1.0' xmlns='jabber:client' "
            b"xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        client.settimeout(LIMIT_S)
        return client.recv(4096)


def test_cluster_starts_serves_and_ends_without_a_rest(up):
    cluster = up("--nodes", "3", "--own-ports")
    started = cluster.ready()
    nodes = named(started, "node")
    assert (set(nodes), set(named(started, "bus")), set(named(started, "supervisor"))) == (
        {"n1", "n2", "n3"}, {"b1"}, {"up"},
    )  # fmt: skip
    ports = [entry["ports"][name] for entry in nodes.values() for name in ("c2s", "c2s_tls")]
    assert len(set(ports)) == 6
    for entry in nodes.values():
        assert b"example.org" in greeting(entry["ports"]["c2s"])
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


def test_killed_node_comes_back_on_its_ports(up):
    cluster = up("--nodes", "2", "--own-ports")
    before = named(cluster.ready(), "node")["n2"]
    os.kill(before["pid"], signal.SIGKILL)
    after = cluster.until(lambda now: now["ready"] and named(now, "node")["n2"]["pid"] != before["pid"])
    assert named(after, "node")["n2"]["ports"]["c2s"] == before["ports"]["c2s"]
    assert b"example.org" in greeting(before["ports"]["c2s"])
    cluster.eventually(0, "status")
    cluster.eventually(0, "verify")


def test_node_that_stands_still_is_started_again(up):
    cluster = up("--nodes", "2")
    before = named(cluster.ready(), "node")["n1"]["pid"]
    os.kill(before, signal.SIGSTOP)
    cluster.until(lambda now: now["ready"] and named(now, "node")["n1"]["pid"] != before)
    cluster.eventually(0, "status")


def test_single_server_needs_no_bus(up):
    cluster = up("--nodes", "1", "--buses", "0", "--own-ports")
    started = cluster.ready()
    assert named(started, "bus") == {}
    assert b"example.org" in greeting(named(started, "node")["n1"]["ports"]["c2s"])
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
