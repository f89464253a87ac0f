"""node/admin/verify.py: do all nodes have the same rows?"""

import pytest

from tests.node.admin.pair import A, B, Pair
from xcluster.bus.messages import Deltas, Origin, SessionUp
from xcluster.node.admin.verify import ROUNDS


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.a.bind("alice")
    pair.b.bind("bob")
    pair.run(0.2)
    return pair


def test_equal_nodes_are_equal_at_the_first_look(pair: Pair) -> None:
    assert pair.a.verify.run() == {"equal": True, "nodes": ["a/10", "b/10"], "differences": [], "errors": {}}
    assert pair.slept == 0


def test_digests_are_those_of_the_rows_and_not_those_that_are_kept(pair: Pair) -> None:
    before = pair.a.verify.digests()
    assert before == pair.b.verify.digests()
    record = pair.a.exchange.directory.find("bob@example.org/home")
    assert record is not None
    record.priority = 5  # behind the directory's back
    assert pair.a.exchange.directory.digest(B) == pair.b.exchange.directory.digest(B)
    assert pair.a.verify.digests() != before


def test_lost_row_is_named_with_what_should_be_there(pair: Pair) -> None:
    pair.a.exchange.mesh.replicas[B].hold_repairs(pair.shuttle.now + 1000)
    record = pair.a.exchange.directory.find("bob@example.org/home")
    assert record is not None
    pair.a.exchange.directory.lose(record)
    result = pair.b.verify.run()
    assert not result["equal"]
    [difference] = result["differences"]
    want = difference.pop("want")
    assert difference == {
        "node": "a/10",
        "origin": "b/10",
        "table": "sessions",
        "key": "bob@example.org/home",
        "have": None,
    }
    assert len(want) == 16
    assert pair.slept == ROUNDS


def test_row_that_should_not_be_there_is_named_too(pair: Pair) -> None:
    pair.a.exchange.mesh.replicas[B].hold_repairs(pair.shuttle.now + 1000)
    pair.a.exchange.directory.apply(B, SessionUp(99, "carol@example.org/x", 1))
    [difference] = pair.a.verify.run()["differences"]
    assert (difference["key"], difference["want"]) == ("carol@example.org/x", None)
    assert difference["have"]


def test_what_is_only_on_its_way_is_no_difference(pair: Pair) -> None:
    pair.shuttle.loses = lambda source, to, message: isinstance(message, Deltas) and pair.slept < 3
    pair.b.bind("carol")
    pair.shuttle.turn()
    result = pair.a.verify.run()
    assert result["equal"] and result["differences"] == []
    assert 0 < pair.slept < ROUNDS


def test_node_that_does_not_answer_makes_it_unequal_and_is_named(pair: Pair) -> None:
    pair.silent.add(B)
    result = pair.a.verify.run()
    assert not result["equal"]
    assert result["errors"] == {"b/10": "b/10 is not a live node"}
    assert result["nodes"] == ["a/10", "b/10"]


def test_sessions_of_a_node_that_is_unknown_here_are_an_error(pair: Pair) -> None:
    stranger = Origin("c", 7)
    b = pair.b.exchange
    pair.shuttle.loses = lambda source, to, message: True
    b.mesh.replicas[stranger] = b.mesh.replicas[A]
    b.directory.apply(stranger, SessionUp(1, "eve@example.org/x", 1))
    digests = pair.b.verify.digests()
    pair.b.verify.digests = lambda argument=None: digests  # type: ignore[method-assign, misc]
    del b.mesh.replicas[stranger]
    result = pair.a.verify.run()
    assert not result["equal"]
    assert "c/7" in result["errors"]["b/10"]


def test_rows_are_told_by_counter_with_name_and_hash(pair: Pair) -> None:
    [(key, (name, hash_))] = pair.a.verify.rows(["b", 10]).items()
    assert (key, name, len(hash_)) == ("1", "bob@example.org/home", 16)
    assert pair.b.verify.rows(["b", 10]) == pair.a.verify.rows(["b", 10])
    assert pair.a.verify.rows(["nobody", 1]) == {}
