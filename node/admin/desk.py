"""(I/O) Which question an operator may ask, and who answers it: this node, or all nodes over the bus."""

from collections.abc import Callable
from typing import Any

import gevent

from xcluster.bus.messages import Origin
from xcluster.node.admin.api import Api, Handler, Query, Unavailable
from xcluster.node.admin.memory import Memory
from xcluster.node.admin.metrics import Figures
from xcluster.node.admin.report import Report
from xcluster.node.admin.verify import Verify
from xcluster.node.calls import Calls
from xcluster.node.exchange import Exchange
from xcluster.node.session import Sessions
from xcluster.shared import jid
from xcluster.shared.errors import BusError

ASK_S = 5.0  # limit for what an operator waits for


class Desk:
    """Routes of the admin API, and the verbs that nodes answer each other."""

    def __init__(
        self,
        name: str,
        domain: str,
        exchange: Exchange,
        sessions: Sessions,
        calls: Calls,
        report: Report,
        memory: Memory,
        objections: Callable[[], list[str]],
        counters: Callable[[], dict[str, dict[str, int]]],
        test_hooks: bool,
    ) -> None:
        """`objections`: why no clients should be sent here; none when the node is ready."""
        self._name = name
        self._domain = domain
        self._exchange = exchange
        self._sessions = sessions
        self._calls = calls
        self._objections = objections
        self._verify = Verify(exchange, calls.ask, gevent.sleep)
        self._figures = Figures(report.status, counters)
        for verb, function in (
            ("status", report.status),
            ("digests", self._verify.digests),
            ("rows", self._verify.rows),
            ("sessions", report.sessions),
            ("memory", memory.report),
            ("kick", self._kick),
        ):
            calls.serve(verb, function)
        public: dict[str, Handler] = {
            "GET /live": lambda query, body: {"name": name, "live": True},
            "GET /ready": self._ready,
            "GET /metrics": lambda query, body: self._figures.text(),
        }
        private: dict[str, Handler] = {
            "GET /api/status": lambda query, body: report.status(),
            "GET /api/cluster": lambda query, body: {"nodes": self._everywhere("status", None)},
            "GET /api/memory": lambda query, body: {"nodes": self._everywhere("memory", None)},
            "GET /api/verify": lambda query, body: self._verify.run(),
            "GET /api/sessions": self._all_sessions,
            "POST /api/sessions/kick": self._kick_everywhere,
        }
        if test_hooks:
            private["POST /api/test/drop-replica-row"] = self._drop_replica_row
        self.api = Api(public, private)

    def _ready(self, query: Query, body: Any) -> dict[str, Any]:
        """Whether a load balancer should send clients here; 503 with the reasons otherwise."""
        reasons = self._objections()
        answer = {"name": self._name, "ready": not reasons, "reasons": reasons}
        if reasons:
            raise Unavailable(answer)
        return answer

    def _everywhere(self, verb: str, argument: Any) -> dict[str, Any]:
        """Ask all nodes at once; a node that does not answer has {"error": ...}."""
        origins = sorted([self._exchange.me, *self._exchange.mesh.replicas])
        asked = {origin: gevent.spawn(self._ask, origin, verb, argument) for origin in origins}
        gevent.joinall(list(asked.values()), timeout=2 * ASK_S)
        return {origin.name: greenlet.value for origin, greenlet in asked.items()}

    def _ask(self, origin: Origin, verb: str, argument: Any) -> Any:
        try:
            return self._calls.ask(origin, verb, argument, ASK_S)
        except BusError as error:
            return {"error": str(error)}

    def _all_sessions(self, query: Query, body: Any) -> list[dict[str, Any]]:
        user = query.get("user", "")
        bare = user if "@" in user or not user else f"{user}@{self._domain}"
        answers = self._everywhere("sessions", bare).values()
        found = [session for answer in answers if isinstance(answer, list) for session in answer]
        return sorted(found, key=lambda session: str(session["jid"]))

    def _kick(self, argument: Any) -> int:
        """End our sessions of a full or bare JID."""
        address = jid.parse(argument)
        ended = 0
        for session in self._sessions.of(address.bare):
            if not address.resource or session.jid == address.full:
                session.line.end("policy-violation", "closed by an operator")
                ended += 1
        return ended

    def _kick_everywhere(self, query: Query, body: Any) -> dict[str, int]:
        answers = self._everywhere("kick", jid.parse(body["jid"]).full).values()
        return {"kicked": sum(answer for answer in answers if isinstance(answer, int))}

    def _drop_replica_row(self, query: Query, body: Any) -> dict[str, str]:
        """For tests: lose one row of another node's, as nothing in the protocol does.

        Its repair may be held off: {"hold_repair_s": 5}."""
        directory = self._exchange.directory
        for origin, replica in self._exchange.mesh.replicas.items():
            for record in directory.of(origin):
                replica.hold_repairs(self._exchange.now + float(body.get("hold_repair_s", 0.0)))
                directory.lose(record)
                return {"jid": record.jid, "origin": str(origin)}
        return {}
