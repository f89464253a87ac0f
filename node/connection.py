"""(I/O) One client: transport, framer, negotiation and session together.

Bytes come from the transport, become events in the framer, and go to the negotiation until a resource is
bound, to `Inbound` from then on. While something is waited for (an account, a key, a roster) later events are
held back, in order; past a bound the client is no longer read.
"""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gevent

from xcluster.node.bucket import Bucket
from xcluster.node.reception import Reception
from xcluster.node.session import Session
from xcluster.node.store.protocol import Account
from xcluster.node.stream.errors import sasl_failure
from xcluster.node.stream.negotiation import Negotiation
from xcluster.node.stream.steps import (
    Authenticated,
    Bind,
    Close,
    Derive,
    Failed,
    LookUp,
    Register,
    Reply,
    StartTls,
    Step,
)
from xcluster.node.transport.tcp import READ_BYTES, Connection
from xcluster.shared.errors import AuthError, StanzaError, StoreError, StreamError
from xcluster.shared.framing import Event, Framer, StreamEnd, StreamHeader
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza

log = logging.getLogger(__name__)

MAX_HELD = 256  # events that wait behind something; beyond: the client is not read
MAX_HELD_BYTES = 524_288  # the same, for large ones
# Taken at once where rates are limited: how far a client can get ahead of its rate.
LIMITED_READ_BYTES = 16_384
# Handled in one turn of the loop; the rest of a large read waits, so that others get theirs.
TURN_EVENTS = 256


