"""XEP-0012: uptime, who is away since when, and how that is remembered."""

from collections.abc import Callable

import pytest

from tests.node.features.setting import (
    DOMAIN,
    NOW,
    OTHER,
    SEEN,
    STRANGERS,
    UNSEEN,
    Clock,
    Setting,
    ask,
    canonical,
    get,
    refusal,
    stanza,
)
from xcluster.node.features import last_activity
from xcluster.node.features.last_activity import Departures, LastActivity
from xcluster.node.session import Session
from xcluster.shared import ns
from xcluster.shared.errors import StoreError

LAST = f"<query xmlns='{ns.LAST_ACTIVITY}'/>"
BOB = f"bob@{DOMAIN}"


class At:
    """The feature on a node; what it spawns waits until `run`."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.uptime = Clock(1000.0)
        self.spawned: list[Callable[[], None]] = []
        self.departures = Departures(self.setting.store)
        self.feature = LastActivity(
            self.setting.store, self.departures, self.setting.sessions, self.setting.directory,
            self.setting.rosters, self.spawned.append, self.uptime, self.setting.clock,
        )  # fmt: skip
        self.alice = self.setting.bind("alice")

    def run(self) -> int:
        """Run what was spawned; how much it was."""
        spawned, self.spawned[:] = list(self.spawned), []
        for function in spawned:
            function()
        return len(spawned)

    def leaves(self, session: Session, farewell: str = "") -> None:
        """The session ends, as the node tells it: removed already."""
        self.setting.sessions.remove(session)
        self.setting.directory.forget(self.setting.directory.me)
        self.feature.session_ended(session, stanza(farewell) if farewell else None)

    def asked(self, to: str = BOB) -> str:
        return canonical(ask(self.feature, self.alice, get(LAST, to)))


def answer(seconds: int, status: str = "") -> str:
    return canonical(f"<query xmlns='{ns.LAST_ACTIVITY}' seconds='{seconds}'>{status}</query>")


@pytest.fixture
def at() -> At:
    return At()


def test_domain_tells_its_uptime(at: At) -> None:
    at.uptime.now += 123.9
    assert at.asked(DOMAIN) == answer(123)


def test_own_activity_is_now(at: At) -> None:
    at.setting.store.set_last_activity([("alice", NOW - 900, "gone")])
    assert at.asked("") == at.asked(at.alice.bare) == answer(0)


@pytest.mark.parametrize("subscription", SEEN)
def test_who_may_see_presence_learns_since_when_and_the_status(at: At, subscription: str) -> None:
    at.setting.lets_see("bob", "alice", subscription)
    at.setting.store.set_last_activity([("bob", NOW - 903.5, "Heading <Home>")])
    assert at.asked() == answer(903, "Heading &lt;Home&gt;")


@pytest.mark.parametrize("subscription", UNSEEN)
def test_who_may_not_see_presence_is_forbidden_whoever_exists(at: At, subscription: str) -> None:
    at.setting.lets_see("bob", "alice", subscription)
    at.setting.store.set_last_activity([("bob", NOW - 903, "")])
    at.setting.seen_on(OTHER, 7, f"{BOB}/x")
    for owner in (BOB, *STRANGERS):
        assert refusal(at.feature, at.alice, get(LAST, owner)) == ("auth", "forbidden")


@pytest.mark.parametrize("presence", [b"", b"<presence/>"])
def test_resource_on_any_node_makes_it_zero_without_status(at: At, presence: bytes) -> None:
    at.setting.lets_see("bob", "alice", "both")
    at.setting.store.set_last_activity([("bob", NOW - 903, "Heading Home")])
    at.setting.seen_on(OTHER, 7, f"{BOB}/x", presence)
    assert at.asked() == answer(0)


def test_contact_who_was_never_here_is_not_found(at: At) -> None:
    at.setting.lets_see("bob", "alice", "both")
    assert refusal(at.feature, at.alice, get(LAST, BOB)) == ("cancel", "item-not-found")


def test_clock_that_went_back_gives_no_negative_seconds(at: At) -> None:
    at.setting.lets_see("bob", "alice", "both")
    at.setting.store.set_last_activity([("bob", NOW + 5, "")])
    assert at.asked() == answer(0)


@pytest.mark.parametrize(
    ("farewell", "status"),
    [
        ("", ""),
        ("<presence type='unavailable'/>", ""),
        ("<presence type='unavailable'><status/></presence>", ""),
        (
            "<presence type='unavailable'><x xmlns='a'/><status>To &lt;bed</status></presence>",
            "To <bed",
        ),
        (f"<presence type='unavailable'><status>{'x' * 5000}</status></presence>", "x" * 1000),
    ],
)
def test_end_of_a_session_is_remembered_with_the_status_of_its_farewell(
    at: At, farewell: str, status: str
) -> None:
    at.leaves(at.setting.bind("bob"), farewell)
    at.run()
    assert at.setting.store.last_activity("bob") == (NOW, status)
    assert len(at.departures) == 0


def test_session_that_leaves_another_of_its_user_here_is_not_remembered(at: At) -> None:
    one, two = at.setting.bind("bob", "one"), at.setting.bind("bob", "two")
    at.leaves(one)
    assert at.run() == 0
    at.setting.clock.now += 10
    at.leaves(two)
    at.run()
    assert at.setting.store.last_activity("bob") == (NOW + 10, "")


def test_session_that_is_still_listed_when_it_ends_does_not_count_itself(at: At) -> None:
    at.feature.session_ended(at.setting.bind("bob"), None)
    at.run()
    assert at.setting.store.last_activity("bob") == (NOW, "")


def test_session_on_another_node_is_no_reason_not_to_remember(at: At) -> None:
    at.setting.seen_on(OTHER, 7, f"{BOB}/x")
    at.leaves(at.setting.bind("bob"))
    at.run()
    assert at.setting.store.last_activity("bob") == (NOW, "")


def test_departure_is_told_before_it_is_written(at: At) -> None:
    at.setting.lets_see("bob", "alice", "both")
    at.setting.store.set_last_activity([("bob", NOW - 900, "")])
    at.leaves(at.setting.bind("bob"), "<presence type='unavailable'><status>Bye</status></presence>")
    at.setting.clock.now += 3
    assert at.asked() == answer(3, "Bye")


def test_departures_at_once_are_written_together(at: At) -> None:
    for number in range(3):
        at.leaves(at.setting.bind(f"user{number}"))
    assert len(at.departures) == 3
    assert at.run() == 1
    assert len(at.departures) == 0
    assert at.setting.store.last_activity("user2") == (NOW, "")


def test_departures_that_the_store_could_not_take_are_written_later(at: At) -> None:
    at.setting.store.fail_with(StoreError("down"))
    at.leaves(at.setting.bind("bob"))
    at.run()
    at.feature.turned(0.0)
    at.run()
    at.setting.store.fail_with(None)
    assert at.setting.store.last_activity("bob") is None
    at.feature.turned(1.0)
    assert at.run() == 1
    assert at.setting.store.last_activity("bob") == (NOW, "")
    at.feature.turned(2.0)
    assert at.run() == 0


def test_departure_during_the_write_is_not_lost(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    take = at.setting.store.set_last_activity
    calls = []

    def slow(rows: list[tuple[str, float, str]]) -> None:
        take(rows)
        if not calls:
            at.departures.add("bob", NOW + 1, "again")
            at.departures.add("carol", NOW + 1, "")
            at.departures.write()  # does nothing: the first is at it
        calls.append([user for user, _, _ in rows])

    monkeypatch.setattr(at.setting.store, "set_last_activity", slow)
    at.departures.add("bob", NOW, "")
    at.departures.write()
    assert calls == [["bob"], ["bob", "carol"]]
    assert at.setting.store.last_activity("bob") == (NOW + 1, "again")
    assert len(at.departures) == 0


def test_departures_are_bounded(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last_activity, "MAX_WAITING", 2)
    for number in range(4):
        at.departures.add(f"user{number}", NOW, "")
    assert (len(at.departures), at.departures.dropped) == (2, 2)
    assert at.departures.get("user1") is None
    assert at.departures.get("user3") == (NOW, "")
    at.departures.add("user2", NOW + 1, "")  # left last now: user3 goes first
    at.departures.add("user4", NOW + 1, "")
    assert at.departures.get("user2") == (NOW + 1, "")
