"""Ask a running process over its unix socket: HTTP and JSON, with a limit on the wait."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

from xcluster.shared.config import Config
from xcluster.shared.errors import XclusterError

TIMEOUT_S = 10.0


class AdminError(XclusterError):
    """Nobody answered, or the answer was a refusal; one line for the operator."""


class Unreachable(AdminError):
    """There is no socket, nobody listens on it, or no answer came in time."""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over AF_UNIX."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class AdminClient:
    """The admin API of one process, by its socket."""

    def __init__(self, path: Path, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self.name = path.stem
        self._timeout_s = timeout_s

    def get(self, target: str, **query: str) -> Any:
        pairs = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
        return self._call("GET", f"{target}?{pairs}" if pairs else target)

    def post(self, target: str, body: object) -> Any:
        return self._call("POST", target, json.dumps(body).encode())

    def is_live(self) -> bool:
        """Whether its loop turns: /live is answered within the limit."""
        try:
            status, _ = self._exchange("GET", "/live", None)
        except Unreachable:
            return False
        return status == 200

    def _call(self, method: str, target: str, body: bytes | None = None) -> Any:
        status, data = self._exchange(method, target, body)
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise AdminError(f"{self.name} answered {method} {target} with {status} and no JSON") from error
        if status >= 400:
            reason = answer.get("error", answer) if isinstance(answer, dict) else answer
            raise AdminError(f"{self.name} refused {method} {target}: {status} {reason}")
        return answer

    def _exchange(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        connection = UnixConnection(self.path, self._timeout_s)
        try:
            headers = {"Connection": "close"} | ({"Content-Type": "application/json"} if body else {})
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except TimeoutError as error:
            raise Unreachable(f"{self.name} did not answer on {self.path} in time") from error
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{self.name} does not answer on {self.path}: {error}") from error
        finally:
            connection.close()


def processes(config: Config, kind: str) -> list[dict[str, Any]]:
    """What the ready processes of a kind ("node", "bus") wrote about themselves into run_dir."""
    found = []
    for file in sorted(config.run_dir.glob("*.json")):
        try:
            entry = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError):
            continue  # it ended or is being replaced at this moment
        if isinstance(entry, dict) and entry.get("kind") == kind and entry.get("name") == file.stem:
            found.append(entry)
    return found


def node_sockets(config: Config) -> list[Path]:
    """The admin sockets of this machine's nodes."""
    return [config.run_dir / f"{entry['name']}.sock" for entry in processes(config, "node")]


def any_node(config: Config, timeout_s: float = TIMEOUT_S) -> AdminClient:
    """A node that answers; raises Unreachable when none does."""
    sockets = node_sockets(config)
    for path in sockets:
        if AdminClient(path, min(2.0, timeout_s)).is_live():
            return AdminClient(path, timeout_s)
    tried = f"{len(sockets)} tried" if sockets else "none has left its socket there"
    raise Unreachable(f"no node answers in {config.run_dir} ({tried}); is the cluster running?")
