"""A light XMPP client on gevent sockets (I/O): one greenlet per session, calls that wait.

`login` first; it ends with a bound resource. `start` then begins to read: stanzas go to the callback that
was given, answers to the IQs that wait for them, server pings are answered. `close` leaves as RFC 6120
§4.4 wants: what the server still sends is read to the end, so nothing is lost in a socket.
"""

import base64
import secrets
from collections.abc import Callable

import gevent
from gevent import ssl
from gevent.event import AsyncResult
from gevent.socket import create_connection
from gevent.socket import socket as Socket

from xcluster.loadtest import scram, stream
from xcluster.loadtest.nodes import Place, Tls
from xcluster.loadtest.stream import Element, StreamReader, condition
from xcluster.shared import ns
from xcluster.shared.errors import AuthError, StanzaError, StreamError

LIMIT_S = 30.0  # for one answer of the server

OnStanza = Callable[[Element], None]


def _make_context() -> ssl.SSLContext:
    # A load test's server shows a self-signed certificate, and whom it talks to is not the question.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_CONTEXT = _make_context()


class Client:
    """One session. Raises OSError (TimeoutError included), StreamError, AuthError, StanzaError."""

    def __init__(self, domain: str, limit_s: float = LIMIT_S) -> None:
        self.domain = domain
        self.jid = ""  # full JID, once bound
        self.closed = gevent.event.Event()
        self.broken: Exception | None = None  # why the stream ended, unless by `close`
        self._limit_s = limit_s
        self._socket: Socket | None = None
        self._stream = StreamReader()
        self._pending: list[Element] = []
        self._waiting: dict[str, AsyncResult] = {}
        self._ids = 0
        self._reader: gevent.Greenlet | None = None
        self._on_stanza: OnStanza = _ignore

    @property
    def bare(self) -> str:
        return self.jid.partition("/")[0]

    # before the session

    def login(
        self, place: Place, user: str, password: str, resource: str | None = None, *,
        tls: Tls = "none", mechanism: str | None = None,
    ) -> str:  # fmt: skip
        """Connect, authenticate, bind; returns the full JID. On failure nothing stays open."""
        try:
            self._connect(place.host, place.port, tls)
            self._authenticate(user, password, mechanism)
            self._bind(resource)
        except BaseException:
            self.abort()
            raise
        return self.jid

    def _connect(self, host: str, port: int, tls: Tls) -> None:
        self._socket = create_connection((host, port), timeout=self._limit_s)
        if tls == "direct":
            self._secure()
        self._features = self._open_stream()
        if tls == "starttls":
            self.send(f"<starttls xmlns='{ns.TLS}'/>".encode())
            if (answer := self._next()).tag != f"{{{ns.TLS}}}proceed":
                raise StreamError("policy-violation", f"starttls was answered by {answer.tag}")
            self._secure()
            self._features = self._open_stream()

    def _secure(self) -> None:
        self._socket = _CONTEXT.wrap_socket(self._socket, server_hostname=self.domain)

    def _open_stream(self) -> Element:
        """Begin a stream (again); returns its features."""
        self._stream = StreamReader()
        self.send(stream.header(self.domain))
        features = self._next()
        if features.tag != stream.FEATURES:
            raise StreamError("undefined-condition", f"{features.tag} instead of features")
        return features

    def _authenticate(self, user: str, password: str, wanted: str | None) -> None:
        offered = [str(item.text) for item in self._features.iter(f"{{{ns.SASL}}}mechanism")]
        mechanism = scram.choose(offered, wanted)
        if mechanism == "PLAIN":
            self._send_auth(mechanism, scram.plain(user, password))
            self._sasl_answer("success")
        else:
            exchange = scram.Scram(mechanism, user, password, secrets.token_urlsafe(18))
            self._send_auth(mechanism, exchange.first())
            proof = exchange.final(self._sasl_answer("challenge"))
            self.send(f"<response xmlns='{ns.SASL}'>".encode() + base64.b64encode(proof) + b"</response>")
            exchange.verify(self._sasl_answer("success"))
        self._features = self._open_stream()

    def _send_auth(self, mechanism: str, initial: bytes) -> None:
        tag = f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>"
        self.send(tag.encode() + base64.b64encode(initial) + b"</auth>")

    def _sasl_answer(self, expected: str) -> bytes:
        answer = self._next()
        if answer.tag == f"{{{ns.SASL}}}failure":
            raise AuthError(condition(answer))
        if answer.tag != f"{{{ns.SASL}}}{expected}":
            raise AuthError("malformed-request", f"{answer.tag} instead of {expected}")
        return base64.b64decode(answer.text or "")

    def _bind(self, resource: str | None) -> None:
        wish = f"<resource>{resource}</resource>" if resource else ""
        self.send(stream.iq("set", "bind", f"<bind xmlns='{ns.BIND}'>{wish}</bind>"))
        answer = self._next()
        if answer.tag != stream.IQ or answer.get("type") != "result":
            raise _stanza_error(answer)
        self.jid = str(answer.findtext(f".//{{{ns.BIND}}}jid"))

    def _next(self) -> Element:
        """The next first-level element, read in the caller's greenlet."""
        while not self._pending:
            assert self._socket is not None
            data = self._socket.recv(16_384)
            if not data:
                raise ConnectionResetError("the server closed the connection")
            self._pending = self._stream.feed(data)
        element = self._pending.pop(0)
        if element.tag == stream.ERROR:
            raise StreamError(condition(element))
        return element

    # the session

    def start(self, on_stanza: OnStanza) -> None:
        """Read from now on, in a greenlet; messages and presence (and IQ pushes) go to `on_stanza`."""
        assert self._socket is not None
        self._socket.settimeout(None)
        self._on_stanza = on_stanza
        self._reader = gevent.spawn(self.run_reader)

    def run_reader(self) -> None:
        assert self._socket is not None
        try:
            for element in self._pending:
                self._take(element)
            self._pending = []
            while not self._stream.closed:
                data = self._socket.recv(65_536)
                if not data:
                    raise ConnectionResetError("the server closed the connection")
                for element in self._stream.feed(data):
                    self._take(element)
        except (OSError, StreamError) as error:
            self.broken = error
        finally:
            self.closed.set()
            for answer in self._waiting.values():
                answer.set_exception(self.broken or ConnectionResetError("the stream ended"))

    def _take(self, element: Element) -> None:
        if element.tag == stream.ERROR:
            raise StreamError(condition(element))
        if element.tag == stream.IQ:
            type = element.get("type")
            if type in ("result", "error"):
                if answer := self._waiting.pop(str(element.get("id")), None):
                    answer.set(element)
                return
            self._answer(element)
        self._on_stanza(element)

    def _answer(self, iq: Element) -> None:
        """To the server's own requests: pings and roster pushes; nothing else is asked of us."""
        sender = iq.get("from")
        self.send(stream.iq("result", str(iq.get("id")), "", sender))

    def iq(self, type: str, payload: str, to: str | None = None) -> Element:
        """Ask, and wait for the result; raises StanzaError for an error."""
        self._ids += 1
        id = f"q{self._ids}"
        answer = self._waiting[id] = AsyncResult()
        self.send(stream.iq(type, id, payload, to))
        with gevent.Timeout(self._limit_s, TimeoutError(f"no answer to {payload[:60]}")):
            element = answer.get()
        if element.get("type") == "error":
            raise _stanza_error(element)
        return element

    def roster(self) -> list[str]:
        """Fetch the roster (RFC 6121 §2.1.3); the contacts' bare JIDs."""
        answer = self.iq("get", f"<query xmlns='{ns.ROSTER}'/>")
        return [str(item.get("jid")) for item in answer.iter(f"{{{ns.ROSTER}}}item")]

    def presence(self, type: str | None = None) -> None:
        self.send(stream.presence(type))

    def message(self, to: str, body: str, id: str) -> None:
        self.send(stream.message(to, body, id))

    def send(self, data: bytes) -> None:
        if self._socket is None:
            raise ConnectionResetError("not connected")
        self._socket.sendall(data)

    # its end

    def close(self) -> bool:
        """Leave in order; whether the server closed its stream within the limit."""
        if self._socket is None:
            return False
        try:
            self.send(stream.presence("unavailable") + stream.CLOSE)
            if self._reader is not None:
                self.closed.wait(self._limit_s)
        except OSError as error:
            self.broken = self.broken or error
        in_order = self._stream.closed
        self.abort()
        return in_order

    def abort(self) -> None:
        """Drop the connection."""
        if self._reader is not None and self._reader is not gevent.getcurrent():
            self._reader.kill()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _ignore(element: Element) -> None:
    pass


def _stanza_error(element: Element) -> StanzaError:
    error = element.find(stream.STANZA_ERROR)
    if error is None:
        return StanzaError("cancel", "undefined-condition", f"{element.tag} came instead of an answer")
    return StanzaError(error.get("type", ""), condition(error))
