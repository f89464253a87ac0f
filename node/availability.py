"""What a client says of its own presence, and to whom (RFC 6121 §4)."""

from collections.abc import Callable
from functools import partial

from xcluster.bus.messages import SessionUp
from xcluster.node import presences
from xcluster.node.exchange import Exchange
from xcluster.node.rosters import CachedRoster, Rosters
from xcluster.node.session import Session
from xcluster.node.subscriptions import KINDS
from xcluster.node.watchers import Watchers
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.jid import Jid
from xcluster.shared.stanza import Stanza, error_reply, tree

MAX_PRESENCE = 8192  # bytes: it is kept for everybody, on every node
_PRIORITY = "jabber:client}priority"

Subscribe = Callable[[Session, Stanza, Jid], None]
Route = Callable[[Session, Stanza, Jid], None]
Changed = Callable[[Session, bytes], None]


class Availability:
    """Initial, later, unavailable and directed presence of our sessions."""

    def __init__(
        self,
        exchange: Exchange,
        rosters: Rosters,
        watchers: Watchers,
        subscribe: Subscribe,
        route: Route,
        changed: Changed,
        became_available: Callable[[Session, CachedRoster], None],
    ) -> None:
        self._exchange = exchange
        self._rosters = rosters
        self._watchers = watchers
        self._subscribe = subscribe
        self._route = route
        self._changed = changed
        self._became_available = became_available

    def received(self, session: Session, stanza: Stanza, to: Jid | None) -> None:
        """A client has sent presence; raises StanzaError."""
        kind = stanza.type
        if to is None:
            if kind is None:
                self._available(session, stanza)
            elif kind == "unavailable":
                self.unavailable(session, stanza)
            else:
                raise StanzaError("modify", "bad-request", "this presence needs an address")
        elif kind in KINDS:
            self._subscribe(session, stanza, to)
        elif kind == "probe":
            self._probe(session, to)
        elif kind in (None, "unavailable", "error"):
            if to.local:
                self._route(session, stanza, to)
        else:
            raise StanzaError("modify", "bad-request", "an unknown type of presence")

    def _available(self, session: Session, stanza: Stanza) -> None:
        priority = _priority(stanza)
        kept = presences.normalised(stanza, session.lang)
        if len(kept) > MAX_PRESENCE:
            raise StanzaError("modify", "policy-violation", f"presence is limited to {MAX_PRESENCE} bytes")
        before = session.presence
        session.priority = priority
        if before:
            session.presence = kept
            self._changed(session, before)
            self._exchange.put(row(session))
            return
        session.line.hold()
        self._rosters.load(session.user, partial(self._loaded, session, stanza, kept))

    def _loaded(
        self, session: Session, stanza: Stanza, kept: bytes, roster: Callable[[], CachedRoster]
    ) -> None:
        try:
            if session.is_bound:
                self._first(session, kept, roster())
        except StoreError:
            session.send(
                error_reply(stanza, "wait", "resource-constraint", "the store is away", to=session.jid)
            )
        finally:
            session.line.release()

    def _first(self, session: Session, kept: bytes, roster: CachedRoster) -> None:
        """Initial presence (RFC 6121 §4.2). One turn of the loop: nothing falls between."""
        session.presence = kept
        session.farewell = None
        self._changed(session, b"")
        self._became_available(session, roster)
        self._watchers.watch(session, roster.watched())
        self._exchange.put(row(session))
        directory = self._exchange.directory
        for contact in self._watchers.contacts(session):
            if contact != session.bare:
                presences.tell(directory, session, contact)
        for record in directory.resources(session.bare):
            if record.presence and record.jid != session.jid:
                session.send(presences.available(record.presence, record.jid).to(session.to))
        for request in roster.requests():
            session.send(request)

    def unavailable(self, session: Session, stanza: Stanza | None) -> None:
        """RFC 6121 §4.5: contacts are told, the session stays connected."""
        before = session.presence
        farewell = presences.normalised(stanza, session.lang) if stanza is not None else b""
        if not before or len(farewell) > MAX_PRESENCE:
            return
        session.presence = b""
        session.priority = 0
        session.farewell = stanza
        self._changed(session, before)
        self._watchers.forget(session)
        self._exchange.put(row(session), farewell)

    def _probe(self, session: Session, to: Jid) -> None:
        """A client may ask again for what it is told anyway (RFC 6121 §4.3)."""
        if self._watchers.sees(session, to.bare) or to.bare == session.bare:
            presences.tell(self._exchange.directory, session, to.bare)


def row(session: Session) -> SessionUp:
    """What everybody is to know of a session."""
    return SessionUp(
        session.counter, session.jid, session.generation, session.presence, session.priority, session.flags
    )


def _priority(stanza: Stanza) -> int:
    if _PRIORITY not in stanza.children:
        return 0
    text = (tree(stanza.raw).findtext("{jabber:client}priority") or "").strip()
    try:
        priority = int(text)
    except ValueError:
        priority = presences.MAX_PRIORITY + 1
    if not presences.MIN_PRIORITY <= priority <= presences.MAX_PRIORITY:
        raise StanzaError("modify", "bad-request", "a priority is an integer between -128 and +127")
    return priority
