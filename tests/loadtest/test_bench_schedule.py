"""The bench's order of measurements, its command line, and how it shares measurements between rows."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from xcluster.loadtest.bench import command
from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.harness import Bench, Found, Sizes, shared, view
from xcluster.loadtest.bench.results import Result
from xcluster.loadtest.bench.rows import ROWS, Row
from xcluster.loadtest.bench.schedule import Schedule, applies
from xcluster.loadtest.bench.servers import Running, Setup


class Peer:
    """A server that does nothing but remember what was asked of it."""

    about, package, tells_once = "none", "none", True

    def __init__(self, name, nodes=4):
        self.name = name
        self.nodes = nodes
        self.started = []

    def installed(self):
        return True

    def can(self, setup):
        return setup.nodes <= self.nodes

    def start(self, setup, folder, users):
        self.started.append((setup.nodes, users))
        return Running([], [], [])

    def stop(self):
        pass


class Compiled:
    openssl = True


def bench(name="xcluster", **options):
    return Bench(Peer(name, **options), Compiled(), Sizes(settle_s=0.0), Path())


def run(rows, benches, runs):
    results, said, turns = [Result(each) for each in rows], [], []
    Schedule(results, benches, runs).measure(said.append, lambda: turns.append(len(said)))
    return results, said, turns


def row(name, measure=None, **options):
    return Row(name, "µs", measure or (lambda each: Found(1.0)), **options)


def test_servers_take_turns_in_every_run():
    order = []

    def measure(each):
        order.append(each.server.name)
        return Found(float(len(order)))

    benches = [bench("xcluster"), bench("prosody")]
    results, said, turns = run([row("first", measure)], benches, 2)
    assert order == ["xcluster", "prosody", "xcluster", "prosody"]
    assert results[0].values("prosody") == [2.0, 4.0]
    assert len(turns) == 4
    assert said[0].startswith("run 1 of 2, about 1 min left: xcluster: first")


def test_void_run_is_told_and_the_rest_goes_on():
    def measure(each):
        raise BenchError("1 lost")

    results, said, _ = run([row("bad", measure), row("good")], [bench()], 1)
    assert results[0].void == {"xcluster": ["1 lost"]}
    assert "    void: 1 lost" in said
    assert results[1].values("xcluster") == [1.0]


def test_two_views_are_one_measurement_in_each_run():
    asked = []

    def measure(each):
        asked.append(each)
        return Found(float(len(asked)), {"p99_ms": 10.0 * len(asked)})

    rows = [row("cost", shared(measure)), row("latency", view("p99_ms", measure))]
    results, _, _ = run(rows, [bench()], 2)
    assert [each.values("xcluster") for each in results] == [[1.0, 2.0], [10.0, 20.0]]


def test_failed_measurement_is_not_tried_again_for_its_views():
    asked = []

    def measure(each):
        asked.append(each)
        raise BenchError("1 lost")

    results, _, _ = run([row("cost", shared(measure)), row("latency", view("p99_ms", measure))], [bench()], 1)
    assert len(asked) == 1
    assert [each.void for each in results] == [{"xcluster": ["1 lost"]}] * 2


def test_what_is_left_shrinks_and_learns():
    schedule = Schedule([Result(row("a")), Result(row("b", slow=True))], [bench()], 3)
    before = schedule.left_s()
    schedule.measure(lambda line: None, lambda: None)
    assert before > 300
    assert schedule.left_s() == 0


@pytest.mark.parametrize(
    ("options", "name", "nodes", "does"),
    [({}, "prosody", 1, True), ({"nodes": 2}, "prosody", 1, False), ({"nodes": 2}, "ejabberd", 4, True),
     ({"ours": True}, "prosody", 1, False), ({"ours": True}, "xcluster", 1, True)],
)  # fmt: skip
def test_rows_that_a_server_cannot_have_are_left_out(options, name, nodes, does):
    assert applies(row("any", **options), bench(name, nodes=nodes)) is does


def test_server_is_started_anew_when_it_must_be():
    each = bench()
    each.start(Setup())
    each.start(Setup())
    assert each.server.started == [(1, 6000)]
    each.start(Setup(nodes=2))
    each.start(Setup(nodes=2), users=100)
    each.start(Setup(nodes=2), users=100, fresh=True)
    assert each.server.started[1:] == [(2, 6000), (2, 100), (2, 100)]


def listed(*arguments):
    done = CliRunner().invoke(command.main, ["--list", *arguments])
    assert done.exit_code == 0, done.output
    return [line.rpartition(", ")[0] for line in done.output.splitlines()]


def test_slow_rows_come_only_when_asked_for():
    slow = {each.name for each in ROWS if each.slow}
    assert slow
    assert not slow & set(listed())
    assert slow <= set(listed("--slow"))
    assert listed("--rows", "19,000 idle") == [each.name for each in ROWS if "19,000 idle" in each.name]


def test_unknown_row_is_a_clear_error():
    done = CliRunner().invoke(command.main, ["--rows", "no such row"])
    assert done.exit_code == 2
    assert "--list" in done.output


def test_peer_that_is_not_installed_is_named(monkeypatch):
    absent = Peer("ejabberd")
    absent.package = "ejabberd"
    monkeypatch.setattr(absent, "installed", lambda: False)
    monkeypatch.setattr(command, "SERVERS", [absent])
    done = CliRunner().invoke(command.main, ["--rows", "classic"])
    assert done.exit_code == 2
    assert "not installed, left out: ejabberd (apt-get install ejabberd)" in done.output


def test_figures_are_written_at_the_end(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "SERVERS", [Peer("xcluster"), Peer("prosody", nodes=1)])
    monkeypatch.setattr(command, "ROWS", [row("first"), row("second", nodes=2)])
    monkeypatch.setattr(command, "Generator", Compiled)
    done = CliRunner().invoke(command.main, ["--quick", "--json", str(tmp_path / "figures.json")])
    assert done.exit_code == 0, done.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["runs"] == 1
    assert [sorted(each["servers"]) for each in figures["rows"]] == [["prosody", "xcluster"], ["xcluster"]]
    assert "1.00 ✗" in done.output
