"""The yardstick: a fixed piece of work of the same kind as the hot path, to measure CPU time against.

A message is parsed by expat with two handlers, its addressee is looked up, its bytes are spliced and put into
a list. It shares no code with the server, so that it costs the same however the server changes; never change
it either without writing the figures anew (`python -m tests.performance --write`).
"""

from pyexpat import ParserCreate
from time import thread_time_ns

import msgspec

MESSAGES = 100  # of one round; less than a millisecond, mostly undisturbed by other processes
_ADDRESSES = [f"user{number}@toy.example/resource" for number in range(MESSAGES)]


class _Parcel(msgspec.Struct, gc=False):
    to: str
    from_: str
    raw: bytes


class _Recipient:
    __slots__ = ("got", "jid", "seen")

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.got: list[bytes] = []
        self.seen: dict[int, None] = {}

    def take(self, parcel: _Parcel, number: int) -> bool:
        if number in self.seen:
            return False
        self.seen[number] = None
        if len(self.seen) > 64:
            del self.seen[next(iter(self.seen))]
        self.got.append(parcel.raw)
        return True


class Toy:
    """Messages of 250 bytes between a hundred recipients."""

    def __init__(self) -> None:
        self.number = 0
        self._recipients = {address: _Recipient(address) for address in _ADDRESSES}
        self._messages = [
            f"<message to='{address}' type='chat' id='{number}'><body>{'ten chars ' * 14}</body></message>".encode()
            for number, address in enumerate(_ADDRESSES)
        ]
        self._depth = 0
        self._attributes: dict[str, str] = {}
        self._children: list[str] = []
        self._parser = ParserCreate("utf-8", "}")
        self._parser.StartElementHandler = self._started
        self._parser.EndElementHandler = self._ended
        self._parser.Parse(b"<stream xmlns='jabber:client'>")
        self._raw = b""

    def run(self, messages: int = MESSAGES) -> None:
        """Pass so many messages on."""
        for index in range(messages):
            self._pass(self._messages[index % MESSAGES])
        for recipient in self._recipients.values():
            recipient.got.clear()

    def _pass(self, raw: bytes) -> None:
        self._raw = raw
        self._parser.Parse(raw)

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 2:
            self._attributes = attributes
            self._children = []
        elif self._depth == 3:
            self._children.append(name)

    def _ended(self, name: str) -> None:
        self._depth -= 1
        if self._depth == 1:
            self._route(self._attributes, tuple(self._children))

    def _route(self, attributes: dict[str, str], children: tuple[str, ...]) -> None:
        self.number += 1
        to = attributes.get("to", "")
        recipient = self._recipients.get(to)
        if recipient is not None and children:
            raw = self._raw
            stamped = b"".join((raw[:8], b" from='somebody@toy.example/resource'", raw[8:]))
            recipient.take(_Parcel(recipient.jid, to, stamped), self.number)


def spent_ns(toy: Toy) -> int:
    """CPU time of one round of the toy, in nanoseconds."""
    start = thread_time_ns()
    toy.run()
    return thread_time_ns() - start
