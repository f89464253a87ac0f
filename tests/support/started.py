"""A node started by hand beside `xcluster up`, as an operator would."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.cluster import RunningCluster, eventually
from xcluster.tools.options import resolve


def start_node(cluster: RunningCluster, name: str, *settings: str) -> list[str]:
    """The command line of `xcluster start-node` for this cluster."""
    line = [sys.executable, "-P", "-m", "xcluster.tools.main", "start-node", "--name", name]
    line += ["--config", str(cluster.folder / "xcluster.toml"), "--parent", str(os.getpid())]
    for setting in settings:
        line += ["--set", setting]
    return line


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a process of ours to end; kill it when it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(20.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5.0)


class StartedNode:
    """One node; use it as a context manager. It is ready when the constructor returns."""

    def __init__(self, cluster: RunningCluster, name: str, *settings: str) -> None:
        self._state = resolve(str(cluster.folder), None, ()).run_dir / f"{name}.json"
        self.log = cluster.folder.with_name(f"{name}.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(start_node(cluster, name, *settings), stdout=log, stderr=log)
        self.said: dict[str, Any] = eventually(self._is_ready, 30.0, 0.01)
        self.ready_at = time.monotonic()

    def _is_ready(self) -> dict[str, Any] | None:
        assert self.process.poll() is None, Path(self.log).read_text()
        try:
            said: dict[str, Any] = json.loads(self._state.read_text())
        except (OSError, ValueError):
            return None
        return said if said["pid"] == self.process.pid else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self.process)
