"""Who is alive, suspect, unreachable, dead; and the fence (design.md §8).

Silence of a path is not death of a node. A node without a working bus is isolated and declares nobody dead; a
peer that is silent on the bus but still beats in the store is unreachable, not dead. Dead is who was seen to
disconnect and did not come back, or who is silent in both. The dead never come back: an incarnation that was
declared dead by anybody is refused by everybody who hears of it.
"""

from collections.abc import Iterable
from enum import Enum

import msgspec

from xcluster.bus.messages import Origin

GONE_S = 1.0  # seen to disconnect, and not back within this: dead
PATH_S = 1.0  # a bus path without an answer for this long does not work
TELL_DEAD_S = 60.0  # how long heartbeats repeat who is dead


class State(Enum):
    ALIVE = "alive"
    SUSPECT = "suspect"  # silent for suspect_s
    UNREACHABLE = "unreachable"  # silent on the bus, fresh in the store


class Timing(msgspec.Struct, frozen=True):
    """The configured limits, in seconds."""

    suspect_s: float = 1.5
    dead_s: float = 3.0
    unreachable_s: float = 30.0


class Changed(msgspec.Struct, frozen=True):
    """A peer has come, or its state is another now."""

    origin: Origin
    state: State


class Died(msgspec.Struct, frozen=True):
    """A peer is dead, and why: left, disconnected, silent, superseded, declared."""

    origin: Origin
    why: str


Event = Changed | Died


class Peer:
    """What one node knows of another incarnation."""

    __slots__ = ("beats", "beats_moved_at", "gone_at", "heard_at", "origin", "paths", "protocol", "state")

    def __init__(self, origin: Origin, now: float) -> None:
        self.origin = origin
        self.state = State.ALIVE
        self.heard_at = now  # anything, over any bus
        self.paths: dict[int, float] = {}  # bus -> when something of the peer last came over it
        self.gone_at = 0.0  # when a bus first said that the peer's connection had closed; 0: it did not
        self.beats = -1  # the peer's counter in the store
        self.beats_moved_at = now  # when that counter was last seen to grow
        self.protocol = 0