class ClientConnection:
    """The owner of a transport connection, and the line of a session."""

    __slots__ = (
        "_bucket",
        "_framer",
        "_held",
        "_held_bytes",
        "_holds",
        "_is_draining",
        "_is_ended",
        "_negotiation",
        "_reception",
        "connection",
        "session",
        "since",
        "write",
    )

    def __init__(self, connection: Connection, reception: Reception, direct_tls: bool) -> None:
        self.connection = connection
        self.write: Callable[[bytes], None] = connection.write
        self.session: Session | None = None
        self.since = connection.turns.now
        self._reception = reception
        self._framer = Framer(reception.pool, reception.config.c2s.max_stanza_bytes_unauthenticated)
        self._negotiation: Negotiation | None = reception.negotiation(connection.address)
        self._held: deque[Event] | tuple[()] = ()  # even an empty deque takes 700 bytes
        self._held_bytes = 0  # read since something was held
        self._holds = 0
        self._is_draining = False
        self._is_ended = False
        self._bucket: Bucket | None = reception.bucket()
        connection.read_bytes = self._framer.limit  # what strangers send in one piece is soon handled
        connection.start(self)
        if direct_tls:
            connection.start_tls(reception.tls)

    # the line of a session

    @property
    def address(self) -> str:
        return self.connection.address

    @property
    def heard_at(self) -> float:
        return self.connection.heard_at

    @property
    def unsent(self) -> int:
        return self.connection.queued

    @property
    def has_lost(self) -> bool:
        return self.connection.has_lost

    @property
    def is_secure(self) -> bool:
        return self.connection.is_tls

    def write_later(self, data: bytes) -> None:
        self.connection.write_later(data)

    def end(self, condition: str, text: str = "") -> None:
        """Close the stream with an error (RFC 6120 §4.9)."""
        if self._is_ended:
            return
        self._is_ended = True
        self.connection.write(self._reception.stream_error(self._negotiation, condition, text))
        log.info("stream_error", extra=kv(jid=self._name(), condition=condition, text=text))
        self._leave(condition)

    def hold(self) -> None:
        self._holds += 1

    def release(self) -> None:
        self._holds -= 1
        if not self._holds and not self._is_draining:
            self._drain()

    def _name(self) -> str:
        return self.session.jid if self.session is not None else self.connection.address

    def _leave(self, reason: str, is_mutual: bool = False) -> None:
        """The stream is over: the session ends now, the socket when everything is written."""
        self._is_ended = True
        self._framer.close()
        self._held = ()
        session, self.session = self.session, None
        if session is not None:
            self._reception.ended(session, reason)
        self.connection.close(reason, is_mutual)

    # the owner of a connection

    def received(self, data: bytes) -> None:
        if self._is_ended:
            return
        events = self._framer.feed(data)
        if self._bucket is not None:
            self._throttle(len(data), len(events))
        if self._holds or self._held:
            self._hold_back(events)
            self._held_bytes += len(data)
            if len(self._held) > MAX_HELD or self._held_bytes > MAX_HELD_BYTES:
                self.connection.pause()
        else:
            self._take(events)

    def _throttle(self, size: int, stanzas: int) -> None:
        """A client over its rate is slowed: what it sent waits, unread or unhandled, until it has the tokens."""
        assert self._bucket is not None
        wait_s = self._bucket.spend(size, stanzas, self.connection.turns.now)
        if wait_s > 0:
            self.hold()
            self.connection.pause()
            self.connection.turns.after(wait_s, self.release)

    def secured(self) -> None:
        assert self._negotiation is not None
        self._negotiation.secured(self._reception.binding)
        self._framer.restart()

    def closed(self, reason: str) -> None:
        self._is_ended = True
        self._framer.close()
        self._held = ()
        session, self.session = self.session, None
        if session is not None:
            self._reception.ended(session, reason)
        self._reception.left(self)

    # events

    def _take(self, events: Sequence[Event]) -> None:
        for index, event in enumerate(events):
            if index == TURN_EVENTS:
                self._hold_back(events[index:])
                self._go_on_later()
                return
            try:
                if self.session is not None and type(event) is Stanza:  # nearly always
                    self._reception.inbound.stanza(self.session, event)
                else:
                    self._handle(event, index + 1 < len(events))
            except StreamError as error:
                self.end(error.condition, error.text)
            except Exception:
                log.exception("stream_failed", extra=kv(jid=self._name()))
                self.end("internal-server-error")
            if self._is_ended:
                return
            if self._holds:
                self._hold_back(events[index + 1 :])
                return

    def _hold_back(self, events: Sequence[Event]) -> None:
        if self._held:
            self._held.extend(events)
        elif events:
            self._held = deque(events)

    def _go_on_later(self) -> None:
        self.hold()
        self.connection.turns.soon(self.release)

    def _drain(self) -> None:
        """Go on with what was held back."""
        self._is_draining = True
        taken = 0
        try:
            while self._held and not self._holds and not self._is_ended:
                if taken == TURN_EVENTS:
                    self._go_on_later()
                    break
                taken += 1
                self._take((self._held.popleft(),))
        finally:
            self._is_draining = False
        if not self._held and not self._holds:
            self._held = ()
            self._held_bytes = 0
            self.connection.resume()

    def _handle(self, event: Event, more: bool) -> None:
        if isinstance(event, Stanza):
            assert self._negotiation is not None
            self._step(self._negotiation.element(event), more)
        elif isinstance(event, StreamHeader):
            if self._negotiation is None:
                raise StreamError("invalid-xml", "a second stream header")
            self.write(self._negotiation.header(event))
        elif isinstance(event, StreamEnd):
            self.write(b"</stream:stream>")
            self._leave("ended by client", is_mutual=True)
        elif isinstance(event, StreamError):
            raise event

    # steps of the negotiation

    def _step(self, step: Step, more: bool = False) -> None:
        _STEPS[type(step)](self, step, more)

    def _reply(self, step: Reply, more: bool) -> None:
        self.write(step.data)

    def _close(self, step: Close, more: bool) -> None:
        self.write(step.data)
        self._leave("negotiation ended")

    def _start_tls(self, step: StartTls, more: bool) -> None:
        if more or self._held or self._framer.pending:
            raise StreamError("policy-violation", "data came before the TLS handshake (RFC 6120 §5.3.3)")
        self.write(step.data)
        self.connection.start_tls(self._reception.tls)

    def _authenticated(self, step: Authenticated, more: bool) -> None:
        if more or self._held or self._framer.pending:
            raise StreamError("policy-violation", "data came before the stream restart")
        try:
            self._reception.check_log_in(step.user, self.address)  # again: guesses may run side by side
        except AuthError as error:
            self.write(sasl_failure(error.condition, error.text))
            raise StreamError("policy-violation") from error
        self.write(step.data)
        self._framer.restart()
        self._framer.limit = self._reception.config.c2s.max_stanza_bytes
        self.connection.read_bytes = READ_BYTES if self._bucket is None else LIMITED_READ_BYTES

    def _failed(self, step: Failed, more: bool) -> None:
        self._reception.log_in_failed(step.user, self.address, step.condition)
        self.write(step.data)
        if step.close:
            self._leave("too many failed log-ins")

    def _look_up(self, step: LookUp, more: bool) -> None:
        self.hold()
        looked_up = partial(self._looked_up, step.user)
        self._reception.store.ask_account(step.user, partial(self._run_wait, looked_up))

    def _looked_up(self, user: str, account: Callable[[], Account | None]) -> Step:
        assert self._negotiation is not None
        self._reception.check_log_in(user, self.address)
        return self._negotiation.looked_up(account())

    def _derive(self, step: Derive, more: bool) -> None:
        assert self._negotiation is not None
        passwords = self._reception.passwords
        if passwords.known(step.user, step.password, step.key):
            self._step(self._negotiation.derived(True))
        else:
            self.hold()
            derived = partial(self._run_wait, self._derived)
            passwords.check(step.user, step.password, step.key, step.hash_name, derived)

    def _derived(self, is_right: Callable[[], bool]) -> Step:
        assert self._negotiation is not None
        return self._negotiation.derived(is_right())

    def _register(self, step: Register, more: bool) -> None:
        self.hold()
        gevent.spawn(self._run_wait, self._run_register, step)

    def _run_register(self, step: Register) -> Step:
        return Reply(self._reception.registrar.answer(step.stanza, self.address))

    def _run_wait(self, work: Callable[[Any], Step], argument: Any) -> None:
        """Go on with what was waited for: in a greenlet, or called back by the store or a thread."""
        try:
            try:
                done = work(argument)
            except AuthError as error:
                assert self._negotiation is not None
                done = self._negotiation.refused(error.condition, error.text)
            except StoreError as error:
                log.warning("log_in_delayed", extra=kv(address=self.address, error=error))
                assert self._negotiation is not None
                done = self._negotiation.refused("temporary-auth-failure", "the store is away")
            if not self._is_ended:
                self._step(done)
        except StreamError as error:
            self.end(error.condition, error.text)
        except Exception:
            log.exception("log_in_failed", extra=kv(address=self.address))
            self.end("internal-server-error")
        finally:
            self.release()

    def _bind(self, step: Bind, more: bool) -> None:
        negotiation = self._negotiation
        assert negotiation is not None
        try:
            session = self._reception.bind(negotiation.user, step.resource, self, negotiation.lang)
        except StanzaError as error:
            self._step(negotiation.bind_refused(error.type, error.condition, error.text))
            return
        self.write(negotiation.bound(session.jid).data)
        self._negotiation = None
        self.session = session
        self._reception.bound(session)


_STEPS: dict[type, Callable[[ClientConnection, Any, bool], None]] = {
    Reply: ClientConnection._reply,
    Close: ClientConnection._close,
    StartTls: ClientConnection._start_tls,
    LookUp: ClientConnection._look_up,
    Derive: ClientConnection._derive,
    Authenticated: ClientConnection._authenticated,
    Failed: ClientConnection._failed,
    Register: ClientConnection._register,
    Bind: ClientConnection._bind,
}
