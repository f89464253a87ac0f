"""How many clients nodes may take by their own word, and what becomes of those beyond (I/O)."""

import contextlib
import re
import socket
import time
from pathlib import Path

from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.servers import CONTACTS, DOMAIN, Server, Setup

BEYOND = 5  # connections that are tried on each node when it is full
REFUSAL_S = 3.0
HEADER = (
    f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' "
    "xmlns:stream='http://etherx.jabber.org/streams'>"
).encode()


def most_sessions(server: Server, nodes: int, folder: Path) -> int:
    """What so many nodes can hold, by what each says of its own limit when it starts."""
    folder = folder / "limit"
    for log in folder.rglob("bench.log"):
        log.unlink()
    try:
        server.start(Setup(nodes=nodes), folder, CONTACTS + 2)
    finally:
        server.stop()
    said = "".join(log.read_text("utf-8") for log in folder.rglob("bench.log"))
    limits = [int(most) for most in re.findall(r"clients_limited connections=(\d+)", said)]
    if len(limits) < nodes:
        raise BenchError(f"{len(limits)} of {nodes} nodes said how many clients they may take (see {folder})")
    return nodes * min(limits)


def refusals(addresses: list[str]) -> tuple[int, int]:
    """Connections tried on full nodes, and how many of them got no stream: closed, reset or left waiting."""
    tried: list[socket.socket] = []
    refused = 0
    for address in addresses:
        host, _, port = address.rpartition(":")
        for _ in range(BEYOND):
            sock = socket.socket()
            sock.settimeout(REFUSAL_S)
            tried.append(sock)
            with contextlib.suppress(OSError):
                sock.connect((host, int(port)))
                sock.sendall(HEADER)
    time.sleep(REFUSAL_S)
    for sock in tried:
        sock.setblocking(False)
        try:
            answer = sock.recv(4096)
        except OSError:
            answer = b""
        refused += b"<stream:features" not in answer
        sock.close()
    return len(tried), refused
