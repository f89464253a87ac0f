"""XEP-0030: Service Discovery, for the domain and on behalf of accounts.

Answers are the same bytes from every node: sorted, and nothing in them names a node.
"""

from collections.abc import Callable, Sequence

from xcluster.node import information
from xcluster.node.directory import Directory
from xcluster.node.features import caps
from xcluster.node.hooks import ACCOUNT, OWN, Feature, Request, Xep, iq
from xcluster.node.rosters import Rosters
from xcluster.node.visibility import may_see
from xcluster.shared import ns
from xcluster.shared.errors import StanzaError
from xcluster.shared.stanza import attribute


class Disco(Feature):
    """`features` tells all that there are, this one included: it is asked with each request."""

    xeps = (Xep(30, "Service Discovery"),)
    server_features = (ns.DISCO_INFO, ns.DISCO_ITEMS)
    account_features = (ns.DISCO_INFO, ns.DISCO_ITEMS)

    def __init__(
        self, features: Callable[[], Sequence[Feature]], directory: Directory, rosters: Rosters
    ) -> None:
        self._features = features
        self._directory = directory
        self._rosters = rosters

    @iq("get", ns.DISCO_INFO, "query")
    def server_info(self, request: Request) -> bytes:
        """Of the domain (§3.1), also by the node that its capabilities name (XEP-0115 §6.2)."""
        node = request.payload.get("node")
        known = information.of_server(self._features())
        if node and node != caps.node_of(known):
            raise _no_such_node()
        return known.payload(node)

    @iq("get", ns.DISCO_INFO, "query", at=(OWN,))
    def own_info(self, request: Request) -> bytes:
        """Of the sender's account."""
        return self._account_info(request)

    @iq("get", ns.DISCO_INFO, "query", at=(ACCOUNT,), waits=True)
    def account_info(self, request: Request) -> bytes:
        """Of somebody's account, for those who may see its presence.

        To others it is service-unavailable, whether it exists or not (§8).
        """
        if not may_see(self._rosters, request.user, request.session.bare):
            raise StanzaError("cancel", "service-unavailable")
        return self._account_info(request)

    @iq("get", ns.DISCO_ITEMS, "query")
    def server_items(self, request: Request) -> bytes:
        """None: nothing lives below the domain (§4.1). The node of the capabilities has no items either."""
        node = request.payload.get("node")
        if node:
            raise _no_such_node()
        return _items(node)

    @iq("get", ns.DISCO_ITEMS, "query", at=(OWN,))
    def own_items(self, request: Request) -> bytes:
        """The sender's available resources."""
        return self._account_items(request)

    @iq("get", ns.DISCO_ITEMS, "query", at=(ACCOUNT,), waits=True)
    def account_items(self, request: Request) -> bytes:
        """Somebody's available resources, for those who may see its presence; nothing for others (§8)."""
        if not may_see(self._rosters, request.user, request.session.bare):
            return _items(request.payload.get("node"))
        return self._account_items(request)

    def _account_info(self, request: Request) -> bytes:
        node = request.payload.get("node")
        if node:
            raise _no_such_node()
        return information.of_account(self._features()).payload(node)

    def _account_items(self, request: Request) -> bytes:
        node = request.payload.get("node")
        if node:
            raise _no_such_node()
        resources = self._directory.resources(request.user)
        return _items(node, sorted(one.jid for one in resources if one.is_available))


def _items(node: str | None, jids: Sequence[str] = ()) -> bytes:
    start = f"<query xmlns='{ns.DISCO_ITEMS}'".encode() + attribute("node", node)
    if not jids:
        return start + b"/>"
    items = (b"<item" + attribute("jid", one) + b"/>" for one in jids)
    return b"".join((start, b">", *items, b"</query>"))


def _no_such_node() -> StanzaError:
    return StanzaError("cancel", "item-not-found")
