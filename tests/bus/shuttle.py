"""Meshes or exchanges of one process, joined by buses that carry everything at once, or lose what they are told to."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from xcluster.broker.relay import Relay
from xcluster.bus import wire
from xcluster.bus.mesh import EVERYBODY, Outgoing
from xcluster.bus.messages import Origin

STEP_S = 0.05
MAX_TURNS = 1000

Loses = Callable[[Origin, Origin, Any], bool]  # (from, to, message) on its way between two nodes


class End(Protocol):
    """One node's end: a Mesh, or an Exchange."""

    @property
    def me(self) -> Origin: ...

    def received(self, bus: int, data: bytes, now: float) -> None: ...

    def heard(self, bus: int, data: bytes, now: float) -> None: ...

    def bus_said(self, bus: int, data: bytes, now: float) -> None: ...

    def tick(self, now: float) -> None: ...

    def flush(self, now: float) -> list[Outgoing]: ...


class Shuttle:
    """The buses, the clock, and the ends that are connected."""

    def __init__(self, buses: int = 1) -> None:
        self.now = 100.0
        self.ends: list[End] = []
        self.relays = [Relay(f"b{bus}", 1) for bus in range(buses)]
        self.down: set[int] = set()  # buses that relay nothing
        self.loses: Loses = lambda source, target, message: False
        self.passed: list[tuple[Origin, Origin, Any]] = []  # what was carried, if `records`
        self.records = False

    def join(self, *ends: End) -> None:
        self.ends += ends

    def kill(self, end: End) -> None:
        """Its connections are closed without a word."""
        self.ends.remove(end)

    def turn(self, ends: Iterable[End] = ()) -> None:
        """Carry what there is until nobody has anything more to say."""
        for _ in range(MAX_TURNS):
            sent = [(end, out) for end in list(ends or self.ends) for out in end.flush(self.now)]
            if not sent:
                return
            for end, out in sent:
                if out.bus not in self.down:
                    self._carry(end, out)
        raise AssertionError("the nodes never fall silent")

    def run(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        while self.now < until:
            self.now += STEP_S
            for end in list(self.ends):
                end.tick(self.now)
            self.turn()

    def _carry(self, source: End, out: Outgoing) -> None:
        if out.target == EVERYBODY:
            message = wire.published(out.data)
            for end in list(self.ends):
                if end is not source and not self._lost(source.me, end.me, message):
                    end.heard(out.bus, out.data, self.now)
            return
        relay = self.relays[out.bus]
        own = wire.routing_id(source.me)
        target = wire.routing_id(out.target) if out.target is not None else b""
        send = relay.received(own, [target, out.data])
        if send is None:
            return
        if send.kind == wire.FROM_BUS:
            source.bus_said(out.bus, send.payload, self.now)
            return
        for end in list(self.ends):
            if wire.routing_id(end.me) == send.to:
                if not self._lost(source.me, end.me, wire.direct(send.payload)):
                    end.received(out.bus, send.payload, self.now)
                return
        answer = relay.unreachable(own, target)
        if answer is not None:
            source.bus_said(out.bus, answer.payload, self.now)

    def _lost(self, source: Origin, target: Origin, message: Any) -> bool:
        if self.loses(source, target, message):
            return True
        if self.records:
            self.passed.append((source, target, message))
        return False
