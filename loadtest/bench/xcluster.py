"""xcluster, as `xcluster up` runs it: one node without a bus, or several with one."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.servers import CONTACTS, DOMAIN, PASSWORD, Running, Setup, answers, end, wait_until


def command() -> str | None:
    """The `xcluster` that belongs to this interpreter, or the one on the path."""
    beside = Path(sys.executable).with_name("xcluster")
    return str(beside) if beside.exists() else shutil.which("xcluster")


class Xcluster:
    """Ours."""

    name = "xcluster"

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def installed(self) -> bool:
        return command() is not None

    def can(self, setup: Setup) -> bool:
        return setup.passwords == "hashed"

    def start(self, setup: Setup, folder: Path, users: int) -> Running:
        folder.mkdir(parents=True, exist_ok=True)
        cluster = folder / "cluster.json"
        cluster.unlink(missing_ok=True)
        with (folder / "bench.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(command()), "up", "--nodes", str(setup.nodes), "--buses", str(min(1, setup.nodes - 1)),
                 "--data", str(folder), "--domain", DOMAIN, "--own-ports",
                 "--set", "c2s.plain_without_tls=true", "--set", "limits.enabled=false"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        running = Running(self._process.pid, [], [])

        def up() -> bool:
            try:
                nodes = [
                    process
                    for process in json.loads(cluster.read_text("utf-8"))["processes"]
                    if process["kind"] == "node" and "c2s" in process.get("ports", {})
                ]
            except (OSError, ValueError):
                return False
            running.addresses = [f"127.0.0.1:{node['ports']['c2s']}" for node in nodes]
            running.node_pids = [node["pid"] for node in nodes]
            return len(nodes) == setup.nodes and all(map(answers, running.addresses))

        wait_until(up, f"xcluster up (see {folder / 'bench.log'})", self._process)
        provisioned = folder / f"provisioned-{users}"
        if not provisioned.exists():
            self._provision(folder, users)
            provisioned.touch()
        return running

    def _provision(self, folder: Path, users: int) -> None:
        done = subprocess.run(
            [str(command()), "provision", "--data", str(folder), "--users", str(users),
             "--roster", str(CONTACTS), "--password", PASSWORD],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BenchError(f"xcluster provision: {done.stderr.decode(errors='replace')[-500:]}")

    def stop(self) -> None:
        end(self._process)
        self._process = None
