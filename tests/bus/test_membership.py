"""bus/membership.py: what was heard, and when -> who is alive, suspect, unreachable, dead."""

from collections.abc import Callable, Iterable

import pytest

from xcluster.bus.membership import (
    GONE_S,
    PATH_S,
    TELL_DEAD_S,
    Died,
    Event,
    Membership,
    State,
    Timing,
)
from xcluster.bus.messages import Origin

ME, PEER, OTHER = Origin("me", 5), Origin("peer", 5), Origin("other", 5)
ALIVE, SUSPECT, UNREACHABLE = State.ALIVE, State.SUSPECT, State.UNREACHABLE
TIMING = Timing(suspect_s=1.5, dead_s=3.0, unreachable_s=30.0)
START = 100.0
STEP = 0.1

Story = Callable[["Scene"], None]


class Scene:
    """A membership whose bus answers, unless told otherwise; what it says is kept with its time."""

    def __init__(self) -> None:
        self.now = START
        self.members = Membership(ME, TIMING, START)
        self.said: list[tuple[float, Event]] = []
        self.bus_answers = True
        self.beats: dict[Origin, int] = {}
        self.members.bus_answered(0, START)

    def hears(self, origin: Origin = PEER, bus: int = 0) -> None:
        self._say(self.members.heard(origin, bus, self.now))

    def until(self, seconds: float, hearing: Iterable[Origin] = (), beating: Iterable[Origin] = ()) -> None:
        """Let time pass up to `seconds` after the start, hearing some over the bus, others in the store."""
        hearing, beating = list(hearing), list(beating)
        while self.now < START + seconds - 1e-9:
            self.now = round(self.now + STEP, 6)
            if self.bus_answers:
                self.members.bus_answered(0, self.now)
            for origin in hearing:
                self.hears(origin)
            for origin in beating:
                self.beats[origin] = self.beats.get(origin, 0) + 1
            self.members.stored(self.beats.items(), self.now)
            self._say(self.members.tick(self.now))

    def _say(self, events: list[Event]) -> None:
        self.said += [(round(self.now - START, 6), event) for event in events]

    def of(self, origin: Origin = PEER) -> list[tuple[float, State | str]]:
        return [
            (at, event.why if isinstance(event, Died) else event.state)
            for at, event in self.said
            if event.origin == origin
        ]


def keeps_talking(scene: Scene) -> None:
    scene.hears()
    scene.until(10, hearing=[PEER])


def falls_silent(scene: Scene) -> None:
    scene.hears()
    scene.until(10)


def is_silent_for_a_while(scene: Scene) -> None:
    scene.hears()
    scene.until(2)
    scene.hears()
    scene.until(3, hearing=[PEER])


def is_silent_on_the_bus_only(scene: Scene) -> None:
    scene.hears()
    scene.until(10, beating=[PEER])


def comes_back_from_unreachable(scene: Scene) -> None:
    is_silent_on_the_bus_only(scene)
    scene.hears()


def is_silent_in_both_one_after_the_other(scene: Scene) -> None:
    scene.hears()
    scene.until(6, beating=[PEER])
    scene.until(20)


def is_unreachable_for_too_long(scene: Scene) -> None:
    scene.hears()
    scene.until(40, beating=[PEER])


def had_a_row_in_the_store_that_stands_still(scene: Scene) -> None:
    scene.hears()
    scene.members.stored([(PEER, 7)], scene.now)
    scene.beats[PEER] = 7
    scene.until(10)


def disconnects(scene: Scene) -> None:
    scene.hears()
    scene.until(0.5, hearing=[PEER])
    scene.members.gone(PEER, True, scene.now)
    scene.until(5, beating=[PEER])


def disconnects_and_comes_back(scene: Scene) -> None:
    scene.hears()
    scene.members.gone(PEER, True, scene.now)
    scene.until(0.5)
    scene.hears()
    scene.until(5, hearing=[PEER])


