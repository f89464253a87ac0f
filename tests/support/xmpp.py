"""Clients for tests on real clusters: loadtest's light client, and what it has seen.

gevent's sockets without monkey patching: a test that lets clients work waits with `until`, which turns the loop.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import gevent

from xcluster.loadtest import stream
from xcluster.loadtest.client import Client
from xcluster.loadtest.nodes import Place
from xcluster.loadtest.stream import Element

T = TypeVar("T")


def until(claim: Callable[[], T], seconds: float = 10.0, every: float = 0.02) -> T:
    """`eventually` for tests with clients: they work while it waits."""
    deadline = time.monotonic() + seconds
    while True:
        result = claim()
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s; last seen: {result!r}")
        gevent.sleep(every)


class Person(Client):
    """A session that notes what comes: (sender, body) of messages, who went off line, which errors."""

    def __init__(
        self, domain: str, port: int, user: str, resource: str | None = None, password: str = "secret"
    ) -> None:
        super().__init__(domain)
        self.received: list[tuple[str, str]] = []
        self.delayed = 0  # messages that say that they were stored, or may have been seen before
        self.online: set[str] = set()
        self.departed: list[str] = []  # full JIDs of whom we were told that they are unavailable
        self.errors: list[str] = []
        self.answer: Callable[[str, str], str] | None = None  # (sender, body) -> what to answer at once
        self._sent = 0
        self.login(Place("", "127.0.0.1", port), user, password, resource, mechanism="PLAIN")
        self.start(self._see)

    def _see(self, element: Element) -> None:
        sender = element.get("from") or ""
        if element.tag == stream.MESSAGE:
            if element.get("type") == "error":
                self.errors.append(f"{sender}: {stream.condition(element.find(stream.STANZA_ERROR))}")
                return
            body = element.findtext(stream.BODY) or ""
            self.received.append((sender, body))
            self.delayed += element.find(stream.DELAY) is not None
            if self.answer is not None:
                self.say(sender, self.answer(sender, body))
        elif element.tag == stream.PRESENCE:
            if element.get("type") == "unavailable":
                self.online.discard(sender)
                self.departed.append(sender)
            elif element.get("type") is None:
                self.online.add(sender)

    def say(self, to: str, body: str) -> None:
        self._sent += 1
        self.message(to, body, f"m{self._sent}")

    @property
    def is_cut(self) -> bool:
        """Whether the stream has ended, unless by ourselves."""
        return self.closed.is_set()
