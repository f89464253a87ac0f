"""`bench hold`: its generators against the double, its conditions, what it does when something ends."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from rich.console import Console

from tests.loadtest.double import DOMAIN, Double, running
from xcluster.loadtest.bench import capacity, course, hold_output, holding
from xcluster.loadtest.bench.capacity import most_sessions, refusals
from xcluster.loadtest.bench.crew import Crew
from xcluster.loadtest.bench.generator import BenchError, Generator
from xcluster.loadtest.bench.holding import Holding
from xcluster.loadtest.bench.outcome import Cpu, Memory, Moment, Outcome, Plan, rates
from xcluster.loadtest.bench.servers import Running

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
USERS = 80
PLAN = Plan(USERS, 2, minutes=0.02, active=0.1, messages_per_s=100, mechanism="PLAIN")
COMMAND = [sys.executable, "-P", "-m", "xcluster.loadtest.bench", "hold"]
GOOD = {
    "logins": 100, "open": 100, "presences": 3000, "sampled": 20, "written": 50, "delivered": 50,
}  # fmt: skip


class Stand:
    """A server that runs already: the double, and processes that stand for a cluster's."""

    name = "double"
    tells_once = True

    def __init__(self, addresses: str, pids: list[int] | None = None) -> None:
        self._addresses = addresses.split(",")
        self._pids = pids or [os.getpid()]
        self.is_stopped = False

    def installed(self):
        return True

    def can(self, setup):
        return True

    def start(self, setup, folder, users):
        return Running(self._pids, self._addresses, self._pids)

    def stop(self):
        self.is_stopped = True


