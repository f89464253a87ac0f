"""A client made of a socket: logs in like anybody, then sends whatever bytes a test wants sent."""

import base64
import re
import secrets
import socket
import ssl
import time
from types import TracebackType
from typing import Self

from xcluster.loadtest.scram import Scram, plain

HEADER = (
    "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xml:lang='en'"
    " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"


class RawClient:
    """A blocking connection. `source` is the address it comes from; all of 127/8 is ours."""

    def __init__(
        self, port: int, domain: str = "test.example", source: str = "", receive_buffer: int = 0
    ) -> None:
        self.domain = domain
        self.jid = ""
        self._came = b""
        self.sock: socket.socket = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.sock.bind((source, 0))
        self.sock.settimeout(5.0)
        self.sock.connect(("127.0.0.1", port))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    # bytes

    def send(self, data: bytes | str) -> None:
        self.sock.sendall(data.encode() if isinstance(data, str) else data)

    def until(self, *tokens: str, seconds: float = 5.0) -> str:
        """What comes up to the end of the first of these tokens; raises AssertionError when none comes."""
        deadline = time.monotonic() + seconds
        while True:
            ends = [
                self._came.find(token.encode()) + len(token)
                for token in tokens
                if token.encode() in self._came
            ]
            if ends:
                result, self._came = self._came[: min(ends)], self._came[min(ends) :]
                return result.decode(errors="replace")
            assert self._read(deadline), f"wanted {tokens}, got {self._came[-2000:]!r}"

    def rest(self, seconds: float = 5.0) -> str:
        """All that comes until the server closes; raises AssertionError when it does not."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            assert time.monotonic() < deadline, f"still open after {self._came[-2000:]!r}"
        result, self._came = self._came, b""
        return result.decode(errors="replace")

    def _read(self, deadline: float) -> bool:
        """Read once more; False at the end of the connection. A reset is no proper end."""
        self.sock.settimeout(max(deadline - time.monotonic(), 0.01))
        try:
            data = self.sock.recv(65_536)
        except TimeoutError:
            raise AssertionError(f"nothing more within the limit; got {self._came[-2000:]!r}") from None
        finally:
            self.sock.settimeout(5.0)
        self._came += data
        return bool(data)

    # the way in

    def open(self, header: str = HEADER) -> str:
        """A stream header; returns the server's, with its features."""
        self.send(header.format(domain=self.domain))
        return self.until("</stream:features>")

    def starttls(self) -> Self:
        """A header, STARTTLS and the handshake; `open` or `log_in` comes next."""
        self.open()
        self.send(STARTTLS)
        self.until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        return self.direct_tls()

    def direct_tls(self) -> Self:
        """The handshake, on a port for direct TLS."""
        self.sock = unverified().wrap_socket(self.sock, server_hostname=self.domain)
        return self

    def auth(self, mechanism: str, payload: bytes | str) -> str:
        """Begin a SASL exchange; bytes are encoded, text goes out as it is. Returns the answer."""
        text = payload if isinstance(payload, str) else base64.b64encode(payload).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>")
        return self.answer()

    def respond(self, payload: bytes | str) -> str:
        text = payload if isinstance(payload, str) else base64.b64encode(payload).decode()
        self.send(f"<response xmlns='{SASL}'>{text}</response>")
        return self.answer()

    def answer(self) -> str:
        """One SASL element of the server's."""
        return self.until("</challenge>", "</success>", "</failure>")

    def plain(self, user: str, password: str = "secret") -> str:
        return self.auth("PLAIN", plain(user, password))

    def scram(self, user: str, password: str = "secret", mechanism: str = "SCRAM-SHA-256") -> str:
        exchange = Scram(mechanism, user, password, secrets.token_hex(8))
        challenge = self.auth(mechanism, exchange.first())
        assert "</challenge>" in challenge, challenge
        answer = self.respond(exchange.final(payload_of(challenge)))
        if "</success>" in answer:
            exchange.verify(payload_of(answer))
        return answer

    def log_in(self, user: str, resource: str = "", password: str = "secret") -> Self:
        """Header, PLAIN or SCRAM, a new header; with `resource` bound to it. Not available yet."""
        features = self.open()
        answer = (self.plain if ">PLAIN<" in features else self.scram)(user, password)
        assert "<success" in answer, answer
        self.open()
        if resource:
            self.bind(resource)
        return self

    def bind(self, resource: str) -> str:
        """Returns the answer; `jid` is what was bound."""
        self.send(
            f"<iq type='set' id='bind'><bind xmlns='{BIND}'><resource>{resource}</resource></bind></iq>"
        )
        answer = self.until("</iq>")
        found = re.search("<jid>(.*)</jid>", answer)
        self.jid = found[1] if found else ""
        return answer

    def appear(self) -> None:
        """Initial presence, seen to have been handled."""
        self.send("<presence/>")
        self.ping()

    def ping(self, seconds: float = 5.0) -> None:
        """A ping to the server and back: all sent before has been handled."""
        id = secrets.token_hex(4)
        self.send(f"<iq type='get' id='{id}' to='{self.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        self.until(f"id='{id}'/>", seconds=seconds)


class Pair:
    """Two people who behave well: as long as they get through, the nodes serve others."""

    def __init__(self, one: RawClient, other: RawClient) -> None:
        self.one = one
        self.other = other
        self._number = 0

    def talk(self, seconds: float = 3.0) -> float:
        """A message each way; how long both took."""
        self._number += 1
        began = time.monotonic()
        for sender, receiver in ((self.one, self.other), (self.other, self.one)):
            body = f"<body>well {self._number} {sender.jid}</body>"
            sender.send(f"<message to='{receiver.jid}' type='chat'>{body}</message>")
            receiver.until(f"{body}</message>", seconds=seconds)
        return time.monotonic() - began

    def close(self) -> None:
        self.one.close()
        self.other.close()


def payload_of(element: str) -> bytes:
    """What a SASL element carries."""
    return base64.b64decode(element.rpartition("</")[0].rpartition(">")[2])


def unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
