"""A private PostgreSQL for tests: its own folder, socket and loopback port, gone with the session (I/O)."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_START_S = 20.0


class Postgres:
    """One server, run by an ordinary user even when the tests are run by root."""

    def __init__(self) -> None:
        self._bin = find_binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="xcluster-pg-"))
        self.port = _free_port()
        self._as_user = _unprivileged()
        self._server: subprocess.Popen[bytes] | None = None
        if self._as_user:
            shutil.chown(self.folder, "postgres" if _exists("postgres") else "nobody")
        options = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", str(self.folder / "data"), *options)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_connections": "100",
            "shared_buffers": "32MB",
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self.log_file, "ab") as log:
            self._server = subprocess.Popen(
                [*self._as_user, self._bin / "postgres", "-D", str(self.folder / "data"), *arguments],
                stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        end = time.monotonic() + _START_S
        ready = [self._bin / "pg_isready", "-q", "-h", str(self.folder), "-p", str(self.port)]
        while subprocess.call(ready) != 0:
            if self._server.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server. SIGINT: a fast shutdown; SIGQUIT: as if it had crashed."""
        if self._server is not None:
            # The child may be setpriv's successor: exec kept its pid, so this is the postmaster.
            os.kill(self._server.pid, how)
            self._server.wait(timeout=_START_S)
            self._server = None

    def kill(self) -> None:
        """End it without a goodbye; it recovers at the next start."""
        self.stop(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop it and delete its files."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.log_file.unlink(missing_ok=True)

    @property
    def log_file(self) -> Path:
        return self.folder.parent / f"{self.folder.name}.log"

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace")

    def create_database(self, name: str) -> str:
        """A fresh database; returns its URL."""
        self._run("createdb", "-h", str(self.folder), "-p", str(self.port), "-U", "postgres", name)
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_user, str(self._bin / program), *arguments]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{program} failed: {done.stderr}")


def find_binaries() -> Path:
    """The newest PostgreSQL's programs; raises FileNotFoundError."""
    newest = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True
    )
    for program in [*newest, shutil.which("initdb")]:
        if program is not None:
            return Path(program).parent
    raise FileNotFoundError("no PostgreSQL programs: install Debian's package postgresql")


def _unprivileged() -> list[str]:
    """PostgreSQL refuses to run as root: what to put before its commands then."""
    if os.geteuid() != 0:
        return []
    user = "postgres" if _exists("postgres") else "nobody"
    return ["setpriv", f"--reuid={user}", f"--regid={_group(user)}", "--clear-groups", "--"]


def _exists(user: str) -> bool:
    return any(entry.pw_name == user for entry in pwd.getpwall())


def _group(user: str) -> str:
    return str(pwd.getpwnam(user).pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