def is_unknown_to_a_bus_that_has_just_started(scene: Scene) -> None:
    scene.hears()
    scene.members.gone(PEER, False, scene.now)
    scene.until(5, hearing=[PEER])


def is_seen_to_be_gone_again_and_again(scene: Scene) -> None:
    scene.hears()
    for tenth in range(1, 20):
        scene.members.gone(PEER, True, scene.now)
        scene.until(tenth / 10)


def loses_its_connection_after_a_silence(scene: Scene) -> None:
    scene.hears()
    scene.until(2, beating=[PEER])
    scene.members.gone(PEER, True, scene.now)  # its TCP gave up: that is no second witness
    scene.until(10, beating=[PEER])
    scene.hears()
    scene.until(12, hearing=[PEER])


def leaves(scene: Scene) -> None:
    scene.hears()
    scene._say(scene.members.left(PEER, scene.now))
    scene.until(5)


def is_declared_dead_by_another(scene: Scene) -> None:
    scene.hears()
    scene.hears(OTHER)
    scene._say(scene.members.declared_dead([PEER], scene.now))
    scene._say(scene.members.declared_dead([PEER], scene.now))
    scene.until(1, hearing=[OTHER])


def starts_again(scene: Scene) -> None:
    scene.hears()
    scene.until(0.5)
    scene.hears(Origin("peer", 6))


@pytest.mark.parametrize(
    ("story", "said"),
    [
        (keeps_talking, [(0, ALIVE)]),
        (falls_silent, [(0, ALIVE), (1.5, SUSPECT), (3.0, "silent")]),
        (is_silent_for_a_while, [(0, ALIVE), (1.5, SUSPECT), (2.0, ALIVE)]),
        (is_silent_on_the_bus_only, [(0, ALIVE), (1.5, SUSPECT), (3.0, UNREACHABLE)]),
        (comes_back_from_unreachable, [(0, ALIVE), (1.5, SUSPECT), (3.0, UNREACHABLE), (10.0, ALIVE)]),
        (
            is_silent_in_both_one_after_the_other,
            [(0, ALIVE), (1.5, SUSPECT), (3.0, UNREACHABLE), (6.0 + TIMING.dead_s, "silent")],
        ),
        (is_unreachable_for_too_long, [(0, ALIVE), (1.5, SUSPECT), (3.0, UNREACHABLE), (30.0, "silent")]),
        (had_a_row_in_the_store_that_stands_still, [(0, ALIVE), (1.5, SUSPECT), (3.0, "silent")]),
        (disconnects, [(0, ALIVE), (0.5 + GONE_S, "disconnected")]),
        (disconnects_and_comes_back, [(0, ALIVE)]),
        (is_unknown_to_a_bus_that_has_just_started, [(0, ALIVE)]),
        (is_seen_to_be_gone_again_and_again, [(0, ALIVE), (GONE_S, "disconnected")]),
        (
            loses_its_connection_after_a_silence,
            [(0, ALIVE), (1.5, SUSPECT), (3.0, UNREACHABLE), (10.0, ALIVE)],
        ),
        (leaves, [(0, ALIVE), (0, "left")]),
        (is_declared_dead_by_another, [(0, ALIVE), (0, "declared")]),
        (starts_again, [(0, ALIVE), (0.5, "superseded")]),
    ],
)
def test_what_becomes_of_a_peer_that(story: Story, said: list[tuple[float, State | str]]) -> None:
    scene = Scene()
    story(scene)
    assert scene.of() == said


def test_newer_incarnation_is_alive_and_the_older_stays_dead() -> None:
    scene = Scene()
    starts_again(scene)
    assert scene.of(Origin("peer", 6)) == [(0.5, ALIVE)]
    assert scene.members.is_refused(PEER)
    assert not scene.members.is_refused(Origin("peer", 6))
    scene.hears(Origin("peer", 4))  # a frame that was on its way for long
    assert set(scene.members.peers) == {Origin("peer", 6)}


# isolation


