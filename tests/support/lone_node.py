"""A node beside `xcluster up`: with settings of its own, such as another way to the bus."""

import json
import subprocess
import sys
from typing import Any

from tests.support.cluster import RunningCluster, eventually
from xcluster.tools.admin_client import AdminClient
from xcluster.tools.options import resolve


class LoneNode:
    """`xcluster start-node` as a process of ours, in the folder of a running cluster."""

    def __init__(self, cluster: RunningCluster, name: str, *settings: str) -> None:
        self.name = name
        self.run_dir = resolve(str(cluster.folder), None, ()).run_dir
        self._log = cluster.folder.with_name(f"{cluster.folder.name}.{name}.log")
        command = [sys.executable, "-m", "xcluster.tools.main", "start-node", "--name", name]
        command += ["--config", str(cluster.folder / "xcluster.toml")]
        for setting in ('c2s.listen=["127.0.0.1:0"]', "c2s.listen_tls=[]", *settings):
            command += ["--set", setting]
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually(self._is_ready, 40.0)
        except AssertionError as error:
            self.stop()
            raise AssertionError(f"{error}\n{self.log()}") from None

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log()
        return self.said().get("pid") == self.process.pid

    def said(self) -> dict[str, Any]:
        """What it wrote about itself when it was ready."""
        try:
            result: dict[str, Any] = json.loads((self.run_dir / f"{self.name}.json").read_text())
        except (OSError, ValueError):
            return {}
        return result

    def log(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-40:])

    @property
    def port(self) -> int:
        return int(self.said()["ports"]["c2s"])

    def status(self) -> dict[str, Any]:
        result: dict[str, Any] = AdminClient(self.run_dir / f"{self.name}.sock").get("/api/status")
        return result

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5.0)
