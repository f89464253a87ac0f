"""XEP-0115: Entity Capabilities, the server's own (§6.3).

Clients' capabilities pass through in their presence. node/features/disco.py answers what ours stand for.
"""

from collections.abc import Callable, Sequence

from xcluster.node.hooks import Feature, Xep
from xcluster.node.information import Information, of_server
from xcluster.shared import ns
from xcluster.shared.stanza import attribute

URI = "https://xcluster.invalid/"


def node_of(information: Information) -> str:
    """The disco#info node under which this information is asked for (§6.2)."""
    return f"{URI}#{information.verification()}"


class Caps(Feature):
    """`features` tells all that there are, this one included."""

    xeps = (Xep(115, "Entity Capabilities"),)
    server_features = (ns.CAPS,)

    def __init__(self, features: Callable[[], Sequence[Feature]]) -> None:
        self._features = features

    def stream_features(self) -> bytes:
        """So that clients that know the hash need not ask (§6.3)."""
        ver = attribute("ver", of_server(self._features()).verification())
        return f"<c xmlns='{ns.CAPS}' hash='sha-1' node='{URI}'".encode() + ver + b"/>"
