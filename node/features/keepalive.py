"""XEP-0199 §4.3: pings clients that have been silent, and cuts those that stay so.

No timer belongs to a session (design.md §4), and no sweep looks at all of them: each waits in the slot of the
second in which it could be due, and moves on from there when it has been heard since.
"""

from collections.abc import Callable
from math import ceil

from xcluster.node.hooks import Feature, Xep
from xcluster.node.session import Session, Sessions
from xcluster.shared import ns
from xcluster.shared.stanza import Stanza, iq_get

UNUSED_S = 60.0  # pings may be switched on while the node runs: how often to look whether they were
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
        # Their counters, by the second in which to look at them: a slot must not keep alive who has left.
        self._slots: dict[int, list[int]] = {}
        self._looked = 0  # the last second that was done
        self._pinged: dict[int, float] = {}  # session -> when
        self._number = 0

    def session_bound(self, session: Session) -> None:
        self._look_after(session, session.bound_at + (self._ping_s() or UNUSED_S))

    def _look_after(self, session: Session, due: float) -> None:
        self._slots.setdefault(max(ceil(due), self._looked + 1), []).append(session.counter)

    def turned(self, now: float) -> None:
        self._looked = int(now)
        for slot in [slot for slot in self._slots if slot <= now]:
            for session in map(self._sessions.get, self._slots.pop(slot)):
                if session is not None:
                    self._look(session, now)

    def _look(self, session: Session, now: float) -> None:
        ping_s = self._ping_s()
        heard_at = session.line.heard_at
        pinged_at = self._pinged.get(session.counter)
        if not ping_s:
            self._look_after(session, now + UNUSED_S)
        elif now - heard_at < ping_s:
            self._pinged.pop(session.counter, None)
            self._look_after(session, heard_at + ping_s)
        elif pinged_at is None:
            self._pinged[session.counter] = now
            self._number += 1
            session.send(iq_get(f"ping{self._number}", _PING, from_=self._domain, to=session.jid))
            self._look_after(session, now + self._timeout_s())
        elif now - pinged_at >= self._timeout_s():
            session.line.end("connection-timeout")
        else:
            self._look_after(session, pinged_at + self._timeout_s())

    def session_ended(self, session: Session, farewell: Stanza | None) -> None:
        self._pinged.pop(session.counter, None)
