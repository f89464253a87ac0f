"""Real clusters for tests: `xcluster up` in a folder of its own, asked over its admin sockets."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from xcluster.tools.admin_client import AdminClient
from xcluster.tools.options import resolve

T = TypeVar("T")

PR_SET_PDEATHSIG = 1  # prctl(2)


def eventually(claim: Callable[[], T], seconds: float = 10.0, every: float = 0.05) -> T:
    """Wait until `claim` gives something true; on giving up show what it gave last."""
    deadline = time.monotonic() + seconds
    while True:
        result = claim()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; last seen: {result!r}")
        time.sleep(every)


def end_with_us() -> None:
    """In a child: get SIGTERM when the thread that made it ends, so that an aborted test leaves nothing."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class RunningCluster:
    """`xcluster up` as a process of ours."""

    def __init__(
        self,
        folder: Path,
        nodes: int = 3,
        buses: int = 1,
        domain: str = "test.example",
        settings: tuple[str, ...] = (),
        store: str = "",
        restart: bool = False,
    ) -> None:
        self.folder = folder
        self.domain = domain
        self._log = folder.with_name(folder.name + ".log")
        command = [
            sys.executable,
            "-m",
            "xcluster.tools.main",
            "up",
            "--nodes",
            str(nodes),
            "--buses",
            str(buses),
        ]
        command += [
            "--data",
            str(folder),
            "--domain",
            domain,
            "--own-ports",
            "--port",
            "0",
            "--tls-port",
            "0",
        ]
        command += [] if restart else ["--no-restart"]
        command += ["--store", store] if store else []
        for setting in (
            "limits.enabled=false",
            "c2s.plain_without_tls=true",
            "admin.test_hooks=true",
            *settings,
        ):
            command += ["--set", setting]
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, preexec_fn=end_with_us
            )
        try:
            eventually(self._is_ready, 40.0)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log()}") from None

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, self.log()
        try:
            return bool(self.state()["ready"])
        except (OSError, ValueError, KeyError):
            return False

    def state(self) -> dict[str, Any]:
        """cluster.json."""
        result: dict[str, Any] = json.loads((self.folder / "cluster.json").read_text())
        return result

    def log(self) -> str:
        """The last lines of what all processes wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-60:])

    def process(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(p for p in self.state()["processes"] if p["name"] == name)
        return found

    def port(self, node: str, kind: str = "c2s") -> int:
        return int(self.process(node)["ports"][kind])

    def admin(self, node: str = "n1") -> AdminClient:
        """The admin API of a node."""
        return AdminClient(resolve(str(self.folder), None, ()).run_dir / f"{node}.sock")

    def status(self, node: str = "n1") -> dict[str, Any]:
        result: dict[str, Any] = self.admin(node).get("/api/status")
        return result

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """Send a signal to one process of this cluster."""
        os.kill(self.process(name)["pid"], number)

    def command(self, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run `xcluster ARGUMENTS --data FOLDER`."""
        line = [sys.executable, "-m", "xcluster.tools.main", *arguments, "--data", str(self.folder)]
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False)

    def provision(self, users: int, roster: int = 30, password: str = "secret") -> None:
        """user0 .. with ring neighbours as contacts."""
        done = self.command(
            "provision", "--users", str(users), "--roster", str(roster), "--password", password
        )
        assert done.returncode == 0, done.stderr

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5.0)
