"""Drives locust as a library (I/O): one scenario in this process, its report, locust's HTML page.

Several processes: this one starts the others as its own command line with a part each, and adds up what
they found. Import it only into a process that may be patched by gevent.
"""

import logging
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gevent
import msgspec
from locust import stats
from locust.env import Environment
from locust.html import get_html_report

from xcluster.loadtest.chat import Chat
from xcluster.loadtest.classic import Classic
from xcluster.loadtest.presence import Presence
from xcluster.loadtest.report import Report
from xcluster.loadtest.user import Options, Scenario

SCENARIOS: dict[str, type[Scenario]] = {each.name: each for each in (Classic, Chat, Presence)}
PROGRESS_S = 2.0
START = [sys.executable, "-P", "-m", "xcluster.loadtest"]

Say = Callable[[str], None]


def run(name: str, options: Options, say: Say) -> tuple[Report, Environment]:
    """Run a scenario without locust's page."""
    allow_many_sockets()
    # It would warn of spawn rates above 100; our users are light.
    logging.getLogger("locust.runners").setLevel(logging.ERROR)
    environment = Environment(reset_stats=False)
    scenario = SCENARIOS[name](options, environment)
    environment.user_classes = [scenario.user_class(options, lambda: scenario)]
    runner = environment.create_local_runner()
    history = gevent.spawn(stats.stats_history, runner)
    progress = gevent.spawn(run_progress, scenario, say)
    try:
        scenario.begin()
        runner.start(scenario.count, scenario.spawn_rate, wait=False)
        scenario.wait()
        scenario.end()
        runner.stop()
        scenario.finish()
    finally:
        history.kill()
        progress.kill()
        runner.quit()
    return scenario.report, environment


def allow_many_sockets() -> None:
    """Each client is a descriptor; take as many as we may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run_progress(scenario: Scenario, say: Say) -> None:
    began = time.monotonic()
    while True:
        gevent.sleep(PROGRESS_S)
        say(f"{time.monotonic() - began:5.0f} s: {scenario.line()}")


def write_html(environment: Environment, folder: Path, name: str) -> Path:
    """locust's report."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.html"
    page = get_html_report(environment, show_download_link=False)  # type: ignore[no-untyped-call]
    file.write_text(page, "utf-8")
    return file


class Share(msgspec.Struct):
    """What a further process found."""

    report: Report
    stats: list[dict[str, Any]]
    errors: list[tuple[str, str, str, int]]


def write_share(file: Path, report: Report, environment: Environment) -> None:
    entries = [_plain(entry.serialize()) for entry in environment.stats.entries.values()]
    errors = [
        (error.method, error.name, str(error.error), error.occurrences)
        for error in environment.stats.errors.values()
    ]
    file.write_bytes(msgspec.msgpack.encode(Share(report, entries, errors)))


def _plain(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dict(value) if isinstance(value, dict) else value for key, value in entry.items()}


class Helpers:
    """The further processes of a run, and what they bring."""

    def __init__(self, command: list[str], parts: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="xcluster-loadtest-")
        self._files = [Path(self._folder.name) / f"part{part}" for part in range(1, parts)]
        self._processes = [
            subprocess.Popen([*START, *command, "--part", str(part), "--share", str(file)])
            for part, file in enumerate(self._files, start=1)
        ]

    def add_up(self, report: Report, environment: Environment) -> None:
        """Wait for all, add their reports and statistics to ours."""
        for process, file in zip(self._processes, self._files, strict=True):
            process.wait()
            if not file.exists():
                report.failures["helper process"] = report.failures.get("helper process", 0) + 1
                continue
            share = msgspec.msgpack.decode(file.read_bytes(), type=Share)
            report.merge(share.report)
            for fields in share.stats:
                entry = stats.StatsEntry(environment.stats, fields.pop("name"), fields.pop("method"))
                for key, value in fields.items():
                    setattr(entry, key, value)
                environment.stats.get(entry.name, entry.method).extend(entry)
                environment.stats.total.extend(entry)
            for method, name, error, occurrences in share.errors:
                known = environment.stats.errors.setdefault(
                    f"{method} {name} {error}", stats.StatsError(method, name, error, 0)
                )
                known.occurrences += occurrences

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
                process.wait()
        self._folder.cleanup()
