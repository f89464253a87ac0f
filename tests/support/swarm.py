"""Many raw sessions in one thread: cheap enough for 10,000, exact enough to count what each was told."""

import base64
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable
from types import TracebackType
from typing import Self

from xcluster.loadtest import scram, stream
from xcluster.loadtest.stream import Element, StreamReader, condition
from xcluster.shared import ns

# The full numbers of issue 2 take minutes: the ordinary run works with smaller ones.
IS_FULL = bool(os.environ.get("XCLUSTER_FULL"))

Steps = Generator[bytes, Element, None]


class Member:
    """One session. `listens`: everything it is told after its log-in is kept, with the time when it came."""

    def __init__(self, user: str, port: int, resource: str = "r", listens: bool = True) -> None:
        self.user = user
        self.port = port
        self.resource = resource
        self.listens = listens
        self.jid = ""
        self.online_at = 0.0  # has got its own presence back: everybody on this node sees it
        self.closed_at = 0.0
        self.failure = ""  # why the stream ended: a stream error's condition, or a failed log-in
        self.told: list[tuple[float, Element]] = []
        self.socket: socket.socket | None = None
        self._reader: StreamReader | None = StreamReader()
        self._steps: Steps | None = None

    def send(self, data: bytes) -> None:
        assert self.socket is not None
        self.socket.sendall(data)

    def say(self, to: str, body: str) -> None:
        """A chat message; its id is its body."""
        self.send(stream.message(to, body, body))

    def heard(self) -> list[str]:
        """The bodies of the messages that came, in order."""
        bodies = [
            element.findtext(stream.BODY) for _, element in list(self.told) if element.tag == stream.MESSAGE
        ]
        return [str(body) for body in bodies if body is not None]

    def saw(self, type: str | None = None, since: float = 0.0) -> list[tuple[float, str]]:
        """Presence of a type that came from others: (when, full JID)."""
        return [
            (at, str(element.get("from")))
            for at, element in list(self.told)
            if element.tag == stream.PRESENCE and element.get("type") == type and at >= since
            and element.get("from") != self.jid
        ]  # fmt: skip

    # in the swarm's thread

    def open(self, domain: str, password: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", self.port), 30.0)
        self.socket.setblocking(False)
        self._steps = self._log_in(domain, password)
        self.send(next(self._steps))

    def take(self, data: bytes, now: float) -> None:
        """Bytes from the server."""
        if self._reader is None:
            return
        for element in self._reader.feed(data):
            if element.tag == stream.ERROR:
                self.failure = condition(element)
            elif self._steps is not None:
                self._step(element, now)
            elif self.listens:
                self.told.append((now, element))
            if element.tag == stream.IQ and element.get("type") in ("get", "set"):
                self.send(stream.iq("result", str(element.get("id")), "", element.get("from")))
        if self.online_at and not self.listens:
            self._reader = None  # deaf from now on

    def _step(self, element: Element, now: float) -> None:
        assert self._steps is not None
        try:
            self.send(self._steps.send(element))
        except StopIteration:
            self._steps = None
            if not self.failure:
                self.online_at = now

    def _log_in(self, domain: str, password: str) -> Steps:
        yield stream.header(domain)
        secret = base64.b64encode(scram.plain(self.user, password))
        answer = yield f"<auth xmlns='{ns.SASL}' mechanism='PLAIN'>".encode() + secret + b"</auth>"
        if answer.tag != f"{{{ns.SASL}}}success":
            self.failure = condition(answer)
            return
        self._reader = StreamReader()
        yield stream.header(domain)
        wish = f"<bind xmlns='{ns.BIND}'><resource>{self.resource}</resource></bind>"
        answer = yield stream.iq("set", "bind", wish)
        if answer.get("type") != "result":
            self.failure = condition(answer.find(stream.STANZA_ERROR))
            return
        self.jid = str(answer.findtext(f".//{{{ns.BIND}}}jid"))
        answer = yield stream.presence()
        while answer.get("from") != self.jid:
            if self.listens:
                self.told.append((time.monotonic(), answer))
            answer = yield b""


class Swarm:
    """Runs members; use it as a context manager."""

    def __init__(self, domain: str, password: str = "secret", in_flight: int = 32) -> None:
        self._domain = domain
        self._password = password
        self._in_flight = in_flight
        self._waiting: deque[Member] = deque()
        self._starting: set[Member] = set()
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ending = False
        self._thread = threading.Thread(target=self.run_loop, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._wake.send(b"!")
        self._thread.join(10.0)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._wake.close()
        self._selector.close()

    def start(self, members: Iterable[Member]) -> None:
        """Begin to log in; don't wait."""
        self._waiting.extend(members)
        self._wake.send(b"!")

    def log_in(self, *members: Member, seconds: float = 30.0) -> float:
        """Log in, wait until all are on line; returns log-ins a second."""
        began = time.monotonic()
        self.start(members)
        while not all(member.online_at for member in members):
            failed = next((member for member in members if member.failure or member.closed_at), None)
            assert failed is None, f"{failed.user} could not log in: {failed.failure or 'closed'}"
            late = sum(not member.online_at for member in members)
            assert time.monotonic() < began + seconds, f"{late} are not on line after {seconds} s"
            time.sleep(0.02)
        return len(members) / (time.monotonic() - began)

    def run_loop(self) -> None:
        while not self._ending:
            while self._waiting and len(self._starting) < self._in_flight:
                self._open(self._waiting.popleft())
            for key, _ in self._selector.select(1.0):
                if key.data is None:
                    self._woken.recv(512)
                else:
                    self._read(key.data)

    def _open(self, member: Member) -> None:
        self._starting.add(member)
        try:
            member.open(self._domain, self._password)
        except OSError as error:
            self._closed(member, str(error))
            return
        assert member.socket is not None
        self._selector.register(member.socket, selectors.EVENT_READ, member)

    def _read(self, member: Member) -> None:
        assert member.socket is not None
        try:
            data = member.socket.recv(262_144)
            if data:
                member.take(data, time.monotonic())
        except BlockingIOError:
            return
        except OSError as error:
            data = b""
            member.failure = member.failure or str(error)
        if member.online_at or member.failure:
            self._starting.discard(member)
        if not data:
            self._selector.unregister(member.socket)
            member.socket.close()
            self._closed(member, "")

    def _closed(self, member: Member, why: str) -> None:
        member.failure = member.failure or why
        member.closed_at = time.monotonic()
        self._starting.discard(member)
