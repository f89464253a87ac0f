"""RFC 3921 §3: the session request of old clients; RFC 6121 made it an empty ceremony."""

from xcluster.node.hooks import OWN, SERVER, Feature, Request, iq
from xcluster.shared import ns


class LegacySession(Feature):
    """Says yes."""

    @iq("set", ns.SESSION, "session", at=(OWN, SERVER))
    def set(self, request: Request) -> bytes:
        return b""
