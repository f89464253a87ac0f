"""Where clients connect: the domain, and the address of each node."""

import json
from pathlib import Path
from typing import Literal

import msgspec

from xcluster.shared.errors import ConfigError

Tls = Literal["none", "starttls", "direct"]


class Place(msgspec.Struct, frozen=True):
    """A node as clients see it."""

    name: str
    host: str
    port: int


class Nodes(msgspec.Struct, frozen=True):
    """All that a client must know of a server."""

    domain: str
    places: list[Place]
    tls: Tls = "none"


def parse_places(text: str) -> list[Place]:
    """`host:port,host:port,...`; raises ConfigError."""
    places = []
    for number, address in enumerate(text.split(",")):
        host, colon, port = address.strip().rpartition(":")
        if not colon or not port.isdigit():
            raise ConfigError("--nodes", address, "write host:port,host:port,...")
        places.append(Place(f"node{number + 1}", host.strip("[]"), int(port)))
    return places


def read_cluster(folder: Path, tls: Tls) -> Nodes:
    """The nodes that a running `xcluster up --own-ports` wrote into its folder; raises ConfigError."""
    file = folder / "cluster.json"
    try:
        cluster = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError("--data", str(folder), f"holds no cluster.json to read ({error})") from error
    name = "c2s_tls" if tls == "direct" else "c2s"
    places = [
        Place(process["name"], "127.0.0.1", int(process["ports"][name]))
        for process in cluster["processes"]
        if process["kind"] == "node" and name in process.get("ports", {})
    ]
    if not places:
        raise ConfigError(
            "--data", str(folder), "its nodes have no ports of their own: start it with --own-ports"
        )
    return Nodes(cluster["domain"], places, tls)
