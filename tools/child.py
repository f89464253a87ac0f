"""One process under supervision: how it is started, what it prints, whether it is ready, its pulse."""

import collections
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from xcluster.tools.admin_client import AdminClient, AdminError
from xcluster.tools.pulse import PULSE_TIMEOUT_S, Pulse

State = Literal["waiting", "starting", "ready", "ended"]

_TAIL_LINES = 20


def xcluster_command(*arguments: str) -> list[str]:
    """How to start one of our processes, so that it ends when we do."""
    return [sys.executable, "-P", "-m", "xcluster.tools.main", *arguments, "--parent", str(os.getpid())]


class Backoff:
    """Pauses before starting again: 0.2 s, doubling up to 5 s; as new after 30 s of life."""

    FIRST_S, LONGEST_S, PROVED_S = 0.2, 5.0, 30.0

    def __init__(self) -> None:
        self._next_s = self.FIRST_S

    def after(self, lived_s: float) -> float:
        """The pause after a life of so many seconds."""
        if lived_s >= self.PROVED_S:
            self._next_s = self.FIRST_S
        pause = self._next_s
        self._next_s = min(2 * pause, self.LONGEST_S)
        return pause


class Child:
    """A bus or a node. Its owner calls `start`, then `poll` again and again, from one thread.

    `start` must be called by the main thread: the child ends with the thread that started it (prctl(2)).
    """

    def __init__(
        self, kind: str, name: str, command: list[str], run_dir: Path, ports: dict[str, int],
        show: Callable[[str, str], None], watch_sessions: bool = False,
    ) -> None:  # fmt: skip
        self.kind = kind
        self.name = name
        self.state: State = "waiting"
        self.start_at = 0.0  # when waiting: not before
        self.started_at = 0.0
        self.backoff = Backoff()
        self.tail: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
        self.sessions: int | None = None
        self._command = command
        self._ready_file = run_dir / f"{name}.json"
        self._admin = AdminClient(run_dir / f"{name}.sock", PULSE_TIMEOUT_S)
        self._ports = ports
        self._show = show
        self._watch_sessions = watch_sessions
        self._process: subprocess.Popen[bytes] | None = None
        self._pulse: Pulse | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, now: float) -> None:
        self._ready_file.unlink(missing_ok=True)  # of an earlier life
        self.tail.clear()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for us; we end the others in order
        )
        self._reader = threading.Thread(target=self.run_output, args=(self._process,), daemon=True)
        self._reader.start()
        self.state, self.started_at, self.sessions = "starting", now, None

    def poll(self) -> int | None:
        """Notice readiness; returns the exit code once it has ended (negative: by a signal)."""
        assert self._process is not None
        code = self._process.poll()
        if code is not None:
            self._gone()
        elif self.state == "starting" and self._reads_ready():
            self.state = "ready"
            self._pulse = Pulse(self._ask)
        return code

    def is_still(self, now: float) -> bool:
        return self._pulse is not None and self._pulse.is_still(now)

    def signal(self, number: int) -> None:
        """Send a signal; one that has ended already is fine. A stopped process is woken to see it."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
                self._process.send_signal(signal.SIGCONT)

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def entry(self) -> dict[str, Any]:
        """What cluster.json says about it."""
        own = self._said().get("ports", {}) if self.state == "ready" else {}
        ports = {**own, **self._ports}
        return {
            "kind": self.kind, "name": self.name, "pid": self.pid, "ready": self.state == "ready",
            "ports": {name: port for name, port in ports.items() if port},
        }  # fmt: skip

    def run_output(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what it prints, line by line, until it closes its output."""
        assert process.stdout is not None
        with process.stdout as output:
            for data in output:
                line = data.decode("utf-8", "replace").rstrip("\n")
                self.tail.append(line)
                self._show(self.name, line)

    def _gone(self) -> None:
        self.state = "ended"
        self.sessions = None
        if self._pulse is not None:
            self._pulse.stop()
            self._pulse = None
        if self._reader is not None:
            self._reader.join(1.0)  # its last words; a grandchild may hold the pipe open
        self._ready_file.unlink(missing_ok=True)

    def _reads_ready(self) -> bool:
        return self._said().get("pid") == self.pid

    def _said(self) -> dict[str, Any]:
        try:
            said = json.loads(self._ready_file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}  # not there yet, or not yet whole
        return said if isinstance(said, dict) else {}

    def _ask(self) -> bool:
        if not self._watch_sessions:
            return self._admin.is_live()
        try:
            self.sessions = self._admin.get("/api/status")["sessions"]
        except (AdminError, KeyError, TypeError):
            return self._admin.is_live()
        return True
