"""node/admin/report.py: what a node says of itself and of the others."""

import json

import pytest

from tests.node.admin.pair import B, Pair
from tests.node.features.setting import DOMAIN
from xcluster.bus.messages import Deltas


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_status_is_plain_and_names_node_and_incarnation(pair: Pair) -> None:
    pair.a.bind("alice")
    pair.a.bind("alice", "phone")
    pair.b.bind("bob")
    pair.run(0.2)
    status = pair.a.report.status()
    assert json.loads(json.dumps(status)) == status
    assert (status["node"], status["incarnation"], status["ready"], status["isolated"]) == (
        "a",
        10,
        True,
        False,
    )
    assert (status["sessions"], status["users_online"], status["seq"]) == (2, 2, 2)
    assert status["bus"] == [{"name": "b0", "up": True}]
    assert status["store"] == {"healthy": True}
    assert status["uptime_s"] == pytest.approx(1.2, abs=0.11)
    assert status["more"] == 1


def test_status_of_members_agrees_with_what_they_say_of_themselves(pair: Pair) -> None:
    pair.b.bind("bob")
    pair.run(0.2)
    [member] = pair.a.report.status()["members"]
    own = pair.b.report.status()
    assert (member["name"], member["incarnation"], member["state"]) == (
        own["node"],
        own["incarnation"],
        "alive",
    )
    assert (member["sessions"], member["applied"], member["lag"]) == (own["sessions"], own["seq"], 0)
    assert member["digests"] == own["digests"] != {"sessions": "0" * 16}
    assert member["silent_s"] < 0.6 and member["unacknowledged"] == 0


def test_lag_shows_what_is_known_of_and_not_here(pair: Pair) -> None:
    pair.shuttle.loses = lambda source, to, message: isinstance(message, Deltas)
    pair.b.bind("bob")
    pair.run(0.6)
    [member] = pair.a.report.status()["members"]
    assert (member["heard"], member["applied"], member["lag"]) == (1, 0, 1)


def test_peer_and_bus_that_fall_silent_show(pair: Pair) -> None:
    pair.shuttle.loses = lambda source, to, message: source == B
    pair.run(2.0)
    status = pair.a.report.status()
    assert status["members"][0]["state"] == "suspect"
    assert status["members"][0]["silent_s"] >= 1.5
    pair.shuttle.down = {0}
    pair.run(2.0)
    status = pair.a.report.status()
    assert (status["isolated"], status["bus"]) == (True, [{"name": "b0", "up": False}])


def test_node_that_is_not_ready_says_so(pair: Pair) -> None:
    pair.a.is_ready = False
    assert pair.a.report.status()["ready"] is False


def test_counters_of_all_parts_are_there(pair: Pair) -> None:
    counters = pair.a.report.status()["counters"]
    for name in (
        "lanes_early",
        "mesh_refused",
        "members_died",
        "exchange_reborn",
        "replicas_snapshots",
        "links_resent",
    ):
        assert isinstance(counters[name], int), name
    assert counters["replicas_snapshots"] == 1
    assert set(pair.a.report.status()["early"]) == {"parked", "early", "woken", "expired", "reached"}


def test_sessions_of_one_user_or_of_all(pair: Pair) -> None:
    alice, bob = pair.a.bind("alice"), pair.a.bind("bob")
    alice.presence, alice.priority = b"<presence/>", 5
    pair.run(10.0)
    alice.line.heard_at = pair.shuttle.now - 3  # type: ignore[misc]
    alice.line.is_secure = bob.line.is_secure = True  # type: ignore[misc]
    [told] = pair.a.report.sessions(f"alice@{DOMAIN}")
    assert told | {"since_s": 0.0} == {
        "jid": alice.jid,
        "node": "a",
        "priority": 5,
        "available": True,
        "since_s": 0.0,
        "idle_s": 3.0,
        "address": "192.0.2.1",
        "tls": True,
    }
    assert told["since_s"] == pytest.approx(10.0, abs=0.11)
    assert [one["jid"] for one in pair.a.report.sessions()] == [alice.jid, bob.jid]
    assert pair.a.report.sessions(f"nobody@{DOMAIN}") == []
