"""XEP-0077 after log-in: what is registered, password changes (§3.3), cancellation (§3.2).

Accounts are created before log-in: node/registrar.py.
"""

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from xcluster.bus.messages import Delta, Invalidated
from xcluster.node import cache
from xcluster.node.hooks import OWN, SERVER, Feature, Request, Xep, iq
from xcluster.node.registrar import FIELDS, Derive, keys_of
from xcluster.node.session import Session
from xcluster.node.store.protocol import Notice, Store
from xcluster.shared import jid, ns
from xcluster.shared.errors import StanzaError
from xcluster.shared.log import kv
from xcluster.shared.stanza import escape

log = logging.getLogger(__name__)


class Registration(Feature):
    """`is_secure` tells whether a password may be sent over a session's stream."""

    xeps = (Xep(77, "In-Band Registration"),)
    server_features = (ns.REGISTER,)

    def __init__(
        self,
        domain: str,
        store: Store,
        derive: Derive,
        announce: Callable[[Delta], None],
        is_secure: Callable[[Session], bool],
    ) -> None:
        self._domain = domain
        self._store = store
        self._derive = derive
        self._announce = announce
        self._is_secure = is_secure

    @iq("get", ns.REGISTER, "query", at=(SERVER, OWN))
    def registered(self, request: Request) -> bytes:
        """That the sender is registered, and as whom (§3.1)."""
        fields = (
            "<registered/><instructions>You may change your password.</instructions>"
            f"<username>{escape(request.session.user)}</username><password/>"
        )
        return f"<query xmlns='{ns.REGISTER}'>{fields}</query>".encode()

    @iq("set", ns.REGISTER, "query", at=(SERVER, OWN), waits=True)
    def change(self, request: Request) -> bytes:
        """Change the password, or remove the account."""
        query = request.payload
        request.stanza.raw = b"<iq/>"  # §3.3: an error must not repeat the password
        if query.find(FIELDS + "remove") is not None:
            self._remove(request.session, query)
        else:
            self._change_password(request.session, query)
        return b""

    def _change_password(self, session: Session, query: Any) -> None:
        if not self._is_secure(session):
            raise StanzaError("modify", "not-authorized", "Passwords are changed over TLS only")
        username = query.findtext(FIELDS + "username")
        password = query.findtext(FIELDS + "password")
        if not username or not password:  # §3.3: an empty password leaves the old one
            raise StanzaError("modify", "bad-request", "Username and password are required")
        if not _is_name_of(session, username):
            raise StanzaError("auth", "forbidden", "This is not your username")
        sha1, sha256 = keys_of(self._derive, password)
        account = self._store.account(session.user)
        if account is None or not self._store.update_account(
            msgspec.structs.replace(account, sha1=sha1, sha256=sha256)
        ):
            raise StanzaError("auth", "registration-required")
        log.info("password_changed", extra=kv(jid=session.jid))

    def _remove(self, session: Session, query: Any) -> None:
        """The user's sessions end with the next look at the notices, this one behind its result (§3.2)."""
        if len(query) != 1:
            raise StanzaError("modify", "bad-request", "<remove/> stands alone")
        if self._store.account(session.user) is None:
            raise StanzaError("auth", "registration-required")
        contacts = self._store.remove_account(session.user, self._domain)
        notices = [Notice("close", session.user), *(Notice("roster", contact) for contact in contacts)]
        self._store.add_notices(notices)
        self._announce(Invalidated(cache.ACCOUNT, session.user))
        log.info("account_removed", extra=kv(jid=session.jid))


def _is_name_of(session: Session, username: str) -> bool:
    """Some clients write the bare JID."""
    try:
        return username == session.bare or jid.prepare_local(username) == session.user
    except jid.JidError:
        return False
