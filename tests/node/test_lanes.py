"""node/lanes.py: what goes straight through, what waits for what, and what becomes of what waited."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from xcluster.bus.messages import FetchOffline, Origin, RouteStanza, SessionDown, SessionUp, Task
from xcluster.node import lanes as module
from xcluster.node import router
from xcluster.node.directory import Directory
from xcluster.node.lanes import KEPT_S, Lanes, Options, Parcel
from xcluster.shared.jid import parse

ME, A, B = Origin("me", 1), Origin("a", 1), Origin("b", 1)
ALICE, BOB, CAROL = "alice@example.org/x", "bob@example.org", "carol@example.org"
PHONE, HOME = f"{BOB}/phone", f"{BOB}/home"
START = 100.0


class Transit:
    """The way to other nodes: everything is sent, nothing settled before the test says so."""

    def __init__(self) -> None:
        self.sent: list[tuple[Origin, Task]] = []
        self.contexts: dict[tuple[Origin, int], Any] = {}
        self.taken: set[Origin] = set()  # peers that have taken everything
        self.refusing: set[Origin] = set()
        self.dead: set[Origin] = set()
        self.ahead: dict[Origin, int] = {}
        self.reached: dict[Origin, int] = {}
        self.numbers: dict[Origin, int] = {}

    def send(self, target: Origin, task: Task, context: Any = None) -> int:
        if target in self.dead:
            return 0
        self.numbers[target] = self.numbers.get(target, 0) + 1
        self.sent.append((target, task))
        self.contexts[target, self.numbers[target]] = context
        return self.numbers[target]

    def offer(self, target: Origin, task: Task, context: Any) -> int:
        return self.send(target, task, context) if self.accepts(target) else 0

    def is_taken(self, target: Origin, number: int) -> bool:
        return target in self.taken or target in self.dead

    def accepts(self, target: Origin) -> bool:
        return target not in self.refusing

    def behind(self, now: float) -> dict[Origin, int]:
        return {origin: seq for origin, seq in self.ahead.items() if self.reached.get(origin, 0) < seq}

    def has_reached(self, positions: Mapping[Origin, int]) -> bool:
        return all(
            origin in self.dead or self.reached.get(o, 0) >= seq
            for origin, seq in positions.items()
            for o in [origin]
        )


class Node:
    """Lanes among doubles; `log` tells what they had done, in order."""

    def __init__(self, options: Options | None = None) -> None:
        self.now = START
        self.log: list[tuple[Any, ...]] = []
        self.commits: list[Callable[[], None]] = []
        self.gone: set[int] = set()
        self.commits_at_once = False
        self.directory = Directory(ME)
        self.transit = Transit()
        self.lanes = Lanes(self.directory, self.transit, self, options or Options())

    # lanes.Effects

    def deliver(self, counter: int, parcel: Parcel) -> bool:
        if counter in self.gone:
            return False
        self.log.append(("delivered", counter, parcel.raw))
        return True

    def fetch_offline(self, counter: int) -> None:
        self.log.append(("fetch", counter))

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        self.log.append(("kept", parcel.raw))
        if self.commits_at_once:
            done()
        else:
            self.commits.append(done)

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        self.log.append(("refused", parcel.raw, type, condition))

    # the test's hands

    def up(self, origin: Origin, counter: int, jid: str = PHONE, priority: int = 0) -> None:
        self.directory.apply(origin, SessionUp(counter, jid, counter, b"<presence/>", priority))

    def down(self, origin: Origin, counter: int) -> None:
        self.directory.apply(origin, SessionDown(counter))

    def say(
        self, raw: str, to: str = BOB, sender: int = 1, kind: str = "message", type: str | None = "chat"
    ) -> Parcel:
        parcel = Parcel(
            sender, ALICE if sender else "example.org", parse(to), kind, type, raw.encode(), raw.encode()
        )
        self.lanes.submit(parcel, self.now)
        return parcel

    def iq(self, raw: str, to: str = PHONE, type: str = "get") -> Parcel:
        return self.say(raw, to, kind="iq", type=type)

    def is_ahead(self, origin: Origin = A, seq: int = 5) -> None:
        self.transit.ahead[origin] = seq

    def has_come(self, origin: Origin = A, seq: int = 5) -> None:
        self.transit.reached[origin] = seq
        self.lanes.caught_up(self.now)

    def settle(self, origin: Origin = A) -> None:
        """The peer has taken all."""
        self.transit.taken.add(origin)
        self.lanes.pump(self.now)

    def commit(self) -> None:
        commits, self.commits = self.commits, []
        for done in commits:
            done()

    def die(self, origin: Origin) -> None:
        """As bus/mesh.py does it: the link first, what it held, then the rows."""
        self.transit.dead.add(origin)
        self.lanes.cut(origin)
        for (peer, _), context in sorted(self.transit.contexts.items(), key=lambda entry: entry[0][1]):
            if peer == origin and context is not None:
                self.lanes.returned(origin, *context, None, self.now)
        self.directory.forget(origin)

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now += 0.02
            self.lanes.tick(self.now)

    def sent(self, origin: Origin = A) -> list[bytes]:
        return [
            task.raw if isinstance(task, RouteStanza) else b"fetch"
            for to, task in self.transit.sent
            if to == origin
        ]

    def told(self) -> list[tuple[Any, ...]]:
        log, self.log = self.log, []
        return log

    def holds_law(self) -> bool:
        counters = self.lanes.counters
        ended = counters["woken"] + counters["expired"] + counters["reached"]
        return counters["early"] == ended + self.lanes.parked


@pytest.fixture
def node() -> Node:
    return Node()


# straight through


def test_to_a_session_here_it_goes_at_once_and_leaves_nothing(node: Node) -> None:
    node.up(ME, 7)
    node.say("1")
    node.say("2", PHONE)
    assert node.told() == [("delivered", 7, b"1"), ("delivered", 7, b"2")]
    assert not node.lanes._lanes


def test_to_a_session_elsewhere_it_is_one_task_for_all_sessions_there(node: Node) -> None:
    node.up(A, 1, PHONE)
    node.up(A, 2, HOME)
    node.up(B, 3, f"{BOB}/office")
    node.say("1")
    assert [(to, task.targets) for to, task in node.transit.sent if isinstance(task, RouteStanza)] == [
        (A, [1, 2]),
        (B, [3]),
    ]
    [task] = [task for to, task in node.transit.sent if to == B]
    assert task == RouteStanza([3], BOB, ALICE, "message", b"1", b"1", 1, False, "chat")


def test_unchanged_targets_do_not_wait(node: Node) -> None:
    node.up(A, 1)
    for raw in "123":
        node.say(raw)
    assert node.sent() == [b"1", b"2", b"3"]
    assert node.lanes.counters["waited"] == 0


def test_settled_lane_is_forgotten(node: Node) -> None:
    node.up(A, 1)
    node.say("1")
    assert node.lanes._lanes
    node.transit.taken.add(A)
    node.wait(1.1)
    assert not node.lanes._lanes


@pytest.mark.parametrize(
    ("kind", "type", "answer"),
    [
        ("message", "chat", [("kept", b"1")]),
        ("message", None, [("kept", b"1")]),
        ("message", "groupchat", [("refused", b"1", "cancel", "service-unavailable")]),
        ("message", "headline", []),
        ("message", "error", []),
        ("iq", "get", [("refused", b"1", "cancel", "service-unavailable")]),
        ("iq", "set", [("refused", b"1", "cancel", "service-unavailable")]),
        ("iq", "result", []),
        ("iq", "error", []),
        ("presence", None, []),
    ],
)
def test_nobody_there_and_nobody_ahead_falls_back_at_once(
    node: Node, kind: str, type: str | None, answer: list[Any]
) -> None:
    node.say("1", PHONE, kind=kind, type=type)
    assert node.told() == answer
    assert node.lanes.counters["early"] == 0


def test_session_that_ends_this_very_moment_falls_back(node: Node) -> None:
    node.up(ME, 7)
    node.gone.add(7)
    node.iq("1")
    node.say("2")
    assert node.told() == [("refused", b"1", "cancel", "service-unavailable"), ("kept", b"2")]


def test_one_of_two_sessions_here_is_enough(node: Node) -> None:
    node.up(ME, 7, PHONE)
    node.up(ME, 8, HOME)
    node.gone.add(7)
    node.say("1")
    assert node.told() == [("delivered", 8, b"1")]


# targets that change before the last one is settled


def test_other_targets_wait_until_the_earlier_one_is_settled(node: Node) -> None:
    node.up(A, 1)
    node.say("1")
    node.down(A, 1)
    node.up(B, 2)
    node.say("2")
    assert (node.sent(B), node.lanes.is_waiting, node.lanes.counters["waited"]) == ([], True, 1)
    node.lanes.pump(node.now)
    assert node.sent(B) == []
    node.settle(A)
    assert node.sent(B) == [b"2"]
    assert not node.lanes.is_waiting


def test_session_here_waits_for_one_elsewhere_too(node: Node) -> None:
    node.up(A, 1)
    node.say("1")
    node.down(A, 1)
    node.up(ME, 2)
    node.say("2")
    node.say("3")
    assert node.told() == []
    node.settle(A)
    assert node.told() == [("delivered", 2, b"2"), ("delivered", 2, b"3")]


def test_store_waits_for_an_earlier_one_that_may_still_come_back(node: Node) -> None:
    node.up(A, 1)
    first = node.say("1")
    node.down(A, 1)
    node.say("2")
    assert node.told() == []
    node.transit.taken.add(A)
    node.lanes.returned(A, first, [1], [1], node.now)
    node.lanes.pump(node.now)
    assert node.told() == [("kept", b"1"), ("kept", b"2")]


def test_other_lanes_do_not_wait(node: Node) -> None:
    node.up(A, 1)
    node.say("1")
    node.down(A, 1)
    node.up(ME, 2)
    node.say("2")
    node.up(ME, 3, f"{CAROL}/x")
    node.say("3", CAROL)
    node.say("4", BOB, sender=9)
    assert node.told() == [("delivered", 3, b"3"), ("delivered", 2, b"4")]


def test_full_lane_refuses_and_goes_on(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUE", 2)
    node.up(A, 1)
    node.say("1")
    node.down(A, 1)
    node.up(ME, 2)
    for raw in "234":
        node.say(raw)
    assert node.told() == [("refused", b"4", "wait", "resource-constraint")]
    assert node.lanes.counters["overfull"] == 1
    node.settle(A)
    assert node.told() == [("delivered", 2, b"2"), ("delivered", 2, b"3")]


# early


def test_early_stanza_is_parked_and_woken_by_its_target(node: Node) -> None:
    node.is_ahead()
    node.say("1")
    assert (node.told(), node.lanes.parked) == ([], 1)
    node.up(ME, 7)
    assert node.told() == [("delivered", 7, b"1")]
    assert node.lanes.parked == 0
    assert node.lanes.counters | {"early": 1, "woken": 1} == node.lanes.counters
    node.up(ME, 8, HOME)
    node.wait(1.0)
    assert node.told() == []


def test_parked_stanza_parks_its_lane_and_order_is_kept(node: Node) -> None:
    node.is_ahead()
    for raw in "123":
        node.say(raw)
    node.up(ME, 7)
    node.say("4")
    assert [entry[2] for entry in node.told()] == [b"1", b"2", b"3", b"4"]
    assert (node.lanes.counters["early"], node.lanes.counters["woken"]) == (1, 1)
    assert node.holds_law()


def test_news_of_others_do_not_wake_it(node: Node) -> None:
    node.is_ahead()
    node.say("1")
    node.up(ME, 7, f"{CAROL}/x")
    node.directory.apply(A, SessionUp(1, PHONE, 1))  # not available
    assert node.lanes.parked == 1
    assert node.told() == []


def test_full_jid_waits_for_just_that_resource(node: Node) -> None:
    node.up(ME, 7, HOME)
    node.is_ahead()
    node.say("1", PHONE)
    assert node.told() == []
    node.up(ME, 8, PHONE)
    assert node.told() == [("delivered", 8, b"1")]


def test_window_over_falls_back_and_next_resource_comes_first(node: Node) -> None:
    node.up(ME, 7, HOME)
    node.is_ahead()
    node.say("1", PHONE)
    node.wait(0.48)
    assert node.told() == []
    node.wait(0.04)
    assert node.told() == [("delivered", 7, b"1")]
    assert node.lanes.counters["expired"] == 1
    assert node.holds_law()


def test_window_over_stores_a_message_and_refuses_an_iq_once(node: Node) -> None:
    node.is_ahead()
    node.say("1")
    node.iq("2", f"{CAROL}/x")
    node.wait(2.0)
    assert node.told() == [("kept", b"1"), ("refused", b"2", "cancel", "service-unavailable")]
    assert node.holds_law()


def test_lane_behind_one_that_expired_does_not_wait_once_more(node: Node) -> None:
    node.is_ahead()
    node.say("1")
    node.wait(0.3)
    node.say("2")
    node.wait(0.24)
    assert node.told() == [("kept", b"1")]  # the second has 0.3 s left of its own window
    node.wait(0.3)
    assert node.told() == [("kept", b"2")]
    assert node.lanes.counters["expired"] == 2
    assert node.holds_law()


def test_everything_that_was_on_its_way_has_come_falls_back_at_once(node: Node) -> None:
    node.is_ahead(A, 5)
    node.say("1")
    node.has_come(A, 4)
    assert node.told() == []
    node.is_ahead(A, 9)  # later news are nothing that this one waits for
    node.has_come(A, 5)
    assert node.told() == [("kept", b"1")]
    assert (node.lanes.counters["reached"], node.lanes.parked) == (1, 0)


def test_death_of_the_one_ahead_falls_back(node: Node) -> None:
    node.is_ahead()
    node.say("1")
    node.transit.dead.add(A)
    node.lanes.caught_up(node.now)
    assert node.told() == [("kept", b"1")]


def test_attempts_are_spread_over_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(Options(attempts=5, window_s=0.5))
    tried = []
    targets = router.targets

    def counted(*arguments: Any) -> Any:
        tried.append(node.now - START)
        return targets(*arguments)

    monkeypatch.setattr(router, "targets", counted)
    node.is_ahead()
    node.say("1")
    node.wait(0.6)
    times = sorted({round(at, 2) for at in tried})
    assert times == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5], abs=0.03)


def test_parking_can_be_switched_off() -> None:
    node = Node(Options(attempts=0))
    node.is_ahead()
    node.say("1")
    assert node.told() == [("kept", b"1")]
    assert node.lanes.counters["early"] == 0


def test_parked_lanes_are_bounded() -> None:
    node = Node(Options(max_parked=1))
    node.is_ahead()
    node.say("1", BOB)
    node.say("2", CAROL)
    assert node.told() == [("kept", b"2")]
    assert node.lanes.parked == 1


def test_stale_target_is_early_when_its_news_is_on_its_way(node: Node) -> None:
    node.up(A, 1)
    first = node.say("1")
    node.is_ahead()
    node.lanes.returned(A, first, [1], [1], node.now)
    node.transit.taken.add(A)
    node.lanes.pump(node.now)
    assert (node.told(), node.lanes.parked) == ([], 1)
    node.up(ME, 2, PHONE)
    assert node.told() == [("delivered", 2, b"1")]


# the store


def test_what_follows_a_stored_one_waits_for_the_commit_and_fetches_first(node: Node) -> None:
    node.say("1")
    assert node.told() == [("kept", b"1")]
    node.up(ME, 7)
    node.say("2")
    assert node.told() == []
    node.commit()
    assert node.told() == [("fetch", 7), ("delivered", 7, b"2")]
    node.say("3")
    assert node.told() == [("delivered", 7, b"3")]


def test_session_elsewhere_is_told_to_fetch_on_the_same_link(node: Node) -> None:
    node.say("1")
    node.commit()
    node.up(A, 4)
    node.say("2")
    node.say("3")
    assert node.transit.sent[0] == (A, FetchOffline([4]))
    assert node.sent() == [b"fetch", b"2", b"3"]


def test_new_target_fetches_too(node: Node) -> None:
    node.say("1")
    node.commit()
    node.up(ME, 7)
    node.say("2")
    node.up(ME, 8, HOME)
    node.say("3")
    fetches = [entry for entry in node.told() if entry[0] == "fetch"]
    assert fetches == [("fetch", 7), ("fetch", 7), ("fetch", 8)]


def test_stored_ones_stay_in_order_without_waiting_for_each_other(node: Node) -> None:
    for raw in "123":
        node.say(raw)
    assert node.told() == [("kept", b"1"), ("kept", b"2"), ("kept", b"3")]


def test_lane_forgets_the_store_a_while_after_the_commit(node: Node) -> None:
    node.say("1")
    node.wait(KEPT_S + 5)  # the store was away for long
    node.up(ME, 7)
    node.say("2")
    assert node.told() == [("kept", b"1")]
    node.commit()
    assert node.told() == [("fetch", 7), ("delivered", 7, b"2")]
    node.wait(KEPT_S + 2)
    node.say("3")
    assert node.told() == [("delivered", 7, b"3")]
    assert not node.lanes._lanes


def test_keeper_may_answer_at_once_also_for_one_that_was_parked(node: Node) -> None:
    """As for a chat state, which nobody stores."""
    node.commits_at_once = True
    node.is_ahead()
    node.say("1")
    node.say("2")
    node.wait(1.0)
    assert node.told() == [("kept", b"1"), ("kept", b"2")]
    assert node.holds_law()


def test_full_or_suspect_peer_sends_messages_to_the_store(node: Node) -> None:
    node.up(A, 1)
    node.transit.refusing.add(A)
    node.iq("1")
    node.say("2", type="headline")
    assert node.sent() == [b"1", b"2"]
    node.settle(A)
    node.say("3")
    assert node.told() == [("kept", b"3")]
    assert node.sent() == [b"1", b"2"]


def test_peer_that_refuses_is_asked_when_another_accepts(node: Node) -> None:
    node.up(A, 1, PHONE)
    node.up(B, 2, HOME)
    node.transit.refusing.add(A)
    node.say("1")
    assert (node.sent(A), node.sent(B)) == ([b"1"], [b"1"])


# coming back


def test_returned_ones_are_routed_again_in_order_before_what_waits(node: Node) -> None:
    node.up(A, 1)
    for raw in "12":
        node.say(raw)
    node.up(ME, 2, PHONE)  # a later session of the same full JID
    node.say("3")
    node.die(A)
    node.lanes.pump(node.now)
    assert node.told() == [("delivered", 2, b"1"), ("delivered", 2, b"2"), ("delivered", 2, b"3")]
    assert node.lanes.counters["rerouted"] == 2


def test_returned_ones_may_be_doubles_and_say_so(node: Node) -> None:
    node.up(A, 1)
    parcel = node.say("1")
    node.up(B, 2, HOME)
    node.die(A)
    node.lanes.pump(node.now)
    [task] = [task for to, task in node.transit.sent if to == B]
    assert isinstance(task, RouteStanza) and task.delayed and parcel.delayed


def test_order_of_returning_does_not_matter(node: Node) -> None:
    node.up(A, 1)
    parcels = [node.say(raw) for raw in "123"]
    node.transit.dead.add(A)
    node.lanes.cut(A)
    for parcel in reversed(parcels):
        node.lanes.returned(A, parcel, [1], None, node.now)
    node.directory.forget(A)
    node.lanes.pump(node.now)
    assert node.told() == [("kept", b"1"), ("kept", b"2"), ("kept", b"3")]


def test_undeliverable_target_is_not_tried_again(node: Node) -> None:
    node.up(A, 1, PHONE)
    node.up(A, 2, HOME, priority=-1)
    parcel = node.say("1", PHONE)
    node.lanes.returned(A, parcel, [1], [1], node.now)
    node.transit.taken.add(A)
    node.lanes.pump(node.now)
    assert node.told() == [("kept", b"1")]
    node.say("2", PHONE)
    assert node.told() == [("kept", b"2")]


def test_one_target_that_took_it_is_enough(node: Node) -> None:
    node.up(A, 1, PHONE)
    node.up(A, 2, HOME)
    parcel = node.say("1")
    node.lanes.returned(A, parcel, [1, 2], [1], node.now)
    assert not node.lanes.is_waiting
    node.lanes.returned(A, parcel, [1, 2], [2], node.now)
    assert node.lanes.is_waiting


@pytest.mark.parametrize("how", ["undeliverable", "death"])
def test_iq_gets_exactly_one_error_and_never_another_resource(node: Node, how: str) -> None:
    node.up(A, 1, PHONE)
    node.up(ME, 2, HOME)
    parcel = node.iq("1")
    if how == "death":
        node.die(A)
    else:
        node.lanes.returned(A, parcel, [1], [1], node.now)
    node.wait(1.0)
    assert node.told() == [("refused", b"1", "cancel", "service-unavailable")]


@pytest.mark.parametrize(("kind", "type"), [("iq", "result"), ("iq", "error"), ("presence", None)])
def test_answers_and_presence_that_come_back_are_dropped(node: Node, kind: str, type: str | None) -> None:
    node.up(A, 1)
    node.say("1", PHONE, kind=kind, type=type)
    node.die(A)
    node.wait(1.0)
    assert node.told() == []


def test_returned_one_unparks_its_lane(node: Node) -> None:
    node.up(A, 1)
    first = node.say("1", PHONE)
    node.down(A, 1)
    node.transit.taken.add(A)
    node.is_ahead()
    node.say("2", HOME)
    assert node.lanes.parked == 1
    node.lanes.returned(A, first, [1], [1], node.now)
    assert (node.lanes.parked, node.lanes.is_waiting) == (0, True)
    node.wait(2.0)
    assert node.told() == [("kept", b"1"), ("kept", b"2")]
    assert node.holds_law()


def test_dead_peer_does_not_hold_up_the_lane(node: Node) -> None:
    node.up(A, 1)
    node.say("1")
    node.lanes.cut(A)
    node.down(A, 1)
    node.up(ME, 2)
    node.say("2")
    assert node.told() == [("delivered", 2, b"2")]


def test_peer_that_has_just_died_takes_nothing(node: Node) -> None:
    node.up(A, 1)
    node.transit.dead.add(A)
    node.say("1")
    assert node.told() == [("kept", b"1")]
