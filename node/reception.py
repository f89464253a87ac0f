"""(I/O) What all client connections of a node share: log-in, binding, and the end of a session."""

import logging
import secrets
import ssl
from collections.abc import Sequence

from xcluster.bus.messages import LoginFailed
from xcluster.node.availability import row
from xcluster.node.bucket import Bucket
from xcluster.node.clock import Turns, wall_ms
from xcluster.node.directory import Record
from xcluster.node.exchange import Exchange
from xcluster.node.failures import Failures, network
from xcluster.node.hooks import Feature
from xcluster.node.inbound import Inbound
from xcluster.node.noise import Noise
from xcluster.node.passwords import Passwords
from xcluster.node.registrar import Registrar
from xcluster.node.session import Line, Session, Sessions
from xcluster.node.store.protocol import Store
from xcluster.node.stream.errors import stream_error
from xcluster.node.stream.negotiation import Negotiation, Policy
from xcluster.node.transport.listener import Gate
from xcluster.node.watchers import Watchers
from xcluster.shared import jid
from xcluster.shared.config import Config, is_loopback
from xcluster.shared.errors import AuthError, StanzaError
from xcluster.shared.framing import ParserPool
from xcluster.shared.log import kv

log = logging.getLogger(__name__)


class Reception:
    """Where clients come in and go."""

    def __init__(
        self,
        config: Config,
        store: Store,
        exchange: Exchange,
        sessions: Sessions,
        watchers: Watchers,
        inbound: Inbound,
        features: Sequence[Feature],
        policy: Policy,
        passwords: Passwords,
        registrar: Registrar,
        failures: Failures,
        turns: Turns,
        gate: Gate,
        tls: ssl.SSLContext,
        binding: dict[str, bytes],
    ) -> None:
        self.config = config
        self.store = store
        self.inbound = inbound
        self.passwords = passwords
        self.registrar = registrar
        self.tls = tls
        self.binding = binding
        self.pool = ParserPool(max_depth=config.c2s.max_depth)
        self.counters = {"bound": 0, "ended": 0, "conflicts": 0, "login_failures": 0}
        self.connections: dict[Line, None] = {}
        self._noise = Noise()
        self._unbound: dict[Line, float] = {}  # connections without a session, since when, oldest first
        self._exchange = exchange
        self._sessions = sessions
        self._watchers = watchers
        self._features = features
        self._policy = policy
        self._failures = failures
        self._turns = turns
        self._gate = gate
        exchange.directory.on_conflict.append(self._conflict)

    # streams

    def negotiation(self, address: str) -> Negotiation:
        """For a new connection from this address."""
        c2s = self.config.c2s
        local = is_loopback(address)
        return Negotiation(
            self._policy,
            self._noise,
            tls_required=c2s.require_tls and not local,
            plain_without_tls=c2s.plain_without_tls and local,
        )

    def bucket(self) -> Bucket | None:
        """The rate limit of a new connection; None when limits are off."""
        limits = self.config.limits
        return Bucket(limits, self._turns.now) if limits.enabled else None

    def stream_error(self, negotiation: Negotiation | None, condition: str, text: str) -> bytes:
        if negotiation is not None:
            return negotiation.stream_error(condition, text)
        return stream_error(condition, text)

    # log-in

    def check_log_in(self, user: str, address: str) -> None:
        """Raises AuthError for an account or address that has failed too often (cluster-wide)."""
        if not self.config.limits.enabled:
            return
        now = self._turns.now
        keys = (f"user {user}", f"address {network(address)}")
        if any(self._failures.is_over(key, now) for key in keys):
            raise AuthError("temporary-auth-failure", "too many failed log-ins, try again later")

    def log_in_failed(self, user: str, address: str, condition: str) -> None:
        """Count a failure on all nodes."""
        self.counters["login_failures"] += 1
        log.info("login_failed", extra=kv(user=user, address=address, condition=condition))
        if condition == "not-authorized":
            self._exchange.announce(LoginFailed(user, network(address)))

    # sessions

    def bind(self, user: str, resource: str, line: Line, lang: str | None) -> Session:
        """Bind a resource (RFC 6120 §7); raises StanzaError. Publish it with `bound`."""
        c2s = self.config.c2s
        directory = self._exchange.directory
        address = jid.make(user, self._policy.domain, resource or secrets.token_urlsafe(9))
        taken = directory.find(address.full)
        if taken is not None and c2s.resource_conflict == "refuse":
            raise StanzaError("cancel", "conflict", "this resource is in use")
        if taken is not None and c2s.resource_conflict == "rename":
            address = jid.make(user, self._policy.domain, secrets.token_urlsafe(9))
            taken = None
        if taken is None and len(directory.resources(address.bare)) >= c2s.max_resources:
            raise StanzaError("wait", "resource-constraint", f"at most {c2s.max_resources} sessions")
        generation = directory.next_generation(address.full, wall_ms())
        counter = self._sessions.next_counter()
        return Session(counter, address, line, generation, self._turns.now, lang)

    def bound(self, session: Session) -> None:
        """The client knows its address: everybody may."""
        self.counters["bound"] += 1
        self._unbound.pop(session.line, None)
        self._sessions.add(session)
        for feature in self._features:
            feature.session_bound(session)
        self._exchange.put(row(session))
        log.debug("session_bound", extra=kv(jid=session.jid, counter=session.counter))

    def ended(self, session: Session, reason: str) -> None:
        """A session of ours is over, for whatever reason."""
        if not session.is_bound:
            return
        session.is_bound = False
        self.counters["ended"] += 1
        self._watchers.forget(session)
        self._sessions.remove(session)
        for feature in self._features:
            feature.session_ended(session, session.farewell)
        self._exchange.drop(session.counter)
        log.debug("session_ended", extra=kv(jid=session.jid, reason=reason))

    def _conflict(self, record: Record) -> None:
        """A session of ours has lost its full JID to a later one (RFC 6120 §7.7.2.2)."""
        self._turns.soon(self._close_loser, record.counter)

    def _close_loser(self, counter: int) -> None:
        session = self._sessions.get(counter)
        if session is not None:
            self.counters["conflicts"] += 1
            session.line.end("conflict")

    def close(self, bare: str, condition: str, text: str = "") -> int:
        """End all sessions here of a user, as an operator asked; returns how many."""
        sessions = self._sessions.of(bare)
        for session in sessions:
            session.line.end(condition, text)
        return len(sessions)

    # connections

    def entered(self, client: Line) -> None:
        self.connections[client] = None
        self._unbound[client] = self._turns.now

    def left(self, client: Line) -> None:
        self.connections.pop(client, None)
        self._unbound.pop(client, None)
        self._gate.leave(client.address)

    def sweep(self, now: float) -> None:
        """Cut who has connected and not bound a resource in time."""
        for client, since in list(self._unbound.items()):
            if now - since <= self.config.c2s.negotiation_timeout_s:
                break  # the others came later
            client.end("connection-timeout", "no resource was bound in time")
