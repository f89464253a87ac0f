"""Framing: bytes of a connection become a stream header, stanzas, and the end of the stream (RFC 6120 §4).

`parsers` checks; a framer decides what to feed. It borrows a parser only while a stanza is incomplete: an
idle framer costs 0.1 KiB. What expat is given always ends with a complete tag, and what comes behind that tag
waits here: an expat that defers reparsing (2.6, and Debian's 2.5.0+deb12u5) has nothing to defer, so that a
stanza comes out with the byte that ends it. An incomplete tag is scanned on from where the last scan stopped,
so that tiny reads cost no more than large ones.
"""

import re
from collections.abc import Sequence

from xcluster.shared.errors import StreamError
from xcluster.shared.parsers import (
    WHITESPACE,
    Event,
    Parser,
    ParserPool,
    StreamEnd,
    StreamHeader,
    read_header,
)
from xcluster.shared.stanza import Stanza

__all__ = ["Event", "Framer", "ParserPool", "Stanza", "StreamEnd", "StreamHeader"]

_LESS_THAN = ord("<")
_QUOTE_OR_END = re.compile(rb"""["'>]""")
_RESTRICTED = re.compile(rb"<(?:\?|!-|!D)")  # processing instruction, comment, DTD


class _Incomplete:
    """What a framer keeps of a stanza, or a header, that has not ended."""

    __slots__ = ("held", "in_tag", "parser", "quote")

    def __init__(self) -> None:
        self.parser: Parser | None = None
        self.held = bytearray()  # what came behind the last complete tag
        self.in_tag = True  # held begins with the "<" of an open tag; else it is text
        self.quote = b""  # the quote that is open at the end of held

    def size(self) -> int:
        return len(self.held) + (0 if self.parser is None else len(self.parser.fed))

    def scan(self, position: int) -> int:
        """The offset behind the open tag in held, looked for from `position`; -1 when it is not there."""
        held = self.held
        while True:
            if self.quote:
                position = held.find(self.quote, position) + 1
                if not position:
                    return -1
                self.quote = b""
            match = _QUOTE_OR_END.search(held, position)
            if match is None:
                return -1
            position = match.end()
            if match[0] == b">":
                return position
            self.quote = match[0]


class Framer:
    """One connection's framing. `feed` it what was read; a StreamError or StreamEnd is its last event.

    `limit` is the size of the largest element taken, in bytes; it may be changed at any time.
    """

    __slots__ = ("_between", "_closed", "_incomplete", "_open", "_pool", "limit")

    def __init__(self, pool: ParserPool, limit: int) -> None:
        self.limit = limit
        self._pool = pool
        self._open = False  # the header has come
        self._between = False  # two stanzas, with nothing held: what comes must begin one, or end the stream
        self._incomplete: _Incomplete | None = None
        self._closed = False

    @property
    def pending(self) -> int:
        """How many bytes have come that no event has told of."""
        return 0 if self._incomplete is None else self._incomplete.size()

    def restart(self) -> None:
        """Expect a new header (after STARTTLS or SASL). What is pending is dropped: look at it before."""
        self.close()
        self._open = self._closed = False

    def close(self) -> None:
        """Take nothing any more, and let the parser go."""
        self._closed = True
        self._between = False
        if self._incomplete is not None and self._incomplete.parser is not None:
            self._incomplete.parser.clear()
        self._incomplete = None

    def feed(self, data: bytes) -> Sequence[Event]:
        """The events that `data` completes, in order; a StreamError is one of them, and the last."""
        if self._between:
            last = data.rfind(b"</")
            if last >= 0 and data.find(b">", last) + 1 == len(data) <= self.limit and data[0] == _LESS_THAN:
                return self._parse(None, data, b"")  # the usual case: whole stanzas
        if len(data) <= self.limit:
            return self._feed(data)
        events: list[Event] = []  # in pieces, so that a parser never gets more than twice the limit
        for start in range(0, len(data), self.limit):
            events += self._feed(data[start : start + self.limit])
        return events

    def _feed(self, data: bytes) -> Sequence[Event]:
        if self._closed:
            return ()
        try:
            if self._incomplete is None:
                data = data.lstrip(WHITESPACE)  # a keep-alive costs nothing
                if not data:
                    return ()
                if data[0] != _LESS_THAN:
                    raise StreamError("not-well-formed", "text between stanzas")
                self._between = False
                self._incomplete = _Incomplete()
            if self._open:
                return self._feed_stanza(self._incomplete, data)
            return self._feed_header(self._incomplete, data)
        except StreamError as error:
            self.close()
            return (error,)

    def _feed_header(self, incomplete: _Incomplete, data: bytes) -> Sequence[Event]:
        """Until the stream header is complete."""
        held = incomplete.held
        position = len(held)
        held += data
        if held.startswith(b"<!"):
            raise StreamError("restricted-xml")
        end = incomplete.scan(position)
        if end >= 0 and held.startswith(b"<?xml") and held.count(b"<", 0, end) == 1:
            end = incomplete.scan(end)  # behind the XML declaration
        if end < 0:
            if len(held) > self.limit:
                raise StreamError("policy-violation", "stream header too long")
            return ()
        header = read_header(bytes(held[:end]), self._pool.namespace)
        self._incomplete = None
        self._open = self._between = True
        if held.endswith(b"/>", 0, end):
            self.close()
            return (header, StreamEnd())
        return (header, *self._feed(bytes(held[end:])))

    def _feed_stanza(self, incomplete: _Incomplete, data: bytes) -> Sequence[Event]:
        """Parse up to the last complete tag, hold what is behind it."""
        held = incomplete.held
        position = len(held)
        last = data.rfind(b"<")  # never inside a tag, so the last one begins here
        held += data
        ready = -1
        if last >= 0:
            position += last
            incomplete.in_tag = True
            incomplete.quote = b""
        if incomplete.in_tag:
            ready = incomplete.scan(position)
            if ready >= 0:
                incomplete.in_tag = False
            elif last >= 0:
                ready = position
        if ready > 0:
            incomplete.held = bytearray()
            return self._parse(incomplete, bytes(held[:ready]), bytes(held[ready:]))
        if incomplete.size() > self.limit:
            raise StreamError("policy-violation", "stanza too long")
        # At once, where a stanza should begin; inside one, it may be text in a CDATA section.
        if incomplete.parser is None and _RESTRICTED.match(held):
            raise StreamError("restricted-xml")
        return ()

    def _parse(self, incomplete: _Incomplete | None, ready: bytes, rest: bytes) -> Sequence[Event]:
        """Parse `ready`, which ends with a tag, then look at `rest`, which has no complete one."""
        pool = self._pool
        parser = None if incomplete is None else incomplete.parser
        if parser is None:
            free = pool.free
            parser = free.pop() if free else Parser(pool)
        events = parser.parse(ready, self.limit)
        if parser.broken:
            self.close()
            return events
        if not parser.depth:
            pool.give_back(parser)
            self._incomplete = None
            self._between = True
        else:
            if events and parser.worn:  # a client whose reads never end with a stanza would keep it
                parser = pool.renew(parser, self.limit)
            if incomplete is None:
                incomplete = self._incomplete = _Incomplete()
                incomplete.in_tag = self._between = False
            incomplete.parser = parser
        if rest:
            events += self._feed(rest)
        return events
