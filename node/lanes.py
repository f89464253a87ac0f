"""Lanes: stanzas from one session to one bare JID, in order; early ones wait (design.md §7).

A stanza goes straight through while its lane is idle or goes where the last one went. It waits in its lane

  - when an earlier one to *other* targets is not settled yet (a re-route would overtake it),
  - when its target is not in the directory but somebody is known to be ahead of us: then the lane is parked,
    tried again `attempts` times within `window_s`, woken by the delta that brings the target, and falls back
    when everything that was on its way when it was parked has come, or the window is over.

Other lanes do not wait. Pure: routing decisions from node/router.py, sending and storing through `Transit` and
`Effects`.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from xcluster.bus.messages import FetchOffline, Origin, RouteStanza, Task
from xcluster.node import router
from xcluster.node.directory import Directory, Record
from xcluster.node.parcel import Parcel
from xcluster.node.router import Fallback

MAX_QUEUE = 1000  # stanzas waiting in one lane; beyond: refused with <resource-constraint/>
KEPT_S = 60.0  # how long a lane remembers that its last stanza went to the store
SWEEP_S = 1.0


class Transit(Protocol):
    """The way to other nodes: bus/mesh.py, or nothing at all in a single server."""

    def send(self, target: Origin, task: Task, context: Any = None) -> int: ...

    def offer(self, target: Origin, task: Task, context: Any) -> int: ...

    def is_taken(self, target: Origin, number: int) -> bool: ...

    def accepts(self, target: Origin) -> bool: ...

    def behind(self, now: float) -> dict[Origin, int]: ...

    def has_reached(self, positions: Mapping[Origin, int]) -> bool: ...


class Effects(Protocol):
    """What lanes decide is done by."""

    def deliver(self, counter: int, parcel: Parcel) -> bool:
        """Give it to a session of ours; False when that is gone."""

    def fetch_offline(self, counter: int) -> None:
        """Let a session of ours take its user's stored messages before anything else."""

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        """Store it for later; call `done` when it is committed, or was refused."""

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        """Answer it with an error, where one is due."""


class Options(msgspec.Struct, frozen=True):
    """Section [early] of the configuration."""

    attempts: int = 5
    window_s: float = 0.5
    max_parked: int = 10_000


class _Parked:
    __slots__ = ("end", "need", "next_at", "until")

    def __init__(self, need: dict[Origin, int], next_at: float, until: float) -> None:
        self.need = need
        self.next_at = next_at
        self.until = until
        self.end = "woken"  # the counter of what ends it


class _Lane:
    __slots__ = ("fetched", "is_pumping", "keeping", "kept_at", "key", "parked", "pending", "queue")

    def __init__(self, key: tuple[int | str, str]) -> None:
        self.key = key
        self.queue: deque[Parcel] = deque()
        self.pending: list[tuple[Origin, int, tuple[tuple[Origin, int], ...]]] = []  # (peer, number, targets)
        self.parked: _Parked | None = None
        self.is_pumping = False  # what is tried right now may be stored, and call back, at once
        self.keeping = 0  # stanzas on their way to the store
        self.kept_at = 0.0  # when the last one went there; 0: long ago, or never
        self.fetched: set[tuple[Origin, int]] = set()  # sessions told since to fetch it before what follows