@pytest.fixture(scope="session")
def generator(tmp_path_factory):
    return Generator(tmp_path_factory.mktemp("generator"))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No waiting longer than a small load needs."""
    for name, seconds in (("REST_S", 0.3), ("IDLE_S", 0.5), ("QUIET_S", 1.5), ("DRAIN_S", 2.0)):
        monkeypatch.setattr(holding, name, seconds)
    monkeypatch.setattr(course, "BEAT_S", 0.2)
    monkeypatch.setattr(capacity, "REFUSAL_S", 0.3)


def held(generator, tmp_path, twist="", plan=PLAN):
    with running(USERS, twist, ports=2) as nodes:
        server = Stand(nodes)
        outcome = Holding(plan, server, generator, Console(file=io.StringIO()), DOMAIN).run(tmp_path)
    assert server.is_stopped
    return outcome


def fails(outcome):
    """The conditions that did not hold, the speed of this machine apart."""
    return [text for text, holds in outcome.conditions() if not holds and "log-ins/s" not in text]


@needs_compiler
def test_all_conditions_hold_against_a_server_that_does_right(generator, tmp_path):
    outcome = held(generator, tmp_path)
    assert not fails(outcome)
    assert outcome.counts["presences"] == USERS * 30
    assert outcome.counts["sampled"] == 20
    assert 90 <= outcome.counts["delivered"] <= 125  # 1.2 s at 100 a second
    assert sum(round(rate) for rate in outcome.rates) > 0
    assert 0 < outcome.p50_ms <= outcome.p99_ms <= outcome.longest_ms
    assert {moment.phase for moment in outcome.course} >= {"messages", "idle"}
    assert outcome.course[-1].sessions == USERS


@needs_compiler
@pytest.mark.parametrize(
    ("twist", "words"),
    [("untold", "missing, 0 doubled, 0 strange; in all 2,2"), ("told twice", "0 missing, "),
     ("drop", "lost, 0 doubled"), ("double", "doubled, "), ("reorder", "reordered, "),
     ("spoil", "corrupt, 0 misrouted"), ("misroute", "misrouted"), ("bounce", "failures")],
)  # fmt: skip
def test_wrong_of_the_server_is_told(generator, tmp_path, twist, words):
    outcome = held(generator, tmp_path, twist)
    assert any(words in text for text in fails(outcome)), outcome.conditions()
    if twist == "told twice":
        assert outcome.counts["repeated"] > 0


@needs_compiler
def test_log_ins_keep_the_wanted_pace(generator, tmp_path):
    plan = Plan(USERS, 2, minutes=0.01, messages_per_s=100, logins_per_s=60, mechanism="PLAIN")
    outcome = held(generator, tmp_path, plan=plan)
    assert 1.2 < outcome.login_seconds < 6  # 80 sessions at 60 a second


@needs_compiler
def test_dropped_sessions_are_told(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(Double, "message", lambda self, sender, *rest: sender.transport.close())
    outcome = held(generator, tmp_path)
    assert any(" dropped, " in text for text in fails(outcome))
    assert outcome.counts["dropped"] > 0


@needs_compiler
def test_failed_log_ins_are_told_with_the_first_reason(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(holding, "PASSWORD", "wrong")
    outcome = held(generator, tmp_path)
    assert outcome.error == "most sessions are not there: the rest was left out"
    assert "not-authorized" in outcome.first_failure


@needs_compiler
def test_standstill_ends_the_run(generator, tmp_path, monkeypatch):
    monkeypatch.setattr(holding, "STALL_S", 0.5)
    monkeypatch.setattr(Double, "presence", lambda self, session, type: None)  # nobody is ever there
    outcome = held(generator, tmp_path)
    assert outcome.error == "phase 'log-in' stands still: 0 logins, no more for 0 s"


@needs_compiler
def test_end_of_a_node_ends_the_run(generator, tmp_path):
    node = subprocess.Popen(["sleep", "60"])
    killer = threading.Timer(1.5, lambda: (node.kill(), node.wait()))
    killer.start()
    plan = Plan(USERS, 2, minutes=5, messages_per_s=100, mechanism="PLAIN")
    began = time.monotonic()
    with running(USERS, ports=2) as nodes:
        server = Stand(nodes, [node.pid])
        outcome = Holding(plan, server, generator, Console(file=io.StringIO()), DOMAIN).run(tmp_path)
    killer.join()
    assert outcome.error.startswith(f"node 1 ended (process {node.pid})")
    assert time.monotonic() - began < 20
    assert outcome.counts["logins"] == USERS  # what was seen until then is told


@needs_compiler
def test_end_of_a_generator_is_an_error(generator):
    options = {"active": 2, "sample": 2, "rate": 1.0, "pace": 0.0, "parallel": 4}
    with Crew(generator, 64, nodes="127.0.0.1:1", nonsense=1, **options) as crew:
        with pytest.raises(BenchError, match=r"a generator ended \(exit code 2\)"):
            crew.listen(10)


@pytest.mark.parametrize(
    ("arrivals", "window", "expected"),
    [([], 10, []), ([1.0], 10, [1.0]), ([1.0, 2.0, 2.5, 3.0], 2, [1.0, 2.0]),
     ([1.0, 2.0, 2.5, 3.0, 4.0], 2, [1.0, 1.5])],
)  # fmt: skip
def test_rates_are_of_windows_and_the_remainder_belongs_to_the_last(arrivals, window, expected):
    assert (rates(arrivals, 0.0, window) if arrivals else []) == expected


def good():
    outcome = Outcome(Plan(100, 2), 30, counts=dict(GOOD), p50_ms=1.0, p99_ms=99.0, longest_ms=150.0)
    outcome.arrived([10 + number / 200 for number in range(1, 101)], 10.0)
    return outcome


def test_all_is_good_only_if_each_condition_holds():
    assert good().is_good
    assert good().last_rate == pytest.approx(200)


@pytest.mark.parametrize(
    ("name", "value"),
    [("logins", 99), ("failures", 1), ("open", 99), ("dropped", 1), ("presences", 2999), ("presences", 3001),
     ("sampled", 0), ("missing", 1), ("repeated", 1), ("strange", 1), ("departures", 1), ("written", 51),
     ("lost", 1), ("doubled", 1), ("reordered", 1), ("corrupt", 1), ("misrouted", 1)],
)  # fmt: skip
def test_each_count_can_spoil_it(name, value):
    outcome = good()
    outcome.counts[name] = value
    assert not outcome.is_good


def test_slow_log_ins_at_any_time_spoil_it():
    outcome = good()
    outcome.arrived([10 + number / 200 + (1.0 if number > 90 else 0.0) for number in range(1, 101)], 10.0)
    assert min(outcome.rates) < 100
    assert not outcome.is_good


@pytest.mark.parametrize("spoil", [{"p99_ms": 100.0}, {"p99_ms": None}, {"error": "a bus ended"},
                                   {"beyond": 5, "refused": 4}])  # fmt: skip
def test_latency_errors_and_guests_let_in_spoil_it(spoil):
    outcome = good()
    for name, value in spoil.items():
        setattr(outcome, name, value)
    assert not outcome.is_good


@contextmanager
def answering(answer):
    """A listener that says `answer` to everybody; None: it closes at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            kept = []
            for _ in range(capacity.BEYOND):
                sock, _ = listener.accept()
                kept.append(sock)
                if answer is None:
                    sock.close()
                else:
                    sock.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(5)


