"""What this node knows of itself and of the others, as plain values for JSON."""

from collections.abc import Callable
from typing import Any

from xcluster.bus.messages import Origin
from xcluster.node.exchange import Exchange
from xcluster.node.session import Sessions
from xcluster.node.store.protocol import Store


class Report:
    """Status of one node."""

    def __init__(
        self,
        exchange: Exchange,
        sessions: Sessions,
        store: Store,
        clock: Callable[[], float],
        is_ready: Callable[[], bool],
        more: Callable[[], dict[str, Any]],
    ) -> None:
        self._exchange = exchange
        self._sessions = sessions
        self._store = store
        self._clock = clock
        self._is_ready = is_ready
        self._more = more
        self._started_at = clock()

    def status(self, argument: Any = None) -> dict[str, Any]:
        """Everything `xcluster status` shows of this node."""
        exchange, mesh, now = self._exchange, self._exchange.mesh, self._clock()
        return {
            "node": mesh.me.name,
            "incarnation": mesh.me.incarnation,
            "ready": self._is_ready(),
            "sessions": len(self._sessions),
            "users_online": exchange.directory.users(),
            "uptime_s": round(now - self._started_at, 1),
            "bus": self._buses(now),
            "isolated": bool(mesh.bus_count) and mesh.members.is_isolated(now),
            "members": [self._member(origin, now) for origin in sorted(mesh.replicas)],
            "seq": mesh.log.seq,
            "digests": {name: f"{digest:016x}" for name, digest in mesh.digests(mesh.me).items()},
            "early": {
                "parked": exchange.lanes.parked,
                **_picked(exchange.lanes.counters, "early", "woken", "expired", "reached"),
            },
            "store": {"healthy": self._store.healthy},
            "counters": self._counters(),
            **self._more(),
        }

    def _buses(self, now: float) -> list[dict[str, Any]]:
        mesh = self._exchange.mesh
        working = mesh.members.working_buses(now)
        return [{"name": mesh.bus_names.get(bus, ""), "up": bus in working} for bus in range(mesh.bus_count)]

    def _member(self, origin: Origin, now: float) -> dict[str, Any]:
        mesh = self._exchange.mesh
        replica, peer, link = mesh.replicas[origin], mesh.members.peers[origin], mesh.links[origin]
        return {
            "name": origin.name,
            "incarnation": origin.incarnation,
            "state": peer.state.value,
            "silent_s": round(now - peer.heard_at, 2),
            "sessions": self._exchange.directory.count(origin),
            "applied": replica.applied,
            "heard": replica.heard,
            "lag": replica.heard - replica.applied,
            "digests": {name: f"{digest:016x}" for name, digest in mesh.digests(origin).items()},
            "unacknowledged": len(link.unacked),
        }

    def _counters(self) -> dict[str, int]:
        exchange = self._exchange
        groups = {
            "lanes": exchange.lanes.counters,
            "mesh": exchange.mesh.counters,
            "members": exchange.mesh.members.counters,
            "exchange": exchange.counters,
        }
        result = {
            f"{group}_{name}": count for group, counts in groups.items() for name, count in counts.items()
        }
        for replica in exchange.mesh.replicas.values():
            for name, count in replica.counters.items():
                result[f"replicas_{name}"] = result.get(f"replicas_{name}", 0) + count
        result["links_resent"] = sum(link.resent for link in exchange.mesh.links.values())
        return result

    def sessions(self, argument: Any = None) -> list[dict[str, Any]]:
        """Our sessions, of one bare JID or all."""
        found = self._sessions.of(argument) if argument else self._sessions.all()
        now = self._clock()
        return [
            {
                "jid": session.jid,
                "node": self._exchange.me.name,
                "priority": session.priority,
                "available": session.is_available,
                "since_s": round(now - session.bound_at, 1),
                "idle_s": round(now - session.line.heard_at, 1),
                "address": session.line.address,
                "tls": session.line.is_secure,
            }
            for session in found
        ]


def _picked(counters: dict[str, int], *names: str) -> dict[str, int]:
    return {name: counters[name] for name in names}
