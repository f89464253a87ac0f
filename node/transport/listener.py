"""(I/O) Accepting clients, within limits."""

import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable
from typing import Any

from xcluster.node.clock import Turns
from xcluster.node.failures import network
from xcluster.shared.errors import ConfigError
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

TURN_ACCEPTS = 64
FULL_PAUSE_S = 0.5  # how long a listener rests when no descriptor is left
TELL_S = 60.0  # operators hear of refusals, or of a rest, at most so often


class Gate:
    """Who may connect: limits per address and for the whole node."""

    def __init__(self, turns: Turns, most: int, per_address: int, rate: float, burst: int) -> None:
        self.most = most
        self._turns = turns
        self._per_address = per_address
        self._rate = rate
        self._burst = burst
        self._open: Counter[str] = Counter()
        self._tokens: dict[str, tuple[float, float]] = {}
        self.count = 0
        self.refused = 0
        self.resting = 0  # listeners that found no descriptor left, in spite of `most`
        self._told_at = -TELL_S

    @property
    def is_full(self) -> bool:
        return self.count >= self.most or self.resting > 0

    def enter(self, address: str) -> bool:
        """Count a new connection; False when it is one too many."""
        address = network(address)
        if not self._may(address):
            self.refused += 1
            if self.is_full:
                self._tell()
            return False
        self.count += 1
        self._open[address] += 1
        return True

    def _may(self, address: str) -> bool:
        if self.is_full:
            return False
        if self._per_address and self._open[address] >= self._per_address:
            return False
        if not self._rate:
            return True
        now = self._turns.now
        tokens, at = self._tokens.get(address, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - at) * self._rate)
        if len(self._tokens) > 50_000:
            self._tokens.clear()
        self._tokens[address] = (max(tokens - 1.0, 0.0), now)
        return tokens >= 1.0

    def _tell(self) -> None:
        if self._turns.now - self._told_at >= TELL_S:
            self._told_at = self._turns.now
            log.warning("clients_refused", extra=kv(most=self.most, refused=self.refused))

    def leave(self, address: str) -> None:
        address = network(address)
        self.count -= 1
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class Listener:
    """A listening socket; all nodes of a machine share its port (SO_REUSEPORT)."""

    def __init__(
        self,
        key: str,
        address: str,
        backlog: int,
        gate: Gate,
        turns: Turns,
        loop: Any,
        accepted: Callable[[socket.socket, str], None],
    ) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            self._sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            self._sock.bind((host, int(port)))
            self._sock.listen(backlog)
        except OSError as error:
            self._sock.close()
            raise ConfigError(key, address, f"cannot be bound: {error.strerror or error}") from error
        self.port: int = self._sock.getsockname()[1]
        self._gate = gate
        self._turns = turns
        self._accepted = accepted
        self._told_at = -TELL_S
        self._watcher = loop.io(self._sock.fileno(), 1)

    def start(self) -> None:
        self._watcher.start(self._ready)

    def _ready(self) -> None:
        for _ in range(TURN_ACCEPTS):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._rest(errno.errorcode[error.errno])
                    return
                raise
            address = peer[0]
            if not self._gate.enter(address):
                sock.close()
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted(sock, address)

    def _rest(self, error: str) -> None:
        """Others of the process have taken the reserve; what has connected waits in the kernel."""
        if self._turns.now - self._told_at >= TELL_S:
            self._told_at = self._turns.now
            log.warning("accept_paused", extra=kv(port=self.port, error=error))
        self._gate.resting += 1
        self._watcher.stop()
        self._turns.after(FULL_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._gate.resting -= 1
        if self._sock.fileno() >= 0:
            self._watcher.start(self._ready)

    def close(self) -> None:
        if self._sock.fileno() >= 0:
            self._watcher.stop()
            self._watcher.close()
            self._sock.close()
