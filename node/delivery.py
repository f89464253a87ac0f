"""What the exchange wants done with this node's sessions and store (node/exchange.py, Local)."""

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from xcluster.bus import membership
from xcluster.bus.messages import Delta, Origin, RouteStanza, Task
from xcluster.node.hooks import Feature
from xcluster.node.parcel import Parcel
from xcluster.node.session import Session, Sessions
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza, error_reply, tree, with_delay

log = logging.getLogger(__name__)


class Keeper(Protocol):
    """Offline storage: node/features/offline.py."""

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None: ...

    def fetch(self, session: Session) -> None: ...


class Directed(Protocol):
    """Memory for directed presence: node/features/presence.py."""

    def directed(self, session: Session, from_: str, is_available: bool) -> None: ...


class Questions(Protocol):
    """Synchronous tasks: node/calls.py."""

    def asked(self, origin: Origin, task: Task) -> None: ...

    def died(self, origin: Origin) -> None: ...


class Delivery:
    """The last step of a stanza on this node, and where events fan out to features."""

    def __init__(self, domain: str, sessions: Sessions, wall: Callable[[], float]) -> None:
        self._domain = domain
        self._sessions = sessions
        self._wall = wall
        self.counters = {"delivered": 0, "from_peers": 0, "gone": 0, "refused": 0}
        self._features: Sequence[Feature] = ()
        self._keeper: Keeper
        self._directed: Directed
        self._questions: Questions

    def connect(
        self, features: Sequence[Feature], keeper: Keeper, directed: Directed, questions: Questions
    ) -> None:
        """Called once, when what uses the exchange has been built upon it."""
        self._features = features
        self._keeper = keeper
        self._directed = directed
        self._questions = questions

    def deliver(self, counter: int, stanza: RouteStanza | Parcel) -> bool:
        session = self._sessions.get(counter)
        if session is None:
            self.counters["gone"] += 1
            return False
        self.counters["delivered"] += 1
        if type(stanza) is RouteStanza:
            self.counters["from_peers"] += 1
            stanza_type = stanza.stanza_type
        else:
            stanza_type = stanza.type  # type: ignore[union-attr]
        raw = stanza.raw
        if stanza.kind == "presence":
            self._directed.directed(session, stanza.from_, stanza_type is None)
        elif stanza.delayed and stanza.kind == "message":
            now = datetime.fromtimestamp(self._wall(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            raw = with_delay(raw, self._domain, now)
        for ready in session.intake.take(stanza.identity, raw, stanza.delayed):
            session.send(ready)
        return True

    def fetch_offline(self, counter: int) -> None:
        session = self._sessions.get(counter)
        if session is not None and session.presence and session.priority >= 0:
            self._keeper.fetch(session)

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        self._keeper.keep(parcel, done)

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        """An error goes back to the sender's session; never in answer to an error or a result."""
        self.counters["refused"] += 1
        session = self._sessions.get(parcel.sender)
        if session is None or parcel.type in ("error", "result") or parcel.kind == "presence":
            return
        header = tree(parcel.raw)
        stanza = Stanza(
            parcel.kind, header.get("to"), parcel.from_, parcel.type, header.get("id"), raw=parcel.raw
        )
        session.send(error_reply(stanza, type, condition, to=session.jid))

    def asked(self, origin: Origin, task: Task) -> None:
        self._questions.asked(origin, task)

    def event(self, origin: Origin, delta: Delta) -> None:
        for feature in self._features:
            feature.happened(origin, delta)

    def skipped(self, origin: Origin) -> None:
        for feature in self._features:
            feature.missed(origin)

    def member(self, event: membership.Event) -> None:
        if isinstance(event, membership.Died):
            log.warning("node_died", extra=kv(node=event.origin, why=event.why))
            self._questions.died(event.origin)
        else:
            log.info("node_" + event.state.value, extra=kv(node=event.origin))