class Membership:
    """One node's view of the others. Times are seconds of one monotonic clock."""

    def __init__(self, me: Origin, timing: Timing, now: float) -> None:
        self.me = me
        self.timing = timing
        self.peers: dict[Origin, Peer] = {}
        self.fenced: dict[str, int] = {}  # node name -> this incarnation and all before it are dead
        self.told_dead: dict[Origin, float] = {}  # who to name in heartbeats, until when
        self.must_be_reborn = False  # somebody has declared this incarnation dead
        self.counters = {"suspected": 0, "unreachable": 0, "died": 0, "isolated": 0}
        self._buses: dict[int, float] = {}  # bus -> last answer

    # paths of our own

    def bus_answered(self, bus: int, now: float) -> None:
        """A bus has answered our ping. After isolation every peer's silence starts anew."""
        if self.is_isolated(now):
            for peer in self.peers.values():
                peer.heard_at = max(peer.heard_at, now)
                peer.gone_at = 0.0
        self._buses[bus] = now

    def bus_lost(self, bus: int) -> None:
        self._buses.pop(bus, None)

    def working_buses(self, now: float) -> list[int]:
        return [bus for bus, at in self._buses.items() if now - at < PATH_S]

    def is_isolated(self, now: float) -> bool:
        """Whether no bus answers us: then nobody's silence means anything."""
        return not any(now - at < PATH_S for at in self._buses.values())

    # what others say

    def is_refused(self, origin: Origin) -> bool:
        """The fence: whether frames of this incarnation are refused and answered `Dead`."""
        return origin.incarnation <= self.fenced.get(origin.name, 0)

    def heard(self, origin: Origin, bus: int, now: float) -> list[Event]:
        """Something of `origin` came over `bus`; call only for what is not refused."""
        peer = self.peers.get(origin)
        if peer is None:
            return self._joined(origin, bus, now)
        peer.heard_at = now
        peer.paths[bus] = now
        peer.gone_at = 0.0
        if peer.state is not State.ALIVE:
            peer.state = State.ALIVE
            return [Changed(origin, State.ALIVE)]
        return []

    def _joined(self, origin: Origin, bus: int, now: float) -> list[Event]:
        events: list[Event] = []
        for older in [known for known in self.peers if known.name == origin.name]:
            if older.incarnation > origin.incarnation:
                return events  # a late frame of a superseded incarnation
            events += self._die(older, "superseded", now)
        peer = Peer(origin, now)
        peer.paths[bus] = now
        self.peers[origin] = peer
        self.told_dead.pop(origin, None)
        return [*events, Changed(origin, State.ALIVE)]

    def left(self, origin: Origin, now: float) -> list[Event]:
        """The peer says that it is leaving: dead at once, nobody has to wait."""
        return self._die(origin, "left", now)

    def gone(self, origin: Origin, was_here: bool, now: float) -> None:
        """A bus could not relay to the peer, whose connection it had seen before.

        The connection of a process that dies closes at once. One that closes after a silence was given up for
        that silence, and says no more than it."""
        peer = self.peers.get(origin)
        if peer is not None and was_here and not peer.gone_at and peer.state is State.ALIVE:
            peer.gone_at = now

    def declared_dead(self, dead: Iterable[Origin], now: float) -> list[Event]:
        """A heartbeat names the dead: follow it, so that all nodes fence the same incarnations."""
        events: list[Event] = []
        for origin in dead:
            if origin == self.me:
                self.must_be_reborn = True
            elif origin.name != self.me.name and not self.is_refused(origin):
                events += self._die(origin, "declared", now)
        return events

    def stored(self, beats: Iterable[tuple[Origin, int]], now: float) -> None:
        """The heartbeat rows of the store, as just read."""
        for origin, count in beats:
            peer = self.peers.get(origin)
            if peer is not None and count != peer.beats:
                peer.beats = count
                peer.beats_moved_at = now

    def tick(self, now: float) -> list[Event]:
        """Judge everybody's silence."""
        if self.is_isolated(now):
            self.counters["isolated"] += 1
            return []
        events: list[Event] = []
        for peer in list(self.peers.values()):
            events += self._judge(peer, now)
        for origin in [o for o, until in self.told_dead.items() if now > until]:
            del self.told_dead[origin]
        return events

    def _judge(self, peer: Peer, now: float) -> list[Event]:
        silence = now - peer.heard_at
        if peer.gone_at and now - peer.gone_at >= GONE_S:
            return self._die(peer.origin, "disconnected", now)
        if silence < self.timing.suspect_s:
            return []
        if silence >= self.timing.dead_s:
            is_fresh = now - peer.beats_moved_at < self.timing.dead_s and peer.beats >= 0
            if not is_fresh or silence >= self.timing.unreachable_s:
                return self._die(peer.origin, "silent", now)
            return self._turn(peer, State.UNREACHABLE)
        return self._turn(peer, State.SUSPECT) if peer.state is State.ALIVE else []

    def _turn(self, peer: Peer, state: State) -> list[Event]:
        if peer.state is state:
            return []
        peer.state = state
        self.counters["suspected" if state is State.SUSPECT else "unreachable"] += 1
        return [Changed(peer.origin, state)]

    def _die(self, origin: Origin, why: str, now: float) -> list[Event]:
        self.fenced[origin.name] = max(self.fenced.get(origin.name, 0), origin.incarnation)
        self.told_dead[origin] = now + TELL_DEAD_S
        self.counters["died"] += 1
        return [Died(origin, why)] if self.peers.pop(origin, None) else []

    def reborn(self, me: Origin) -> None:
        """This node has taken a new incarnation."""
        self.me = me
        self.must_be_reborn = False

    def protocol(self, own: int) -> int:
        """The protocol that the whole cluster speaks: the lowest of all."""
        return min([own, *(peer.protocol for peer in self.peers.values() if peer.protocol)])
