"""The folder of a local cluster: what `xcluster up` writes there and other commands read.

DIR/xcluster.toml   everything that a node or a command needs to know; rewritten by every `up`
DIR/cluster.json    the processes there are, from the time when all are ready until the end
DIR/run/            sockets, and what each process says about itself (or a short folder elsewhere)
DIR/up.lock         held, with our process id in it, while an `up` works on this folder
DIR/xcluster.db, cert.pem, key.pem
"""

import fcntl
import json
import os
import shutil
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Self

from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError, XclusterError
from xcluster.tools import toml
from xcluster.tools.options import CONFIG_NAME

_MAX_SOCKET_PATH = 107  # sun_path of unix(7), less its final zero
_LONGEST_NAME = 24  # of a socket within the run folder
_SHORT_PREFIX = "xcluster-"

_HEADER = """\
# Written by `xcluster up`, anew each time it starts. To change a setting give `xcluster up` your own file
# (--config FILE) or --set SECTION.KEY=VALUE. All keys: conf/xcluster.toml, or `xcluster config show`.

"""


class ClusterDir:
    """A folder that one `up` owns; use it as a context manager, which takes and releases the lock."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.config_file = self.path / CONFIG_NAME
        self.cluster_file = self.path / "cluster.json"
        self._short: Path | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(self.path / "up.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise ConfigError("--data", str(self.path), f"cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip()
            os.close(self._lock)
            raise XclusterError(f"{self.path}: process {pid} already runs this cluster") from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self.cluster_file.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._lock is not None
        self.cluster_file.unlink(missing_ok=True)
        if self._short is not None:
            self._remove_short(self._short)
        os.close(self._lock)

    def previous(self) -> dict[str, Any]:
        """The tables that the last `up` wrote here; empty when there was none."""
        try:
            return tomllib.loads(self.config_file.read_text("utf-8"))
        except (OSError, ValueError):
            return {}

    def make_run_dir(self) -> Path:
        """A folder for sockets, empty, whose path is short enough for them."""
        self._remove_short(Path(self.previous().get("server", {}).get("run_dir", "")))
        run_dir = self.path / "run"
        if len(os.fsencode(run_dir)) + 1 + _LONGEST_NAME > _MAX_SOCKET_PATH:
            self._short = run_dir = Path(tempfile.mkdtemp(prefix=_SHORT_PREFIX))
        run_dir.mkdir(mode=0o700, exist_ok=True)
        for left_over in run_dir.iterdir():
            if not left_over.is_dir():
                left_over.unlink()
        return run_dir

    def _remove_short(self, run_dir: Path) -> None:
        """Remove a short folder that we made, or that an `up` made that was killed; nothing else."""
        if run_dir.name.startswith(_SHORT_PREFIX) and run_dir.parent == Path(tempfile.gettempdir()):
            shutil.rmtree(run_dir, ignore_errors=True)

    def write_config(self, config: Config) -> None:
        self._replace(self.config_file, _HEADER + toml.dumps(toml.changed(config)))

    def write_cluster(self, domain: str, ready: bool, processes: list[dict[str, Any]]) -> None:
        cluster = {"domain": domain, "ready": ready, "processes": processes}
        self._replace(self.cluster_file, json.dumps(cluster, indent=2) + "\n")

    def _replace(self, path: Path, text: str) -> None:
        fresh = path.with_name(f".{path.name}.fresh")
        fresh.write_text(text, "utf-8")
        fresh.chmod(0o600)
        os.replace(fresh, path)
