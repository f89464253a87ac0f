"""What is done with a stanza of a bound session (RFC 6120 §8 and §10, RFC 6121 §8)."""

from collections.abc import Callable

from xcluster.node.exchange import Exchange
from xcluster.node.hooks import ACCOUNT, OWN, SERVER
from xcluster.node.identity import make, prefix
from xcluster.node.parcel import Parcel
from xcluster.node.router import message_type
from xcluster.node.session import Session
from xcluster.node.watchers import Watchers
from xcluster.shared import ns
from xcluster.shared.errors import StanzaError, StreamError
from xcluster.shared.jid import Jid, JidError, parse
from xcluster.shared.stanza import Stanza, error_reply, stamp

_LAST_ACTIVITY = f"{ns.LAST_ACTIVITY}}}query"
_IQ_TYPES = frozenset(("get", "set", "result", "error"))

IqHandler = Callable[[Session, Stanza, str, str], None]
PresenceHandler = Callable[[Session, Stanza, Jid | None], None]


class Inbound:
    """The way in, behind the framer."""

    def __init__(
        self,
        domain: str,
        exchange: Exchange,
        iqs: IqHandler,
        presence: PresenceHandler,
        watchers: Watchers,
        clock: Callable[[], float],
    ) -> None:
        self._domain = domain
        self._exchange = exchange
        self._iqs = iqs
        self._presence = presence
        self._watchers = watchers
        self._clock = clock
        self._number = 0
        self.counters = {"message": 0, "presence": 0, "iq": 0, "errors": 0}
        self._handlers = {"message": self._message, "presence": self._presence_in, "iq": self._iq}

    def stanza(self, session: Session, stanza: Stanza) -> None:
        """Take the next stanza of a session; raises StreamError for what ends its stream."""
        handler = self._handlers.get(stanza.name)
        if handler is None:
            raise StreamError("unsupported-stanza-type")
        self.counters[stanza.name] += 1
        if stanza.from_ is not None:
            self._check_from(session, stanza)
        try:
            handler(session, stanza)
        except StanzaError as error:
            self.counters["errors"] += 1
            if stanza.type not in ("error", "result"):
                reply = error_reply(stanza, error.type, error.condition, error.text, to=session.jid)
                session.send(reply)

    def _check_from(self, session: Session, stanza: Stanza) -> None:
        """Nobody speaks for others (RFC 6120 §8.1.2.1)."""
        try:
            claimed = parse(stanza.from_ or "").full
        except JidError:
            claimed = ""
        if claimed not in (session.jid, session.bare):
            raise StreamError("invalid-from")

    def _address(self, session: Session, stanza: Stanza) -> Jid:
        """Where it goes; without `to` it is for the sender's own account (RFC 6120 §8.1.1.1)."""
        if stanza.to is None:
            return parse(session.bare)
        try:
            to = parse(stanza.to)
        except JidError as error:
            raise StanzaError("modify", "jid-malformed", str(error)) from error
        if to.domain != self._domain:
            raise StanzaError("cancel", "remote-server-not-found")
        return to

    def _message(self, session: Session, stanza: Stanza) -> None:
        to = self._address(session, stanza)
        if not to.local:
            raise StanzaError("cancel", "service-unavailable")
        self._number += 1
        exchange = self._exchange
        raw = stamp(stanza, session.stamp, session.lang, ours=(self._domain, session.bare, to.bare))
        parcel = Parcel(
            session.counter,
            session.jid,
            to,
            "message",
            message_type(stanza.type),
            make(prefix(exchange.me), self._number),
            raw,
            stanza.children,
        )
        exchange.submit(parcel, self._clock())

    def _iq(self, session: Session, stanza: Stanza) -> None:
        if stanza.type not in _IQ_TYPES or not stanza.id:
            raise StanzaError("modify", "bad-request", "an iq has an id and a type (RFC 6120 §8.2.3)")
        is_request = stanza.type in ("get", "set")
        if is_request and len(stanza.children) != 1:
            raise StanzaError("modify", "bad-request", "a request has exactly one child")
        to = self._address(session, stanza)
        if to.resource and to.local:
            if is_request and stanza.children[0] == _LAST_ACTIVITY and not self._may_ask(session, to):
                raise StanzaError("auth", "forbidden")
            self.route(session, stanza, to)
        elif not is_request:
            return  # an answer to something that this server asked
        elif not to.local:
            if to.resource:
                raise StanzaError("cancel", "service-unavailable")
            self._iqs(session, stanza, SERVER, "")
        else:
            self._iqs(session, stanza, OWN if to.bare == session.bare else ACCOUNT, to.bare)

    def _may_ask(self, session: Session, to: Jid) -> bool:
        """Idle times are for those who see the presence (XEP-0012 §4)."""
        return to.bare == session.bare or self._watchers.sees(session, to.bare)

    def _presence_in(self, session: Session, stanza: Stanza) -> None:
        self._presence(session, stanza, None if stanza.to is None else self._address(session, stanza))

    def route(self, session: Session, stanza: Stanza, to: Jid) -> None:
        """Hand an IQ or a directed presence to the sessions that `to` names."""
        raw = stamp(stanza, session.stamp, session.lang, ours=(self._domain,))
        parcel = Parcel(session.counter, session.jid, to, stanza.name, stanza.type, b"", raw)
        self._exchange.submit(parcel, self._clock())
