"""IQs that this server answers itself: exactly one result or error each (RFC 6120 §8.2.3)."""

import logging
from collections.abc import Callable, Sequence

from xcluster.node.hooks import Feature, IqHandler, Request
from xcluster.node.session import Session
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza, error_reply, iq_result

log = logging.getLogger(__name__)

Answer = Callable[[Request], bytes]


class Iqs:
    """Requests to handlers, by (type, payload, where it is addressed to)."""

    def __init__(self, features: Sequence[Feature], spawn: Callable[..., object]) -> None:
        self._spawn = spawn
        self._handlers: dict[tuple[str, str, str], tuple[Answer, bool]] = {}
        for feature in features:
            for name in dir(feature):
                method = getattr(feature, name)
                for mark in getattr(method, "iq_handlers", ()):
                    self._add(mark, method)

    def _add(self, mark: IqHandler, method: Answer) -> None:
        for at in mark.at:
            key = (mark.type, mark.name, at)
            if key in self._handlers:
                raise TypeError(f"two handlers for {key}")
            self._handlers[key] = (method, mark.waits)

    def handle(self, session: Session, stanza: Stanza, at: str, user: str) -> None:
        """Answer a request, at once or from a greenlet; the session's later stanzas wait for it."""
        request = Request(session, stanza, at, user)
        found = self._handlers.get((stanza.type or "", stanza.children[0], at))
        if found is None:
            session.send(error_reply(stanza, "cancel", "service-unavailable", to=session.jid))
            return
        handler, waits = found
        if waits:
            session.line.hold()
            self._spawn(self._wait, handler, request)
        else:
            session.send(self._answer(handler, request))

    def _wait(self, handler: Answer, request: Request) -> None:
        try:
            request.session.send(self._answer(handler, request))
        finally:
            request.session.line.release()

    def _answer(self, handler: Answer, request: Request) -> bytes:
        stanza, to = request.stanza, request.session.jid
        try:
            return iq_result(stanza, handler(request), to=to)
        except StanzaError as error:
            return error_reply(stanza, error.type, error.condition, error.text, to=to)
        except StoreError as error:
            log.warning("iq_refused", extra=kv(jid=to, payload=stanza.children[0], error=error))
            return error_reply(stanza, "wait", "resource-constraint", "the store is away, try again", to=to)
        except Exception:
            log.exception("iq_failed", extra=kv(jid=to, payload=stanza.children[0]))
            return error_reply(stanza, "cancel", "internal-server-error", to=to)