@pytest.mark.parametrize(("answer", "refused"), [(None, 5), (b"", 5), (b"<stream:features/>", 0)])
def test_who_gets_no_stream_is_refused(answer, refused):
    with answering(answer) as address:
        assert refusals([address]) == (5, refused)


def test_capacity_is_what_the_nodes_say(tmp_path):
    class Speaking(Stand):
        def start(self, setup, folder, users):
            folder.mkdir(exist_ok=True)
            (folder / "bench.log").write_text(
                "n1 | info clients_limited connections=19800 descriptors=20000\n"
                "n2 | info clients_limited connections=500 descriptors=20000\n"
            )

    assert most_sessions(Speaking("x:1"), 2, tmp_path) == 1000
    with pytest.raises(BenchError, match="2 of 3 nodes said"):
        most_sessions(Speaking("x:1"), 3, tmp_path)


def test_figures_and_picture_are_written(tmp_path):
    outcome = good()
    outcome.empty, outcome.full = Memory([1000, 1000], 500, 700), Memory([2000, 1500], 600, 700)
    outcome.login_cpu = Cpu(0.002, 0.0005, 0.0, 0.001)
    for second, p99 in ((10, None), (20, 3.0)):
        outcome.course.append(
            Moment(second, "messages", 100, 5.0, 20, p99, outcome.full, Cpu(0.5, 0.1, 0, 0.1))
        )
    figures = json.loads(hold_output.as_json(outcome))
    assert all(condition["holds"] for condition in figures["conditions"])
    assert figures["course"][1]["p99_ms"] == 3.0
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(hold_output.table(outcome))
    text = " ".join(console.export_text().split())
    assert "memory per session, all there │ 15.0 KiB │ by node: 20.0, 10.0" in text
    assert "CPU per log-in │ 2.5 ms" in text
    assert "p99 3.0 ms" in " ".join(hold_output.line(outcome.course[1]).split())
    hold_output.draw(outcome, tmp_path / "course.png")
    assert (tmp_path / "course.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--sessions", "many"], "neither a number nor max"), (["--sessions", "3"], "at least 64"),
     (["--active", "0%"], "between 0 and 100%"), (["--active", "some"], "1% or 0.01")],
)  # fmt: skip
def test_mistakes_are_told(options, words):
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert words in done.stderr


@needs_compiler
@pytest.mark.cluster
@pytest.mark.slow
def test_a_real_cluster_is_filled_to_its_limit(tmp_path):
    """With 280 descriptors a node takes 80 clients. Only the rate of log-ins is of no account here."""
    figures, picture = tmp_path / "figures.json", tmp_path / "course.png"
    options = ["--sessions", "max", "--nodes", "2", "--minutes", "0.05", "--keep", str(tmp_path),
               "--json", str(figures), "--picture", str(picture)]  # fmt: skip
    limited = ["sh", "-c", 'ulimit -n 280 && exec "$0" "$@"', *COMMAND, *options]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=100, check=False)
    assert "2 nodes may take 160 sessions" in done.stdout, done.stderr
    found = json.loads(figures.read_text("utf-8"))
    assert not [each for each in found["conditions"] if not each["holds"] and "log-ins/s" not in each["text"]]
    assert (found["beyond"], found["refused"], found["counts"]["open"]) == (10, 10, 160)
    assert picture.exists()