class Lanes:
    """All lanes of one node's own senders."""

    def __init__(self, directory: Directory, transit: Transit, effects: Effects, options: Options) -> None:
        self.directory = directory
        self.transit = transit
        self.effects = effects
        self.options = options
        self.counters = dict.fromkeys(
            ("early", "woken", "expired", "reached", "waited", "rerouted", "kept", "overfull"), 0
        )  # early = woken + expired + reached (fell back: all that was awaited had come) + still parked
        self._lanes: dict[tuple[int | str, str], _Lane] = {}
        self._waiting: dict[_Lane, None] = {}  # lanes with a queue that is not parked
        self._parked: dict[str, dict[_Lane, None]] = {}  # bare JID -> parked lanes
        self._parked_count = 0
        self._order = 0
        self._sweep_at = 0.0
        directory.on_change.append(self._directory_changed)
        self._now = 0.0

    @property
    def parked(self) -> int:
        """Lanes that wait for state to arrive."""
        return self._parked_count

    @property
    def is_waiting(self) -> bool:
        """Whether some lane waits for an earlier stanza to be settled."""
        return bool(self._waiting)

    def submit(self, parcel: Parcel, now: float) -> None:
        """Take a stanza; it is delivered, sent, stored, refused or parked, once."""
        self._now = now
        self._order += 1
        parcel.order = self._order
        parcel.since = now
        key = (parcel.sender or parcel.from_, parcel.to.bare)
        lane = self._lanes.get(key)
        if lane is None or not (lane.queue or lane.keeping or lane.kept_at):
            records = router.targets(self.directory, parcel.kind, parcel.type, parcel.to)
            if len(records) == 1 and self._go_straight(parcel, lane, key, records[0]):
                return  # the way of most stanzas
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
        if lane.queue:
            if len(lane.queue) >= MAX_QUEUE:
                self.counters["overfull"] += 1
                self.effects.refuse(parcel, "wait", "resource-constraint")
                return
            lane.queue.append(parcel)
            return
        if self._attempt(parcel, lane, now):
            self._leave_if_idle(lane)
        else:
            lane.queue.append(parcel)
            self._wait(lane)

    def _go_straight(
        self, parcel: Parcel, lane: _Lane | None, key: tuple[int | str, str], record: Record
    ) -> bool:
        """Give it to its one session when nothing may overtake anything; else False, and nothing is done."""
        origin = record.origin
        if origin == self.directory.me:
            return lane is None and self.effects.deliver(record.counter, parcel)
        sids = ((origin, record.counter),)
        if lane is None:
            lane = _Lane(key)
        else:
            for _, _, targets in lane.pending:
                if targets != sids:
                    return False
        counters = [record.counter]
        number = self.transit.offer(origin, _task(parcel, counters), (parcel, counters))
        if not number:
            return False
        parcel.hopes = 1
        lane.pending = [(origin, number, sids)]  # whatever was there went the same way
        self._lanes[key] = lane
        return True

    # waiting and waking

    def _wait(self, lane: _Lane) -> None:
        if lane.parked is None:
            self.counters["waited"] += 1
            self._waiting[lane] = None

    def _pump(self, lane: _Lane, now: float) -> None:
        """Send what can go now, in order."""
        if lane.is_pumping:
            return
        lane.is_pumping = True
        try:
            while lane.queue and self._attempt(lane.queue[0], lane, now):
                lane.queue.popleft()
                self._unpark(lane)
        finally:
            lane.is_pumping = False
        if not lane.queue:
            self._waiting.pop(lane, None)
            self._leave_if_idle(lane)
        elif lane.parked is None:
            self._waiting[lane] = None

    def _leave_if_idle(self, lane: _Lane) -> None:
        if not (lane.pending or lane.keeping or lane.kept_at or lane.queue):
            self._lanes.pop(lane.key, None)

    def pump(self, now: float) -> None:
        """Something was settled, or somebody died: try the lanes that wait for it."""
        self._now = now
        for lane in list(self._waiting):
            self._pump(lane, now)

    def tick(self, now: float) -> None:
        """Attempts of parked lanes that are due; now and then a sweep. Every 20 to 100 ms."""
        self._now = now
        if self._parked_count:
            for lanes in list(self._parked.values()):
                for lane in list(lanes):
                    self._try_parked(lane, now)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self.pump(now)
            for lane in list(self._lanes.values()):
                self._sweep(lane, now)

    def _sweep(self, lane: _Lane, now: float) -> None:
        if lane.kept_at and not lane.keeping and now - lane.kept_at > KEPT_S:
            lane.kept_at = 0.0
            lane.fetched.clear()
        self._forget_settled(lane)
        self._leave_if_idle(lane)

    def caught_up(self, now: float) -> None:
        """An origin's deltas have all come: who waited for just them falls back now."""
        self._now = now
        if self._parked_count:
            for lanes in list(self._parked.values()):
                for lane in list(lanes):
                    if lane.parked is not None and self.transit.has_reached(lane.parked.need):
                        self._try_parked(lane, now)

    def _try_parked(self, lane: _Lane, now: float) -> None:
        parked = lane.parked
        if parked is None:
            return
        if now >= parked.next_at or now >= parked.until or self.transit.has_reached(parked.need):
            while parked.next_at <= now:
                parked.next_at += self.options.window_s / max(self.options.attempts, 1)
            self._pump(lane, now)

    def _directory_changed(self, old: Record | None, new: Record | None, farewell: bytes) -> None:
        record = new or old
        if not self._parked_count or record is None or new is None:
            return
        user = record.jid.partition("/")[0]
        for lane in list(self._parked.get(user, ())):
            self._pump(lane, self._now)

    def _park(self, parcel: Parcel, lane: _Lane, behind: dict[Origin, int], now: float) -> None:
        step = self.options.window_s / self.options.attempts
        lane.parked = _Parked(behind, now + step, parcel.since + self.options.window_s)
        self._parked.setdefault(lane.key[1], {})[lane] = None
        self._parked_count += 1
        self._waiting.pop(lane, None)
        self.counters["early"] += 1

    def _unpark(self, lane: _Lane) -> None:
        if lane.parked is None:
            return
        self.counters[lane.parked.end] += 1
        lane.parked = None
        lanes = self._parked[lane.key[1]]
        del lanes[lane]
        if not lanes:
            del self._parked[lane.key[1]]
        self._parked_count -= 1

    # deciding

    def _attempt(self, parcel: Parcel, lane: _Lane, now: float) -> bool:
        """Try to get rid of it; False when it has to wait."""
        records = router.targets(self.directory, parcel.kind, parcel.type, parcel.to)
        if records:
            return self._dispatch(parcel, lane, records, now)
        if not self._may_fall_back(parcel, lane, now):
            return False
        records = router.second_choice(self.directory, parcel.kind, parcel.type, parcel.to)
        if records:
            return self._dispatch(parcel, lane, records, now)
        return self._fall_back(parcel, lane, router.fallback(parcel.kind, parcel.type), now)

    def _may_fall_back(self, parcel: Parcel, lane: _Lane, now: float) -> bool:
        parked = lane.parked
        if parked is not None:
            if now >= parked.until:
                parked.end = "expired"
                return True
            if self.transit.has_reached(parked.need) or not self.transit.behind(now):
                parked.end = "reached"
                return True
            return False
        if not self.options.attempts or self._parked_count >= self.options.max_parked:
            return True
        behind = self.transit.behind(now)
        if not behind:
            return True
        if now - parcel.since >= self.options.window_s:  # it has waited behind one that expired
            self.counters["early"] += 1
            self.counters["expired"] += 1
            return True
        self._park(parcel, lane, behind, now)
        return False

    def _fall_back(self, parcel: Parcel, lane: _Lane, how: Fallback, now: float) -> bool:
        if how is Fallback.OFFLINE:
            return self._keep(parcel, lane, now)
        if how is Fallback.REFUSE:
            self.effects.refuse(parcel, "cancel", "service-unavailable")
        return True

    def _keep(self, parcel: Parcel, lane: _Lane, now: float) -> bool:
        if self._forget_settled(lane):
            return False  # an earlier one may come back and go to the store after this one
        lane.keeping += 1
        lane.kept_at = now
        lane.fetched.clear()
        self.counters["kept"] += 1

        def done() -> None:
            lane.keeping -= 1
            lane.kept_at = self._now
            if lane.queue:
                self._pump(lane, self._now)

        self.effects.keep(parcel, done)
        return True

    def _dispatch(self, parcel: Parcel, lane: _Lane, records: tuple[Record, ...], now: float) -> bool:
        if lane.keeping:
            return False
        sids = tuple((record.origin, record.counter) for record in records)
        unsettled = self._forget_settled(lane)
        if any(targets != sids for _, _, targets in unsettled):
            return False
        peers: dict[Origin, list[int]] = {}
        own: list[int] = []
        for record in records:
            if record.origin == self.directory.me:
                own.append(record.counter)
            else:
                peers.setdefault(record.origin, []).append(record.counter)
        if peers and parcel.kind == "message":
            refusing = [origin for origin in peers if not self.transit.accepts(origin)]
            if (
                len(refusing) == len(peers)
                and not own
                and router.fallback("message", parcel.type) is Fallback.OFFLINE
            ):
                return self._keep(parcel, lane, now)
        if lane.kept_at and not lane.fetched.issuperset(sids):
            self._fetch_first(lane, own, peers)
            lane.fetched.update(sids)
        parcel.hopes = len(records)
        for counter in own:
            if not self.effects.deliver(counter, parcel):
                parcel.hopes -= 1
        for origin, counters in peers.items():
            self._send(parcel, lane, origin, counters, sids)
        if parcel.hopes == 0:  # sessions of ours that ended this very moment
            return self._fall_back(parcel, lane, router.fallback(parcel.kind, parcel.type), now)
        return True

    def _send(
        self,
        parcel: Parcel,
        lane: _Lane,
        origin: Origin,
        counters: list[int],
        sids: tuple[tuple[Origin, int], ...],
    ) -> None:
        number = self.transit.send(origin, _task(parcel, counters), (parcel, counters))
        if number:
            lane.pending = [entry for entry in lane.pending if entry[0] != origin or entry[2] != sids]
            lane.pending.append((origin, number, sids))
        else:
            parcel.hopes -= len(counters)

    def _fetch_first(self, lane: _Lane, own: list[int], peers: dict[Origin, list[int]]) -> None:
        """Earlier ones of this lane are in the store: let the sessions take them first."""
        for counter in own:
            self.effects.fetch_offline(counter)
        for origin, counters in peers.items():
            self.transit.send(origin, FetchOffline(counters))

    def _forget_settled(self, lane: _Lane) -> list[tuple[Origin, int, tuple[tuple[Origin, int], ...]]]:
        if lane.pending:
            lane.pending = [entry for entry in lane.pending if not self.transit.is_taken(entry[0], entry[1])]
        return lane.pending

    # coming back

    def cut(self, origin: Origin) -> None:
        """The link to a peer is void: nothing sent over it will be settled by it."""
        for lane in self._lanes.values():
            if lane.pending:
                lane.pending = [entry for entry in lane.pending if entry[0] != origin]
            if lane.fetched:  # the word to fetch may have been lost with the link
                lane.fetched = {sid for sid in lane.fetched if sid[0] != origin}

    def returned(
        self, origin: Origin, parcel: Parcel, sent_to: list[int], missing: list[int] | None, now: float
    ) -> None:
        """A node did not take it for `missing` of the sessions it was sent to (None: the node is dead)."""
        self._now = now
        for counter in sent_to if missing is None else missing:
            if missing is not None:
                self.directory.mark_stale(origin, counter)
            parcel.hopes -= 1
        if parcel.hopes > 0:
            return
        if parcel.kind != "message":
            if router.fallback(parcel.kind, parcel.type) is Fallback.REFUSE:
                self.effects.refuse(parcel, "cancel", "service-unavailable")
            return
        self.counters["rerouted"] += 1
        parcel.delayed = True
        key = (parcel.sender or parcel.from_, parcel.to.bare)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key)
        place = 0
        while place < len(lane.queue) and lane.queue[place].order < parcel.order:
            place += 1
        lane.queue.insert(place, parcel)
        self._unpark(lane)
        self._waiting[lane] = None


def _task(parcel: Parcel, counters: list[int]) -> RouteStanza:
    """What asks another node to give it to these sessions of its own."""
    return RouteStanza(
        counters,
        parcel.to.full,
        parcel.from_,
        parcel.kind,
        parcel.identity,
        parcel.raw,
        parcel.sender,
        parcel.delayed,
        parcel.type,
    )
