"""IQs that this server answers itself: exactly one result or error each (RFC 6120 §8.2.3)."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from xcluster.node.hooks import Feature, IqHandler, Reply, Request
from xcluster.node.session import Session
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza, error_reply, iq_result

log = logging.getLogger(__name__)

Answer = Callable[[Request], bytes]
LaterAnswer = Callable[[Request, Reply], None]


class Iqs:
    """Requests to handlers, by (type, payload, where it is addressed to)."""

    def __init__(self, features: Sequence[Feature], spawn: Callable[..., object]) -> None:
        self._spawn = spawn
        self._handlers: dict[tuple[str, str, str], Callable[[Request], None]] = {}
        for feature in features:
            for name in dir(feature):
                method = getattr(feature, name)
                for mark in getattr(method, "iq_handlers", ()):
                    self._add(mark, method)

    def _add(self, mark: IqHandler, method: Callable[..., Any]) -> None:
        way = self._wait if mark.waits else self._later if mark.later else self._at_once
        for at in mark.at:
            key = (mark.type, mark.name, at)
            if key in self._handlers:
                raise TypeError(f"two handlers for {key}")
            self._handlers[key] = partial(way, method)

    def handle(self, session: Session, stanza: Stanza, at: str, user: str) -> None:
        """Answer a request, at once or later; the session's later stanzas wait for it."""
        handler = self._handlers.get((stanza.type or "", stanza.children[0], at))
        if handler is None:
            session.send(error_reply(stanza, "cancel", "service-unavailable", to=session.jid))
        else:
            handler(Request(session, stanza, at, user))

    def _at_once(self, handler: Answer, request: Request) -> None:
        request.session.send(self._answer(request, partial(handler, request)))

    def _wait(self, handler: Answer, request: Request) -> None:
        request.session.line.hold()
        self._spawn(self._reply, request, partial(handler, request))

    def _later(self, handler: LaterAnswer, request: Request) -> None:
        request.session.line.hold()
        try:
            handler(request, partial(self._reply, request))
        except StanzaError as error:  # before it has replied
            self._reply(request, partial(_fail, error))

    def _reply(self, request: Request, payload: Callable[[], bytes]) -> None:
        try:
            request.session.send(self._answer(request, payload))
        finally:
            request.session.line.release()

    def _answer(self, request: Request, payload: Callable[[], bytes]) -> bytes:
        stanza, to = request.stanza, request.session.jid
        try:
            return iq_result(stanza, payload(), to=to)
        except StanzaError as error:
            return error_reply(stanza, error.type, error.condition, error.text, to=to)
        except StoreError as error:
            log.warning("iq_refused", extra=kv(jid=to, payload=stanza.children[0], error=error))
            return error_reply(stanza, "wait", "resource-constraint", "the store is away, try again", to=to)
        except Exception:
            log.exception("iq_failed", extra=kv(jid=to, payload=stanza.children[0]))
            return error_reply(stanza, "cancel", "internal-server-error", to=to)


def _fail(error: StanzaError) -> bytes:
    raise error
