"""Issue 2, point 10: garbage on the bus's sockets, and peers without the right key."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys

import msgspec
import pytest
import zmq

from tests.support.cluster import RunningCluster, eventually
from tests.support.hostile import Footprint, complaints
from tests.support.raw import Pair, RawClient
from tests.support.started import StartedNode
from tests.support.zpeer import Keys, Peer, drained, free_endpoint, offer, read, received
from xcluster.bus import messages, wire
from xcluster.bus.messages import BusPing, Origin

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

GREETING = b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\x01NULL" + b"\0" * 16 + b"\0" + b"\0" * 31
DEEP = b"\x91" * 100_000


def talking(cluster):
    """Two people on two nodes."""
    one = RawClient(cluster.port("n1")).log_in("user0", "pair")
    other = RawClient(cluster.port("n2")).log_in("user5", "pair")
    one.appear()
    other.appear()
    eventually(lambda: cluster.status("n1")["users_online"] == 2)
    return Pair(one, other)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Its bus is a TCP port without encryption, which loopback allows."""
    endpoint = free_endpoint()
    running = RunningCluster(
        tmp_path_factory.mktemp("bus") / "c", nodes=2, settings=(f'bus.endpoints=["{endpoint}"]',)
    )
    running.endpoint = endpoint
    try:
        running.provision(10, roster=2)
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def pair(cluster):
    result = talking(cluster)
    yield result
    result.close()


@pytest.fixture(autouse=True)
def the_bus_goes_on(request):
    """After each attack the pair still talks, nobody was declared dead, no process has complained."""
    yield
    if "pair" in request.fixturenames:
        cluster = request.getfixturevalue("cluster")
        request.getfixturevalue("pair").talk()
        for node in ("n1", "n2"):
            status = cluster.status(node)
            assert [member["state"] for member in status["members"] if member["name"] in ("n1", "n2")] == [
                "alive"
            ]
        assert complaints(cluster) == []


def ports(endpoint):
    first = int(endpoint.rpartition(":")[2])
    return range(first, first + 3)


def unreadable(cluster):
    return [cluster.status(node)["counters"]["mesh_unreadable"] for node in ("n1", "n2")]


