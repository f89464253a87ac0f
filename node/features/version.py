"""XEP-0092: Software Version, of the domain."""

from xcluster.node.hooks import Feature, Request, Xep, iq
from xcluster.shared import ns
from xcluster.shared.stanza import escape


class Version(Feature):
    """The operating system is not told: §5 lets us keep it to ourselves."""

    xeps = (Xep(92, "Software Version"),)
    server_features = (ns.VERSION,)

    def __init__(self, version: str) -> None:
        name = f"<name>xcluster</name><version>{escape(version)}</version>"
        self._answer = f"<query xmlns='{ns.VERSION}'>{name}</query>".encode()

    @iq("get", ns.VERSION, "query")
    def version(self, request: Request) -> bytes:
        """Name and version (§2)."""
        return self._answer
