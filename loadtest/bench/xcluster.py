"""xcluster, as `xcluster up` runs it: one node without a bus, or several with one."""

import json
import subprocess
import sys
from pathlib import Path

from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.servers import (
    CONTACTS,
    DOMAIN,
    PASSWORD,
    Running,
    Setup,
    answers,
    end,
    wait_until,
)

COMMAND = [sys.executable, "-P", "-m", "xcluster.tools.main"]


class Xcluster:
    """Ours."""

    name = "xcluster"
    about = "as `xcluster up` starts it, limits off"
    package = ""
    tells_once = True

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def installed(self) -> bool:
        return True

    def can(self, setup: Setup) -> bool:
        return True

    def start(self, setup: Setup, folder: Path, users: int) -> Running:
        folder = folder / f"{setup.nodes}-{users}"
        folder.mkdir(parents=True, exist_ok=True)
        cluster = folder / "cluster.json"
        cluster.unlink(missing_ok=True)
        with (folder / "bench.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "up", "--nodes", str(setup.nodes), "--buses", str(min(1, setup.nodes - 1)),
                 "--data", str(folder), "--domain", DOMAIN, "--own-ports", "--port", "0", "--tls-port", "0",
                 "--set", "c2s.plain_without_tls=true", "--set", "limits.enabled=false"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        running = Running([self._process.pid], [], [])

        def up() -> bool:
            try:
                found = json.loads(cluster.read_text("utf-8"))
            except (OSError, ValueError):
                return False
            nodes = [process for process in found["processes"] if process["kind"] == "node"]
            running.addresses = [
                f"127.0.0.1:{node['ports']['c2s']}" for node in nodes if "c2s" in node["ports"]
            ]
            running.node_pids = [node["pid"] for node in nodes]
            all_there = bool(found.get("ready")) and len(running.addresses) == setup.nodes
            return all_there and all(map(answers, running.addresses))

        wait_until(up, f"xcluster up (see {folder / 'bench.log'})", self._process)
        provisioned = folder / "provisioned"
        if not provisioned.exists():
            self._provision(folder, users)
            provisioned.touch()
        return running

    def _provision(self, folder: Path, users: int) -> None:
        done = subprocess.run(
            [*COMMAND, "provision", "--data", str(folder), "--users", str(users),
             "--roster", str(CONTACTS), "--password", PASSWORD],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"xcluster provision: {done.stderr.decode(errors='replace')[-500:]}")

    def stop(self) -> None:
        end(self._process, limit_s=20.0)
        self._process = None