GARBAGE = {
    "text": b"hello, bus\r\n" * 100,
    "http": b"GET / HTTP/1.1\r\nHost: bus\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "zeros": b"\0" * 10_000,
    "random": random.Random(1).randbytes(20_000),
    "half_a_greeting": GREETING[:20],
    "greeting_and_garbage": GREETING + random.Random(2).randbytes(5000),
    "unknown_mechanism": GREETING.replace(b"NULL", b"EVIL"),
    "huge_frame": GREETING + b"\x02" + (2**62).to_bytes(8, "big") + b"x" * 1000,
    "huge_command": GREETING + b"\x06" + (2**31).to_bytes(8, "big") + b"\x05READY" + b"x" * 1000,
    "old_protocol": b"\x01\x00" + b"\x05\x00hello",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_bytes_on_the_ports_of_the_bus_disturb_nobody(cluster, pair, name):
    for port in ports(cluster.endpoint):
        with socket.create_connection(("127.0.0.1", port), 5.0) as sock:
            try:
                sock.sendall(GARBAGE[name])
                sock.settimeout(0.1)
                while sock.recv(4096):
                    pass
            except OSError:
                pass  # closed or silent: both will do


def test_half_open_connections_to_the_bus_are_closed(cluster, pair):
    footprint = Footprint(cluster.process("b1")["pid"])
    sockets = [
        socket.create_connection(("127.0.0.1", port)) for port in ports(cluster.endpoint) for _ in range(300)
    ]
    try:
        for number, sock in enumerate(sockets):
            sock.send(GREETING[: number % 64])
        pair.talk()
        footprint.back(spare_bytes=50_000_000, seconds=20.0)  # its own doing: they are still open here
    finally:
        for sock in sockets:
            sock.close()


def test_garbage_to_the_relay_is_dropped(cluster, pair):
    nodes = [wire.routing_id(Origin(name, cluster.status(name)["incarnation"])) for name in ("n1", "n2")]
    before = unreadable(cluster)
    noise = random.Random(3)
    with Peer(cluster.endpoint) as peer:
        dealer = peer.dealer()
        for frames in (
            [b""], [b"", b""], [b"", DEEP], [b"", b"\xc1"], [b"x"] * 50, [b"nobody\n1", b""], [b"\xff\n1", b"x"],
            [b"nobody\n" + b"9" * 30, b"x"], [b"nobody\n-" + b"9" * 30, b"x"], [b"nobody\n" + b"9" * 5000, b"x"],
            [b"nobody", b"x"], [b"\0\0\0\0\0", b"x"], [b"n" * 300 + b"\n1", b"x"], [b"n" * 200_000, b"x"],
            [b"stranger\n1", b"to myself"], [b"", wire.encode(BusPing(2**63))[:-1]],
        ):  # fmt: skip
            dealer.send_multipart(frames)
        for node in nodes:
            for payload in (b"", b"\xc1", DEEP, b"\x93\x03" + DEEP, b"\xdd\xff\xff\xff\xff", b"x" * 500_000):
                dealer.send_multipart([node, payload])
            for _ in range(500):
                dealer.send_multipart([node, noise.randbytes(noise.randrange(60))])
        dealer.send_multipart([b"", wire.encode(BusPing(77))])
        answers = drained(dealer, 0.5)
        assert [
            wire.control(data).number for kind, data in answers if kind == wire.FROM_BUS and b"b1" in data
        ] == [77]
    eventually(lambda: all(now > was + 100 for now, was in zip(unreadable(cluster), before, strict=True)))
    assert cluster.admin("b1").get("/api/status")["counters"]["unreadable"] >= 5


def test_published_garbage_is_dropped_by_every_node(cluster, pair):
    before = unreadable(cluster)
    noise = random.Random(4)
    with Peer(cluster.endpoint) as peer:
        publisher = peer.publisher()
        for _ in range(500):
            publisher.send(noise.randbytes(noise.randrange(60)))
        for payload in (b"", b"\xc1", DEEP, b"\x95\x01" + DEEP, b"\x95\x02" + DEEP, b"x" * 500_000):
            publisher.send(payload)
        publisher.send_multipart([b"many", b"parts", b"\x01"])
        eventually(lambda: all(now > was + 400 for now, was in zip(unreadable(cluster), before, strict=True)))


def test_a_message_that_is_too_long_costs_its_sender_the_connection(cluster, pair):
    with Peer(cluster.endpoint) as peer:
        dealer, monitored = peer.dealer(), peer.publisher()
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        eventually(lambda: answers_pings(dealer))
        dealer.send_multipart([b"", b"x" * 3_000_000])
        monitored.send(b"x" * 3_000_000)
        assert monitor.poll(5000), "still connected"


def test_sockets_of_other_kinds_get_nowhere(cluster, pair):
    with Peer(cluster.endpoint) as peer:
        for type in (zmq.REQ, zmq.PUSH, zmq.PUB, zmq.ROUTER, zmq.PAIR):
            for address in peer.at:
                stranger = peer.socket(type, address)
                offer(stranger, *([b"hello"] if type != zmq.ROUTER else [b"x", b"y"]))
        upstream = peer.socket(zmq.XSUB, peer.at.subscribe)
        upstream.send(b"no subscription")
        upstream.send(b"\x01" + b"x" * 100_000)
        pair.talk()


def test_well_formed_nonsense_of_a_stranger_makes_no_process_fail(cluster, pair):
    """Without CURVE anybody on loopback may claim to be a node; whatever it says, nobody falls over it."""
    origin = Origin("evil", 5)
    targets = [Origin(name, cluster.status(name)["incarnation"]) for name in ("n1", "n2")]
    raw, none = msgspec.Raw(msgspec.msgpack.encode(["x"])), msgspec.Raw(b"\x90")
    tasks = [
        messages.RouteStanza([99_999, -1], "user0@test.example", "evil", "message", b"id", b"<message/>"),
        messages.RouteStanza([], "", "", "", b"", b""),
        messages.Undeliverable(10**9, [-5]),
        messages.Unsupported(-1),
        messages.Call(1, "no such verb", msgspec.Raw(b"\xc0")),
        messages.Answer(10**9, msgspec.Raw(b"\xc1"), "no"),
        messages.FetchOffline([12_345]),
    ]
    batch = wire.array([wire.encode(task) for task in tasks])
    deltas = [messages.SessionDown(77), messages.Invalidated("nothing", "x"), messages.OfflineWaiting("nobody"),
              messages.RosterChanged("nobody", 3, b"<not-xml"), messages.LoginFailed("nobody", "nowhere")]  # fmt: skip
    logged = wire.array([wire.encode(delta) for delta in deltas])
    with Peer(cluster.endpoint) as peer:
        publisher, dealer = peer.publisher(), peer.dealer(wire.routing_id(origin))
        publisher.send(wire.encode(messages.Heartbeat(origin, 5, {"sessions": 1, "nothing": 2}, [])))
        publisher.send(wire.encode(messages.Deltas(origin, 1, logged, len(deltas))))
        publisher.send(wire.encode(messages.Deltas(origin, 2**63, logged, len(deltas))))
        publisher.send(wire.encode(messages.Deltas(origin, -7, raw, 0)))
        for target in targets:
            for message in (
                messages.Frame(origin, target, 1, len(tasks), batch, 0, 5),
                messages.Frame(origin, target, 1, 10**9, batch, 10**9, 10**9),
                messages.Frame(origin, target, -5, 3, none, -1, -1),
                messages.Ping(origin, target, 2**62),
                messages.Pong(origin, target, -1),
                messages.AskRange(origin, target, -10, 10**12),
                messages.AskRange(origin, target, 5, 1),
                messages.AskSnapshot(origin, target, 0, -1),
                messages.AskSnapshot(origin, target, 10**9, 10**9),
                messages.RangeGone(origin, target, 10**9),
                messages.SnapshotChunk(origin, target, 0, 0, 0, none),
                messages.SnapshotChunk(origin, target, 3, 0, 1, raw),
                messages.Deltas(origin, 1, raw, 5),
                messages.Dead(origin, origin),
            ):
                dealer.send_multipart([wire.routing_id(target), wire.encode(message)])
        assert drained(dealer, 0.7), "nobody took it for a node"
    eventually(lambda: [m["name"] for m in cluster.status("n1")["members"]] == ["n2"], 10.0)


def answers_pings(dealer):
    offer(dealer, b"", wire.encode(BusPing(1)))
    return received(dealer, 0.3)


# Keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """bus, n3 and stranger; all but the stranger may connect."""
    folder = tmp_path_factory.mktemp("keys")
    line = [sys.executable, "-m", "xcluster.tools.main", "keys", "generate", "--out", str(folder)]
    subprocess.run([*line, "bus", "n3", "stranger"], check=True, timeout=30, capture_output=True)
    (folder / "authorized").mkdir()
    for name in ("bus", "n3"):
        shutil.copy(folder / f"{name}.public", folder / "authorized")
    return folder


@pytest.fixture(scope="module")
def guarded(tmp_path_factory, keys):
    """A cluster whose bus asks for keys."""
    endpoint = free_endpoint()
    running = RunningCluster(
        tmp_path_factory.mktemp("guarded") / "c",
        nodes=2,
        settings=(
            f'bus.endpoints=["{endpoint}"]',
            f"bus.secret_key={keys}/bus.secret",
            f"bus.public_key={keys}/bus.public",
            f"bus.authorized_keys={keys}/authorized",
        ),
    )
    running.endpoint = endpoint
    try:
        running.provision(10, roster=2)
        yield running
        assert complaints(running) == []
    finally:
        running.stop()


def test_a_cluster_with_keys_works_and_takes_a_node_with_a_key_of_its_own(guarded, keys):
    pair = talking(guarded)
    pair.talk()
    with StartedNode(guarded, "n3", f"bus.secret_key={keys}/n3.secret") as node:
        with RawClient(node.said["ports"]["c2s"]).log_in("user3", "here") as third:
            third.appear()
            Pair(third, pair.other).talk()
    pair.close()


def strange_keys(folder):
    stranger = read(folder, "bus", "stranger")
    authorized = read(folder, "bus", "n3")
    return {
        "no_key": None,
        "a_key_of_its_own": stranger,
        "somebody_else's_public_key": Keys(stranger.server, authorized.public, stranger.secret),
        "the_wrong_server_key": Keys(stranger.public, authorized.public, authorized.secret),
    }


@pytest.mark.parametrize(
    "name", ["no_key", "a_key_of_its_own", "somebody_else's_public_key", "the_wrong_server_key"]
)
def test_a_peer_without_the_right_key_sees_nothing_and_gets_nothing_through(guarded, keys, name):
    before = unreadable(guarded)
    relayed = guarded.admin("b1").get("/api/status")["counters"]["unreadable"]
    pair = talking(guarded)
    with Peer(guarded.endpoint, strange_keys(keys)[name]) as peer:
        listener, dealer = peer.socket(zmq.SUB, peer.at.subscribe), peer.dealer()
        publisher = peer.socket(zmq.XPUB, peer.at.publish)
        incarnation = guarded.status("n1")["incarnation"]
        for _ in range(5):
            offer(dealer, b"", wire.encode(BusPing(1)))
            offer(dealer, b"", b"garbage")
            offer(dealer, wire.routing_id(Origin("n1", incarnation)), b"garbage")
            offer(publisher, b"garbage")
        pair.talk()
        assert drained(listener, 1.2) == []  # two heartbeats of two nodes have passed
        assert drained(dealer, 0.1) == []
        assert not publisher.poll(0), "the bus has told it of subscribers"
    assert unreadable(guarded) == before
    assert guarded.admin("b1").get("/api/status")["counters"]["unreadable"] == relayed
    pair.talk()
    pair.close()


def test_the_same_peer_with_the_right_key_sees_and_is_heard(guarded, keys):
    """What the test before would notice."""
    with Peer(guarded.endpoint, read(keys, "bus", "n3")) as peer:
        listener, dealer = peer.socket(zmq.SUB, peer.at.subscribe), peer.dealer()
        assert eventually(lambda: answers_pings(dealer))
        assert received(listener, 3.0) is not None
        before = unreadable(guarded)
        peer.publisher().send(b"garbage")
        eventually(lambda: unreadable(guarded) == [count + 1 for count in before])


# Refusals at the start


def bus_command(folder, *settings):
    line = [sys.executable, "-m", "xcluster.tools.main", "bus", "--name", "b9"]
    for setting in (f"server.data_dir={folder}", f"server.run_dir={folder}/run", *settings):
        line += ["--set", setting]
    return line


def listening(host):
    return f"bus.listen=tcp://{host}:{free_endpoint().rpartition(':')[2]}"


ANYWHERE = "0.0.0.0"
REFUSED = {  # host, settings in [bus] beside listen; KEYS is the folder of keys
    "any_address": (ANYWHERE, ()),
    "any_interface": ("*", ()),
    "any_address_6": ("[::]", ()),
    "public_address": ("192.0.2.1", ()),
    "no_authorized_keys": (ANYWHERE, ("secret_key=KEYS/bus.secret",)),
    "missing_secret": (ANYWHERE, ("secret_key=KEYS/none", "authorized_keys=KEYS/authorized")),
    "secret_that_is_none": (ANYWHERE, (f"secret_key={__file__}", "authorized_keys=KEYS/authorized")),
    "missing_folder": (ANYWHERE, ("secret_key=KEYS/bus.secret", "authorized_keys=KEYS/none")),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_open_bus_without_keys_refuses_to_start_in_one_line(tmp_path, keys, name):
    host, more = REFUSED[name]
    settings = [f"bus.{setting}".replace("KEYS", str(keys)) for setting in more]
    command = bus_command(tmp_path, listening(host), *settings)
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("xcluster: bus.")


@pytest.mark.parametrize("settings", [["bus.insecure=true"], ["keys"]])
def test_it_starts_with_keys_or_when_told_so(tmp_path, keys, settings):
    if settings == ["keys"]:
        settings = [f"bus.secret_key={keys}/bus.secret", f"bus.authorized_keys={keys}/authorized"]
    process = subprocess.Popen(bus_command(tmp_path, listening("0.0.0.0"), *settings), stderr=subprocess.PIPE)
    try:
        eventually(lambda: (tmp_path / "run" / "b9.json").exists() or process.poll() is not None)
        assert process.poll() is None, process.stderr.read()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(10.0) == 0
        assert b"Traceback" not in process.stderr.read()
    finally:
        process.kill()
        process.wait(5.0)
        process.stderr.close()
