"""Listening ports, kept for the nodes.

The supervisor binds each address and never listens: nobody else can take the port while a node is being
started again, port 0 becomes a real one that all nodes can share, and a port that is taken is noticed before
anything starts. Nodes bind the same address beside it (SO_REUSEPORT); only they are offered connections.
"""

import socket

from xcluster.shared.errors import ConfigError


class KeptPorts:
    """Bound sockets; `close` when no node needs them any more."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []

    def keep(self, key: str, address: str) -> str:
        """Bind HOST:PORT; returns it with the real port. Raises ConfigError naming `key`."""
        host, _, port = address.rpartition(":")
        try:
            if port != "0":
                _refuse_sharing(host, int(port))
            kept = _bound(host, int(port), socket.SO_REUSEPORT)
        except OSError as error:
            raise ConfigError(key, address, f"cannot be listened on: {error.strerror or error}") from error
        self._sockets.append(kept)
        return f"{host}:{kept.getsockname()[1]}"

    def close(self) -> None:
        for kept in self._sockets:
            kept.close()
        self._sockets.clear()


def port_of(address: str) -> int:
    """The port of HOST:PORT."""
    return int(address.rpartition(":")[2])


def host_of(address: str) -> str:
    """The host of HOST:PORT, brackets included."""
    return address.rpartition(":")[0]


def _refuse_sharing(host: str, port: int) -> None:
    """SO_REUSEPORT would let two clusters share a port, each getting some of the other's clients."""
    _bound(host, port, socket.SO_REUSEADDR).close()


def _bound(host: str, port: int, option: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, option, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
