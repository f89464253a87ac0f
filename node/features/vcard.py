"""XEP-0054: vcard-temp.

They are cached by localpart, local with invalidation: each change is announced as Invalidated(CACHE, user).
"""

from collections.abc import Callable
from xml.etree.ElementTree import ParseError, fromstring

from xcluster.bus.messages import Delta, Invalidated, Origin
from xcluster.node import cache
from xcluster.node.cache import Cache
from xcluster.node.hooks import ACCOUNT, OWN, SERVER, Feature, Request, Xep, iq
from xcluster.node.store.protocol import Store
from xcluster.shared import jid, ns
from xcluster.shared.config import Config
from xcluster.shared.errors import StanzaError
from xcluster.shared.stanza import serialise

CACHE = "vcard"
_NONE = b""  # cached for a user who has no vCard


class Vcard(Feature):
    """`vcards` is the cache, made by `vcard_cache`; its owner shows its counters and sets its limit."""

    xeps = (Xep(54, "vcard-temp"),)
    server_features = (ns.VCARD,)
    account_features = (ns.VCARD,)

    def __init__(
        self, config: Config, store: Store, vcards: Cache[str, bytes], announce: Callable[[Delta], None]
    ) -> None:
        self._config = config
        self._store = store
        self._vcards = vcards
        self._announce = announce

    @iq("get", ns.VCARD, "vCard", at=(OWN,), waits=True)
    def own_vcard(self, request: Request) -> bytes:
        """The sender's (§3.1)."""
        vcard = self._read(request.session.user)
        if not vcard:
            raise StanzaError("cancel", "item-not-found")
        return vcard

    @iq("get", ns.VCARD, "vCard", at=(ACCOUNT,), waits=True)
    def account_vcard(self, request: Request) -> bytes:
        """Somebody's, for everybody (§5). The error does not tell whether the user exists (§3.3)."""
        vcard = self._read(jid.parse(request.user).local)
        if not vcard:
            raise StanzaError("cancel", "service-unavailable")
        return vcard

    @iq("set", ns.VCARD, "vCard", at=(OWN,), waits=True)
    def set_vcard(self, request: Request) -> bytes:
        """Replace the sender's (§3.2)."""
        vcard = _written(request)
        limit = self._config.vcard.max_bytes
        if len(vcard) > limit:
            raise StanzaError("modify", "policy-violation", f"A vCard may have {limit} bytes")
        self._store.set_vcard(request.session.user, vcard)
        self._announce(Invalidated(CACHE, request.session.user))
        return b""

    @iq("set", ns.VCARD, "vCard", at=(SERVER, ACCOUNT))
    def refuse_vcard(self, request: Request) -> bytes:
        """Nobody sets another's (§3.2)."""
        raise StanzaError("auth", "forbidden")

    def happened(self, origin: Origin, event: Delta) -> None:
        if isinstance(event, Invalidated) and event.cache in (CACHE, cache.ACCOUNT):
            self._vcards.invalidate(event.key)

    def missed(self, origin: Origin) -> None:
        self._vcards.clear()

    def _read(self, user: str) -> bytes:
        vcard = self._vcards.get(user)
        if vcard is None:
            token = self._vcards.begin(user)
            vcard = self._store.vcard(user) or _NONE
            self._vcards.put(user, vcard, token)
        return vcard


def vcard_cache(limit: int) -> Cache[str, bytes]:
    """A cache of `limit` bytes."""
    return Cache(limit, lambda user, vcard: len(user) + len(vcard))


def _written(request: Request) -> bytes:
    """The vCard as the client wrote it, where that means the same alone."""
    raw = request.stanza.raw
    own = raw[raw.index(b"<", 1) : raw.rindex(b"</")].strip()
    try:
        if fromstring(own).tag == f"{{{ns.VCARD}}}vCard":
            return own
    except ParseError:
        pass  # it uses a prefix that the stanza declares, or text stands around it
    vcard = request.payload
    vcard.tail = None
    return serialise(vcard)
