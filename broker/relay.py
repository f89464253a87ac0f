"""What a bus does with a message from a node: pass it on, or answer it (design.md §2).

A message from a node is [target routing id, payload]; an empty target is the bus itself.
"""

from typing import NamedTuple

from xcluster.bus import wire
from xcluster.bus.messages import BusPing, BusPong, Gone
from xcluster.shared.errors import WireError

MAX_REMEMBERED = 10_000  # incarnations that were seen since the start


class Send(NamedTuple):
    """A message for the node with this routing id."""

    to: bytes
    kind: bytes
    payload: bytes


class Relay:
    """One start of one bus."""

    def __init__(self, name: str, started: int) -> None:
        self.name = name
        self.started = started
        self.counters = {"relayed": 0, "unreachable": 0, "unreadable": 0, "dropped": 0}
        self._seen: dict[bytes, None] = {}

    def received(self, source: bytes, frames: list[bytes]) -> Send | None:
        """A message of the node `source`; returns what to send, if anything."""
        if source not in self._seen:
            self._seen[source] = None
            if len(self._seen) > MAX_REMEMBERED:
                del self._seen[next(iter(self._seen))]
        if len(frames) != 2:
            self.counters["unreadable"] += 1
            return None
        target, payload = frames
        if target:
            self.counters["relayed"] += 1
            return Send(target, wire.FROM_PEER, payload)
        try:
            message = wire.control(payload)
        except WireError:
            self.counters["unreadable"] += 1
            return None
        if isinstance(message, BusPing):
            return Send(source, wire.FROM_BUS, wire.encode(BusPong(message.number, self.name, self.started)))
        return None

    def unreachable(self, source: bytes, target: bytes) -> Send | None:
        """`target` is not connected: tell the node that wrote to it."""
        self.counters["unreachable"] += 1
        try:
            gone = wire.encode(Gone(wire.origin(target), target in self._seen))
        except (WireError, OverflowError):  # it names no origin, or one whose number nobody can write
            return None
        return Send(source, wire.FROM_BUS, gone)
