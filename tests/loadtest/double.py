"""A small XMPP server that can be told to do wrong: what the load test must notice, it does on purpose.

One thread, one event loop; several ports stand for several nodes. PLAIN and SCRAM-SHA-1; users are user0 ..
userN-1 with the password "secret" and ring rosters. Messages to people who are away are kept.
"""

import asyncio
import base64
import hashlib
import hmac
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from xml.sax.saxutils import escape

from lxml import etree

from xcluster.loadtest.sightings import contacts
from xcluster.loadtest.stream import BODY, CLOSE, IQ, MESSAGE, PRESENCE, StreamReader
from xcluster.shared import ns

DOMAIN = "double.test"
SALT = b"salt of the double"
DELAY = f"<delay xmlns='{ns.DELAY}' stamp='2026-01-01T00:00:00Z'/>".encode()
FEATURES = {
    False: f"<mechanisms xmlns='{ns.SASL}'><mechanism>PLAIN</mechanism>"
    "<mechanism>SCRAM-SHA-1</mechanism></mechanisms>",
    True: f"<bind xmlns='{ns.BIND}'/>",
}


class Double:
    """The server; `twist` names the wrong that it does to every 10th message or presence."""

    def __init__(self, users: int, twist: str = "") -> None:
        self.users = users
        self.twist = twist
        self.sessions: dict[str, Session] = {}
        self.kept: dict[str, list[bytes]] = {}
        self.passed = 0
        self.swapped: dict[tuple[str, str], bytes] = {}

    def online(self, user: str) -> "Session | None":
        session = self.sessions.get(user)
        return session if session and session.available else None

    def message(self, sender: "Session", to: str, type: str, id: str, body: str) -> None:
        """Hand it over, or do it wrong."""
        self.passed += 1
        twist = self.twist if self.passed % 10 == 0 else ""
        if twist == "drop":
            return
        if twist == "bounce":
            sender.write(
                f"<message from='{to}' id='{id}' type='error'><error type='cancel'>"
                f"<service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error></message>"
            )
            return
        if twist == "spoil":
            body = body.replace(".", ",", 1)
        user = to.partition("@")[0]
        if twist == "misroute":
            others = [name for name in self.sessions if name != user and self.online(name)]
            user = others[0] if others else user
        start = f"<message from='{sender.jid}' to='{to}' type='{type}' id='{id}'>"
        data = f"{start}<body>{escape(body)}</body>".encode()
        lane = (sender.jid, user)
        if twist == "reorder" and lane not in self.swapped:
            self.swapped[lane] = data
            return
        self.deliver(user, data)
        if twist == "double":
            self.deliver(user, data)
        if earlier := self.swapped.pop(lane, None):
            self.deliver(user, earlier)

    def deliver(self, user: str, data: bytes) -> None:
        if session := self.online(user):
            session.write(data + b"</message>")
        else:
            self.kept.setdefault(user, []).append(data)

    def presence(self, session: "Session", type: str | None) -> None:
        session.available = type is None
        stanza = (
            f"<presence from='{session.jid}'/>"
            if type is None
            else (f"<presence from='{session.jid}' type='unavailable'/>")
        )
        for contact in contacts(int(session.user[4:]), self.users):
            if other := self.online(f"user{contact}"):
                self.passed += 1
                wrong = self.passed % 10 == 0
                if not (wrong and self.twist == "untold"):
                    other.write(stanza)
                if wrong and self.twist == "told twice":
                    other.write(stanza)
                if type is None:
                    session.write(f"<presence from='{other.jid}'/>")
        if type is None:
            session.write(stanza)
            for data in self.kept.pop(session.user, []):
                session.write(data + DELAY + b"</message>")


