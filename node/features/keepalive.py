"""XEP-0199 §4.3: pings clients that have been silent, and cuts those that stay so.

One sweep over all sessions, spread over its turns; no timer belongs to a session (design.md §4).
"""

from collections.abc import Callable

from xcluster.node.hooks import Feature, Xep
from xcluster.node.session import Session, Sessions
from xcluster.shared import ns
from xcluster.shared.stanza import Stanza, iq_get

_PING = f"<ping xmlns='{ns.PING}'/>".encode()


class Keepalive(Feature):
    """Server-to-client pings."""

    xeps = (Xep(199, "XMPP Ping"),)

    def __init__(
        self, domain: str, sessions: Sessions, ping_s: Callable[[], float], timeout_s: Callable[[], float]
    ) -> None:
        self._domain = domain
        self._sessions = sessions
        self._ping_s = ping_s
        self._timeout_s = timeout_s
        self._pinged: dict[int, float] = {}  # session -> when
        self._number = 0

    def turned(self, now: float) -> None:
        ping_s, timeout_s = self._ping_s(), self._timeout_s()
        if not ping_s:
            return
        for session in self._sessions.all():
            silent_s = now - session.line.heard_at
            if silent_s < ping_s:
                self._pinged.pop(session.counter, None)
            elif session.counter not in self._pinged:
                self._pinged[session.counter] = now
                self._number += 1
                session.send(iq_get(f"ping{self._number}", _PING, from_=self._domain, to=session.jid))
            elif now - self._pinged[session.counter] >= timeout_s:
                session.line.end("connection-timeout")

    def session_ended(self, session: Session, farewell: Stanza | None) -> None:
        self._pinged.pop(session.counter, None)
