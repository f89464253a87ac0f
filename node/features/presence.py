"""RFC 6121 §4: every client is told of its contacts whenever the directory changes (design.md §6).

A change may come from a session here, as a delta or snapshot from elsewhere, or by a node's death: all look the
same to this module, so everybody is told once and nobody asks another node.
"""

from xcluster.node import presences
from xcluster.node.directory import Record, bare
from xcluster.node.hooks import Feature, service
from xcluster.node.session import Session, Sessions
from xcluster.node.watchers import Watchers

MAX_DIRECTED = 100_000  # senders of directed presence that are remembered; beyond: the oldest is forgotten


class Presence(Feature):
    """Tells watchers, other resources of the same user, and whom directed presence had told."""

    def __init__(self, sessions: Sessions, watchers: Watchers) -> None:
        self._sessions = sessions
        self._watchers = watchers
        self._directed: dict[str, dict[int, None]] = {}  # sender's full JID -> sessions here that it told

    def record_changed(self, old: Record | None, new: Record | None, farewell: bytes) -> None:
        if new is not None and new.presence:
            if old is None or old.presence != new.presence or old.counter != new.counter:
                told = presences.available(new.presence, new.jid)
                for session in self._audience(new.jid):
                    session.tell(told.to(session.to))
        elif old is not None and (old.presence or (old.jid in self._directed and not _is_same(old, new))):
            self._withdraw(old, farewell)

    def _audience(self, jid: str) -> list[Session]:
        """Watchers here, and the user's own available resources (RFC 6121 §4.2.2)."""
        user = bare(jid)
        own = [session for session in self._sessions.of(user) if session.presence]
        watchers = self._watchers.of(user)
        return [*watchers, *(s for s in own if s not in watchers)] if own else watchers

    def _withdraw(self, old: Record, farewell: bytes) -> None:
        audience = list(self._audience(old.jid)) if old.presence else []
        for counter in self._directed.pop(old.jid, ()):
            session = self._sessions.get(counter)
            if session is not None and session not in audience:
                audience.append(session)
        told = presences.unavailable(farewell, old.jid)
        for session in audience:
            session.tell(told.to(session.to))

    @service
    def directed(self, session: Session, from_: str, is_available: bool) -> None:
        """Directed presence has reached a session here (RFC 6121 §4.6): to be withdrawn in the end."""
        told = self._directed.get(from_)
        if is_available:
            if told is None:
                if len(self._directed) >= MAX_DIRECTED:
                    del self._directed[next(iter(self._directed))]
                told = self._directed[from_] = {}
            told[session.counter] = None
        elif told is not None:
            told.pop(session.counter, None)
            if not told:
                del self._directed[from_]


def _is_same(old: Record, new: Record | None) -> bool:
    """Whether the session goes on, and only something else about it has changed."""
    return new is not None and (old.origin, old.counter) == (new.origin, new.counter)
