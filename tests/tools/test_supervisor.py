"""Supervision, over processes that act like nodes and buses (acting.py)."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xcluster.tools.child import Backoff
from xcluster.tools.supervisor import exit_text

ACTING = Path(__file__).with_name("acting.py")
LIMIT_S = 20.0


class Supervised:
    """A running supervisor; what it says is read when it has ended."""

    def __init__(self, folder, *options):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, str(ACTING), "supervise", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def entries(self):
        """cluster.json, by name; {} until it is there."""
        try:
            cluster = json.loads((self.folder / "cluster.json").read_text())
        except FileNotFoundError:
            return {}
        return {entry["name"]: entry for entry in cluster["processes"]} | {"": cluster}

    def until(self, claim):
        """The entries for which `claim` holds."""
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            entries = self.entries()
            if entries and claim(entries):
                return entries
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        pytest.fail(f"not so: {self.entries()}; exit code {self.process.poll()}")

    def ready(self):
        return self.until(lambda entries: entries[""]["ready"])

    def end(self, number=signal.SIGTERM):
        """Exit code and output."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        output, _ = self.process.communicate(timeout=LIMIT_S)
        return self.process.returncode, output


@pytest.fixture
def supervise(tmp_path):
    started = []

    def start(*options):
        started.append(Supervised(tmp_path / "cluster", *options))
        return started[-1]

    yield start
    for supervised in started:
        if supervised.process.poll() is None:
            supervised.end()


def is_gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_cluster_file_names_every_process_once(supervise):
    supervised = supervise("b1=", "n1=", "n2=")
    entries = supervised.ready()
    cluster = entries.pop("")
    assert cluster["domain"] == "example.org"
    assert [(entry["kind"], entry["name"]) for entry in cluster["processes"]] == [
        ("supervisor", "up"), ("bus", "b1"), ("node", "n1"), ("node", "n2"),
    ]  # fmt: skip
    assert entries["up"]["pid"] == supervised.process.pid
    assert entries["n1"]["ports"] == {"c2s": 5222, "admin": 9}
    assert len({entry["pid"] for entry in entries.values()}) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_end_signal_ends_all_and_leaves_nothing(supervise, number):
    supervised = supervise("b1=", "n1=")
    pids = [entry["pid"] for name, entry in supervised.ready().items() if name]
    code, output = supervised.end(number)
    assert code == 0
    assert "n1  | n1 starts" in output
    assert all(is_gone(pid) for pid in pids)
    assert not (supervised.folder / "cluster.json").exists()


def test_process_that_died_is_started_again(supervise):
    supervised = supervise("b1=", "n1=")
    first = supervised.ready()["n1"]["pid"]
    os.kill(first, signal.SIGKILL)
    supervised.until(lambda entries: not entries[""]["ready"])
    entries = supervised.ready()
    assert entries["n1"]["pid"] != first
    code, output = supervised.end()
    assert code == 0
    assert "n1 ended with SIGKILL; it is started again in 0.2 s" in output


def test_process_that_stands_still_is_killed_and_started_again(supervise):
    supervised = supervise("n1=")
    first = supervised.ready()["n1"]["pid"]
    os.kill(first, signal.SIGSTOP)
    supervised.until(lambda entries: entries.get("n1", {}).get("pid", first) != first)
    supervised.ready()
    assert "n1 stands still" in supervised.end()[1]
    assert is_gone(first)


def test_without_restart_the_dead_stay_dead(supervise):
    supervised = supervise("--no-restart", "b1=", "n1=", "n2=")
    os.kill(supervised.ready()["n1"]["pid"], signal.SIGKILL)
    entries = supervised.until(lambda entries: "n1" not in entries)
    assert set(entries) == {"", "up", "b1", "n2"}
    code, output = supervised.end()
    assert code == 0
    assert "n1 ended with SIGKILL; it is not started again" in output


def test_process_that_ignores_the_end_is_killed(supervise):
    supervised = supervise("n1=deaf")
    pid = supervised.ready()["n1"]["pid"]
    code, output = supervised.end()
    assert code == 0
    assert "n1 did not end within" in output
    assert is_gone(pid)


def test_operators_mistake_ends_the_start_and_is_shown(supervise):
    code, output = supervise("b1=", "n1=", "n2=mistake").ended()
    assert code == 2
    assert "n2 ended with exit code 2 while it started; its last lines:" in output
    assert "    xcluster: early.window = 1: is not a key" in output


def test_process_that_does_not_come_up_is_named_with_its_last_lines(supervise):
    code, output = supervise("--impatient", "b1=", "n1=silent").ended()
    assert code == 1
    assert "n1 was not ready within 0.5 s; its last lines:" in output
    assert "    n1 starts" in output


def test_second_supervisor_of_a_folder_is_refused(supervise):
    first = supervise("n1=")
    first.ready()
    second = supervise("n1=")
    code, output = second.ended()
    assert code == 1
    assert f"process {first.process.pid} already runs this cluster" in output
    assert first.entries()[""]["ready"]


def test_pauses_double_up_to_a_limit_and_start_anew_after_a_good_life():
    backoff = Backoff()
    assert [backoff.after(0.1) for _ in range(7)] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert backoff.after(30.0) == 0.2
    assert backoff.after(1.0) == 0.4


@pytest.mark.parametrize(("code", "text"), [(0, "exit code 0"), (2, "exit code 2"), (-9, "SIGKILL")])
def test_exit_is_named(code, text):
    assert exit_text(code) == text
