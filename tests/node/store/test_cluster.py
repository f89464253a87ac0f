"""Heartbeats, incarnations, settings, notices: the same on every store."""

import msgspec

from tests.node.store.rows import NOW
from xcluster.node.store.protocol import NodeRow, Notice, Store

NODE = NodeRow("a", 10, "host", 42, True, NOW)


def test_beats_are_counted_and_everybody_is_seen(store: Store) -> None:
    assert store.beat(NODE) == [msgspec.structs.replace(NODE, beats=1)]
    other = NodeRow("b", 7, "host", 43, False, NOW)
    assert [row.name for row in store.beat(other)] == ["a", "b"]
    assert store.beat(NODE)[0].beats == 2


def test_superseded_incarnation_does_not_hide_its_successor(store: Store) -> None:
    store.beat(msgspec.structs.replace(NODE, incarnation=11))
    assert [row.incarnation for row in store.beat(NODE)] == [11]
    assert store.beat(msgspec.structs.replace(NODE, incarnation=12, pid=1))[0].pid == 1


def test_incarnations_only_grow(store: Store) -> None:
    assert store.claim_incarnation("a", 1000) == 1000
    assert store.claim_incarnation("a", 1000) == 1001
    assert store.claim_incarnation("a", 5) == 1002
    assert store.claim_incarnation("a", 2000) == 2000
    assert store.claim_incarnation("b", 0) == 1


def test_settings_are_replaced(store: Store) -> None:
    store.set_setting("motd", "hello")
    store.set_setting("motd", "hello, wörld")
    store.set_setting("a", "")
    assert store.settings() == {"a": "", "motd": "hello, wörld"}


def test_notices_are_read_once_in_order(store: Store) -> None:
    assert store.last_notice() == 0
    store.add_notices([Notice("close", "alice"), Notice("roster", "bob")])
    first = store.notices(0)
    assert [(notice.kind, notice.subject) for notice in first] == [("close", "alice"), ("roster", "bob")]
    assert first[-1].row == store.last_notice()
    store.add_notices([Notice("forget", "")])
    assert [notice.kind for notice in store.notices(first[-1].row)] == ["forget"]


def test_sweep_forgets_old_notices_and_dead_nodes(store: Store) -> None:
    store.add_notices([Notice("close", "alice"), Notice("close", "bob")])
    last = store.last_notice()
    store.beat(NODE)
    store.sweep(NOW + 3_000.0)
    assert len(store.notices(0)) == 2
    store.sweep(NOW + 4_000.0)
    assert len(store.notices(0)) == 1  # the newest: numbers must not begin again
    assert store.last_notice() == last
    store.sweep(NOW + 90_000.0)
    assert [row.name for row in store.beat(msgspec.structs.replace(NODE, name="b"))] == ["b"]
