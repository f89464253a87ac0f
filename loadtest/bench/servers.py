"""What the bench needs of a server: a private instance on loopback, with users (I/O)."""

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from xcluster.loadtest.bench.generator import BenchError

DOMAIN = "bench.test"
PASSWORD = "secret"
CONTACTS = 30
START_S = 60.0

Passwords = Literal["hashed", "clear"]  # how peers keep them; ours keeps SCRAM keys always


class Setup(msgspec.Struct, frozen=True):
    """How a server is to run."""

    nodes: int = 1
    passwords: Passwords = "clear"


SINGLE, HASHED, TWO, THREE = Setup(), Setup(passwords="hashed"), Setup(nodes=2), Setup(nodes=3)


class Running(msgspec.Struct):
    """A server that runs."""

    roots: list[int]  # the processes whose trees are measured
    addresses: list[str]  # host:port of each node, STARTTLS offered
    node_pids: list[int]


class Server(Protocol):
    """One of the servers to compare."""

    name: str
    about: str  # its version, where known, and settings that matter
    package: str  # of Debian
    tells_once: bool  # of presence, also when contacts log in at the same moment

    def installed(self) -> bool: ...

    def can(self, setup: Setup) -> bool: ...

    def start(self, setup: Setup, folder: Path, users: int) -> Running:
        """Start with user0 .. userN-1 and their ring rosters; `folder` may hold them from before."""

    def stop(self) -> None: ...


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=1):
            return True
    except OSError:
        return False


def wait_until(claim: Callable[[], bool], what: str, process: "subprocess.Popen[bytes]") -> None:
    """Poll; raises BenchError when the process ends or time runs out."""
    until = time.monotonic() + START_S
    while not claim():
        if process.poll() is not None:
            raise BenchError(f"{what}: ended with exit code {process.returncode}")
        if time.monotonic() > until:
            raise BenchError(f"{what}: did not come up within {START_S:.0f} s")
        time.sleep(0.1)


def end(process: "subprocess.Popen[bytes] | None", limit_s: float = 5.0) -> None:
    """Ask it to end; kill it when it does not."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Self-signed, ECDSA P-256 as ours: certificate and key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    if not certificate.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "30", "-subj", f"/CN={DOMAIN}", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
    return certificate, key
