"""The bench: its generator against the double, its servers' files and processes."""

import os
import shutil
from xml.etree import ElementTree

import pytest

from tests.loadtest.double import DOMAIN, running
from xcluster.loadtest.bench import processes
from xcluster.loadtest.bench.ejabberd import write_users as write_piefxis
from xcluster.loadtest.bench.generator import BenchError, Generator
from xcluster.loadtest.bench.harness import Bench, Sizes
from xcluster.loadtest.bench.prosody import Prosody, write_users
from xcluster.loadtest.bench.rows import ROWS
from xcluster.loadtest.bench.xcluster import Xcluster

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(scope="session")
def generator(tmp_path_factory):
    return Generator(tmp_path_factory.mktemp("generator"))


def load(generator, nodes, mode, limit=10, **options):
    with generator.run(mode, nodes=nodes, domain=DOMAIN, limit=limit, drain=1, **options) as running_load:
        running_load.ready(15)
        running_load.go()
        return running_load.done(15)


@needs_compiler
def test_messages_between_pairs_are_all_delivered(generator):
    with running(40, ports=2) as nodes:
        done = load(generator, nodes, "message", users=10, window=3, time=0.5, cross=1, contacts=30)
    assert done["delivered"] == done["written"] > 50
    assert 0 < done["p50_ms"] <= done["p99_ms"]


@needs_compiler
def test_mixed_partners_are_half_on_the_same_node(generator):
    """Two doubles that do not know each other: what goes from one to the other is lost."""
    with running(40, ports=1) as one, running(40, ports=1) as other:
        nodes = f"{one},{other}"
        done = load(generator, nodes, "message", users=4, time=0.2, cross=2, contacts=30)
        assert done["delivered"] == done["written"] > 4
        with pytest.raises(BenchError, match=r"^2 lost"):
            load(generator, nodes, "message", users=8, time=0.2, cross=2, contacts=30)


@needs_compiler
def test_messages_at_a_rate_are_as_many_as_wanted(generator):
    with running(40, ports=1) as nodes:
        done = load(generator, nodes, "message", users=10, rate=200, time=0.5, contacts=30)
    assert 95 <= done["delivered"] <= 102


@needs_compiler
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1"])
def test_logins_bind_only(generator, mechanism):
    if mechanism != "PLAIN" and not generator.openssl:
        pytest.skip("no OpenSSL headers")
    with running(40, ports=2) as nodes:
        done = load(generator, nodes, "login", users=40, mechanism=mechanism)
    assert done["logins"] == 40


@needs_compiler
def test_full_logins_see_everybody(generator):
    with running(40, ports=1) as nodes:
        done = load(generator, nodes, "login", users=40, full=1, contacts=30)
    assert done["presences"] == 40 * 30


@needs_compiler
def test_classic_clients_come_and_go(generator):
    with running(80, ports=2) as nodes:
        done = load(generator, nodes, "classic", users=80, away=20, rate=50, time=1, stay=0.2, contacts=30)
    assert 48 <= done["logins"] <= 52
    assert done["away"] == done["logins"]
    assert done["logins"] - 2 <= done["delivered"] == done["written"]


@needs_compiler
@pytest.mark.parametrize(
    ("twist", "word"),
    [("drop", "lost"), ("double", "doubled"), ("reorder", "reordered"), ("spoil", "corrupt"),
     ("misroute", "misrouted"), ("bounce", "failures")],
)  # fmt: skip
def test_wrong_of_the_server_voids_the_row(generator, twist, word):
    with running(40, twist, ports=1) as nodes, pytest.raises(BenchError, match=rf"\d+ {word}"):
        load(generator, nodes, "message", users=10, window=20, time=0.3, contacts=30)


@needs_compiler
@pytest.mark.parametrize(("twist", "presences"), [("untold", "presences instead of 1200"),
                                                  ("told twice", "presences instead of 1200")])  # fmt: skip
def test_wrong_presence_voids_the_row(generator, twist, presences):
    with running(40, twist, ports=1) as nodes, pytest.raises(BenchError, match=presences):
        load(generator, nodes, "login", limit=2, users=40, full=1, contacts=30)


@needs_compiler
def test_wrong_password_voids_the_row(generator):
    with running(40, ports=1) as nodes, pytest.raises(BenchError, match="not-authorized"):
        load(generator, nodes, "login", users=4, password="wrong")


def test_own_process_has_time_and_memory():
    own = os.getpid()
    assert own in processes.tree(own)
    assert processes.cpu_s(own) > 0
    assert processes.tree(own, 1)[:2] == [own, 1]
    assert processes.pss_kib([own])[own] > 1000


def test_prosodys_files_hold_ring_rosters(tmp_path):
    write_users(tmp_path / "data", 40, "hashed")
    host = tmp_path / "data" / "bench%2etest"
    assert (host / "roster" / "user0.dat").read_text().count('subscription = "both"') == 30
    assert "stored_key" in (host / "accounts" / "user39.dat").read_text()


def test_ejabberds_file_holds_ring_rosters(tmp_path):
    write_piefxis(tmp_path / "users.xml", 40)
    users = ElementTree.parse(tmp_path / "users.xml").findall(".//{urn:xmpp:pie:0}user")
    assert len(users) == 40
    assert {len(user.findall(".//{jabber:iq:roster}item")) for user in users} == {30}


@needs_compiler
@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("server", [Xcluster(), Prosody()], ids=lambda server: server.name)
def test_rows_of_a_real_server(generator, tmp_path, server):
    if not server.installed():
        pytest.skip(f"no {server.name}")
    sizes = Sizes(users=60, sessions=40, pairs=5, seconds=0.5, settle_s=0.1, quiet_s=0.1)
    names = ["message, one node, one at a time", "memory per idle session"]
    if generator.openssl:
        names.append("message, one node, TLS")
    bench = Bench(server, generator, sizes, tmp_path)
    try:
        found = {row.name: row.measure(bench) for row in ROWS if row.name in names}
    finally:
        bench.stop()
    assert sorted(found) == sorted(names)
    # So few sessions say nothing about memory; that it could be measured is enough.
    assert all(each.value > 1 for name, each in found.items() if name.startswith("message")), found
    assert found[names[0]].more["per_s"] > 10
