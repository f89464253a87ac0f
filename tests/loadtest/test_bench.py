"""The bench: its generator against the double, its figures, its output."""

import io
import json
import os
import shutil

import pytest
from rich.console import Console

from tests.loadtest.double import DOMAIN, running
from xcluster.loadtest.bench import output, processes
from xcluster.loadtest.bench.generator import BenchError, Generator
from xcluster.loadtest.bench.output import Result
from xcluster.loadtest.bench.prosody import Prosody, write_users
from xcluster.loadtest.bench.rows import ROWS, Bench, Found, Sizes
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
    assert processes.pss_kib([own])[own] > 1000


def results():
    first = Result(ROWS[0], {"xcluster": Found(20.0, {"per_s": 1.0}), "prosody": Found(100.0)})
    second = Result(ROWS[1], {"prosody": Found(50.0)}, {"xcluster": "1 lost"})
    return [first, second]


def test_table_tells_values_ratios_and_voids():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(output.table(results(), ["xcluster", "prosody"]))
    text = " ".join(console.export_text().split())
    assert "one at a time, µs │ 20 │ 100 │ 5.0x │ 30 │ 22 │ 62 │ 109" in text
    assert "bursts of 10, µs │ void │ 50" in text


def test_figures_and_picture_are_written(tmp_path):
    figures = json.loads(output.as_json(results(), {"cores": 2}))
    assert figures["cores"] == 2
    assert figures["rows"][0]["found"]["xcluster"] == {"value": 20.0, "more": {"per_s": 1.0}}
    assert figures["rows"][0]["peer_to_ours"] == 5.0
    assert figures["rows"][1]["void"] == {"xcluster": "1 lost"}
    output.draw(results(), ["xcluster", "prosody"], tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")


def test_prosodys_files_hold_ring_rosters(tmp_path):
    write_users(tmp_path / "data", 40, "hashed")
    host = tmp_path / "data" / "bench%2etest"
    assert (host / "roster" / "user0.dat").read_text().count('subscription = "both"') == 30
    assert "stored_key" in (host / "accounts" / "user39.dat").read_text()


@needs_compiler
@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("server", [Xcluster(), Prosody()], ids=lambda server: server.name)
def test_rows_of_a_real_server(generator, tmp_path, server):
    if not server.installed():
        pytest.skip(f"no {server.name}")
    sizes = Sizes(users=60, sessions=40, logins=20, pairs=5, seconds=0.5, arrivals_per_s=20, settle_s=0.1)
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