class Session(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: Double) -> None:
        self.server = server
        self.reader: StreamReader | None = None
        self.user = self.jid = ""
        self.available = self.authenticated = False
        self.scram: tuple[str, str] = ("", "")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self.available:
            self.server.presence(self, "unavailable")
        if self.server.sessions.get(self.user) is self:
            del self.server.sessions[self.user]

    def write(self, text: str | bytes) -> None:
        self.transport.write(text if isinstance(text, bytes) else text.encode())

    def data_received(self, data: bytes) -> None:
        if self.reader is None:
            self.reader = StreamReader()
            self.write(
                f"<?xml version='1.0'?><stream:stream from='{DOMAIN}' id='1' version='1.0' "
                f"xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}'>"
                f"<stream:features>{FEATURES[self.authenticated]}</stream:features>"
            )
        reader = self.reader
        for element in reader.feed(data):
            self.take(element)
        if reader.closed:
            if self.available:
                self.server.presence(self, "unavailable")
            self.write(CLOSE)
            self.transport.close()

    def take(self, element: etree._Element) -> None:
        name = etree.QName(element).localname
        if name in ("auth", "response"):
            self.authenticate(element.get("mechanism"), base64.b64decode(element.text or ""))
        elif element.tag == MESSAGE:
            type, id = element.get("type", "normal"), element.get("id", "")
            self.server.message(self, element.get("to", ""), type, id, element.findtext(BODY, ""))
        elif element.tag == PRESENCE:
            self.server.presence(self, element.get("type"))
        elif element.tag == IQ and (resource := element.findtext(f".//{{{ns.BIND}}}resource")):
            self.jid = f"{self.user}@{DOMAIN}/{resource}"
            self.server.sessions[self.user] = self
            self.write(
                f"<iq type='result' id='{element.get('id')}'><bind xmlns='{ns.BIND}'>"
                f"<jid>{self.jid}</jid></bind></iq>"
            )
        elif element.tag == IQ:
            items = "".join(
                f"<item jid='user{contact}@{DOMAIN}' subscription='both'/>"
                for contact in contacts(int(self.user[4:]), self.server.users)
            )
            self.write(
                f"<iq type='result' id='{element.get('id')}'><query xmlns='{ns.ROSTER}'>{items}</query></iq>"
            )

    def authenticate(self, mechanism: str | None, message: bytes) -> None:
        if mechanism == "PLAIN":
            _, self.user, password = message.decode().split("\0")
            self.result(password == "secret")
        elif mechanism == "SCRAM-SHA-1":
            bare = message.decode().removeprefix("n,,")
            self.user = bare.split(",")[0][2:]
            challenge = f"r={bare.split(',')[1][2:]}xyz,s={base64.b64encode(SALT).decode()},i=4096"
            self.scram = (bare, challenge)
            self.write(
                f"<challenge xmlns='{ns.SASL}'>{base64.b64encode(challenge.encode()).decode()}</challenge>"
            )
        else:
            without_proof, _, proof = message.decode().partition(",p=")
            salted = hashlib.pbkdf2_hmac("sha1", b"secret", SALT, 4096)
            key = hmac.digest(salted, b"Client Key", "sha1")
            signed = ",".join((*self.scram, without_proof)).encode()
            signature = hmac.digest(hashlib.sha1(key).digest(), signed, "sha1")
            expected = bytes(a ^ b for a, b in zip(key, signature, strict=True))
            server = hmac.digest(hmac.digest(salted, b"Server Key", "sha1"), signed, "sha1")
            self.result(base64.b64decode(proof) == expected, b"v=" + base64.b64encode(server))

    def result(self, good: bool, data: bytes = b"") -> None:
        self.authenticated = good
        if good:
            self.reader = None
            self.write(f"<success xmlns='{ns.SASL}'>{base64.b64encode(data).decode()}</success>")
        else:
            self.write(f"<failure xmlns='{ns.SASL}'><not-authorized/></failure>")


@contextmanager
def running(users: int, twist: str = "", ports: int = 3) -> Iterator[str]:
    """A double on some ports of the loopback; gives them as `host:port,host:port`."""
    server = Double(users, twist)
    loop = asyncio.new_event_loop()
    sockets = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(ports)]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        for listener in sockets:
            start = loop.create_server(lambda: Session(server), sock=listener)
            asyncio.run_coroutine_threadsafe(start, loop).result(10)
        yield ",".join("{}:{}".format(*listener.getsockname()) for listener in sockets)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for listener in sockets:
            listener.close()
        loop.close()
