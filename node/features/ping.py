"""XEP-0199: XMPP Ping, the answering side.

Pings to a full JID are the client's to answer; those that the server sends are node/features/keepalive.py's.
"""

from xcluster.node.hooks import ACCOUNT, OWN, SERVER, Feature, Request, Xep, iq
from xcluster.node.store.protocol import Store
from xcluster.shared import jid, ns
from xcluster.shared.errors import StanzaError


class Ping(Feature):
    xeps = (Xep(199, "XMPP Ping"),)
    server_features = (ns.PING,)
    account_features = (ns.PING,)

    def __init__(self, store: Store) -> None:
        self._store = store

    @iq("get", ns.PING, "ping", at=(SERVER, OWN))
    def pong(self, request: Request) -> bytes:
        """A client pings its server (§4.2)."""
        return b""

    @iq("get", ns.PING, "ping", at=(ACCOUNT,), waits=True)
    def pong_for(self, request: Request) -> bytes:
        """The server answers for an account (§4.4, note): the same whether it is on line or not."""
        if self._store.account(jid.parse(request.user).local) is None:
            raise StanzaError("cancel", "service-unavailable")  # RFC 6121 §8.5.1
        return b""