def test_isolated_node_declares_nobody_dead() -> None:
    scene = Scene()
    scene.hears()
    scene.members.gone(PEER, True, scene.now)
    scene.bus_answers = False
    scene.until(60)
    assert scene.members.is_isolated(scene.now)
    assert scene.of() == [(0, ALIVE)]
    assert scene.members.counters["isolated"] > 0
    assert not scene.members.is_refused(PEER)


def test_after_isolation_every_silence_starts_anew() -> None:
    scene = Scene()
    scene.hears()
    scene.bus_answers = False
    scene.until(60)
    scene.bus_answers = True
    scene.until(61.4)
    assert scene.of() == [(0, ALIVE)]
    scene.until(70)
    assert [what for _, what in scene.of()] == [ALIVE, SUSPECT, "silent"]
    assert 60 + TIMING.dead_s <= scene.of()[-1][0] <= 60.2 + TIMING.dead_s


def test_node_is_isolated_until_a_bus_answers_and_when_none_does() -> None:
    members = Membership(ME, TIMING, START)
    assert members.is_isolated(START)
    members.bus_answered(0, START)
    members.bus_answered(1, START + 0.5)
    assert members.working_buses(START + 0.9) == [0, 1]
    assert members.working_buses(START + PATH_S) == [1]
    assert not members.is_isolated(START + PATH_S)
    members.bus_lost(1)
    assert members.is_isolated(START + PATH_S)


# the fence


@pytest.mark.parametrize(
    ("incarnation", "is_refused"), [(4, True), (5, True), (6, False)], ids=["older", "the dead one", "newer"]
)
def test_fence(incarnation: int, is_refused: bool) -> None:
    scene = Scene()
    falls_silent(scene)
    assert scene.members.is_refused(Origin("peer", incarnation)) is is_refused


def test_nobody_is_refused_before_it_died() -> None:
    assert not Membership(ME, TIMING, START).is_refused(PEER)


def test_the_dead_are_named_for_a_while_and_fenced_for_ever() -> None:
    scene = Scene()
    falls_silent(scene)
    assert list(scene.members.told_dead) == [PEER]
    scene.until(3.0 + TELL_DEAD_S + 0.5)
    assert not scene.members.told_dead
    assert scene.members.is_refused(PEER)


def test_declaration_of_a_stranger_fences_it_without_an_event() -> None:
    scene = Scene()
    assert scene.members.declared_dead([PEER], scene.now) == []
    assert scene.members.is_refused(PEER)
    assert PEER in scene.members.told_dead  # told on, so that all hear of it


def test_own_death_is_heard_and_answered_by_a_new_incarnation() -> None:
    scene = Scene()
    assert scene.members.declared_dead([ME], scene.now) == []
    assert scene.members.must_be_reborn
    scene.members.reborn(Origin("me", 6))
    assert (scene.members.me, scene.members.must_be_reborn) == (Origin("me", 6), False)
    scene.members.declared_dead([ME], scene.now)  # still told of, and of no consequence
    assert not scene.members.must_be_reborn
    assert not scene.members.is_refused(ME)


# what else is known


def test_cluster_runs_at_the_lowest_protocol() -> None:
    scene = Scene()
    assert scene.members.protocol(3) == 3
    scene.hears()
    scene.hears(OTHER)
    assert scene.members.protocol(3) == 3  # nobody has said yet
    scene.members.peers[PEER].protocol = 2
    scene.members.peers[OTHER].protocol = 4
    assert scene.members.protocol(3) == 2


def test_paths_remember_when_each_bus_brought_something() -> None:
    scene = Scene()
    scene.hears()
    scene.until(1)
    scene.hears(bus=1)
    assert scene.members.peers[PEER].paths == {0: START, 1: START + 1}


def test_counters() -> None:
    scene = Scene()
    is_silent_in_both_one_after_the_other(scene)
    assert scene.members.counters == {"suspected": 1, "unreachable": 1, "died": 1, "isolated": 0}
