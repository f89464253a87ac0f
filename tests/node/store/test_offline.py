"""Offline rows: free, held, tombstones (design.md §8); the same on every store."""

from collections.abc import Callable

import gevent
import pytest

from tests.node.store.rows import NOW, account, row
from xcluster.node.store.postgres import PostgresConnection
from xcluster.node.store.protocol import OfflineRow, Store
from xcluster.node.store.sql_offline import add_offline


def taken(
    store: Store, user: str = "alice", holder: str = "a/1/1", live: tuple[str, ...] = ()
) -> list[bytes]:
    return [one.identity for one in store.take_offline(user, holder, [holder, *live])]


def test_rows_are_stored_once_by_identity(store: Store) -> None:
    assert store.add_offline([row(1), row(2), row(1)], 10) == ["stored"] * 3
    assert store.add_offline([row(2), row(3)], 10) == ["stored"] * 2
    assert store.count_offline("alice") == 3
    assert store.add_offline([], 10) == []


def test_unknown_user_and_full_user_are_told_apart(store: Store) -> None:
    rows = [row(1), row(2), row(3), row(1), row(4, "bob"), row(5, "dave")]
    assert store.add_offline(rows, 2) == ["stored", "stored", "full", "stored", "stored", "unknown"]
    # What is there already is stored, however full the user is.
    assert store.add_offline([row(6), row(2)], 2) == ["full", "stored"]
    store.drop_offline("alice", [row(1).identity])
    assert store.add_offline([row(6), row(1), row(7)], 2) == ["stored", "stored", "full"]
    assert store.count_offline("alice") == 2


def test_rows_are_taken_in_order_and_as_stored(store: Store) -> None:
    store.add_offline([row(3), row(1)], 10)
    store.add_offline([row(2), row(9, "bob")], 10)
    rows = store.take_offline("alice", "a/1/1", [])
    assert [one.identity for one in rows] == [row(3).identity, row(1).identity, row(2).identity]
    assert [one.row for one in rows] == sorted({one.row for one in rows})
    assert rows[0] == OfflineRow("alice", row(3).identity, row(3).stanza, NOW + 3, "a/1/1", rows[0].row)
    assert taken(store) == []
    assert taken(store, "bob") == [row(9).identity]


def test_rows_held_by_the_dead_are_taken_and_those_of_the_living_are_not(store: Store) -> None:
    store.add_offline([row(1, holder="a/1/1"), row(2, holder="b/1/1"), row(3, holder="c/1/1"), row(4)], 10)
    ids = [row(number).identity for number in (1, 3, 4)]
    assert taken(store, holder="d/1/1", live=("b/1/1",)) == ids
    assert taken(store, holder="e/1/1", live=("b/1/1", "d/1/1")) == []


def test_session_gives_back_what_it_holds(store: Store) -> None:
    store.add_offline([row(1, holder="a/1/1"), row(2, "bob", "a/1/1"), row(3, "carol", "a/1/2")], 10)
    assert store.free_offline("a/1/1") == ["alice", "bob"]
    assert store.free_offline("a/1/1") == []
    assert store.free_offline("") == []
    assert taken(store, "bob") == [row(2).identity]
    assert taken(store, "carol", live=("a/1/2",)) == []


def test_dropped_row_stays_dropped_for_as_long_as_it_is_remembered(store: Store) -> None:
    store.add_offline([row(1), row(2)], 10)
    store.drop_offline("alice", [row(1).identity])
    store.drop_offline("alice", [row(1).identity])
    assert store.count_offline("alice") == 1
    assert store.add_offline([row(1)], 10) == ["stored"]
    assert taken(store) == [row(2).identity]
    store.sweep(NOW + 59.0)
    assert store.add_offline([row(1)], 10) == ["stored"]
    assert taken(store) == []
    store.sweep(NOW + 61.0)
    assert store.add_offline([row(1)], 10) == ["stored"]
    assert taken(store) == [row(1).identity]


def test_row_that_comes_after_its_acknowledgement_is_dropped_too(store: Store) -> None:
    store.drop_offline("alice", [row(1).identity])
    assert store.add_offline([row(1)], 10) == ["stored"]
    assert store.count_offline("alice") == 0
    assert taken(store) == []


def test_identity_belongs_to_its_user(store: Store) -> None:
    store.add_offline([row(1), row(1, "bob")], 10)
    store.drop_offline("alice", [row(1).identity])
    assert (store.count_offline("alice"), store.count_offline("bob")) == (0, 1)


def test_waiting_rows_are_told_since_last_time(store: Store) -> None:
    last, users = store.waiting_offline(0)
    assert users == []
    store.add_offline([row(1), row(2, "bob", "a/1/1")], 10)
    last, users = store.waiting_offline(last)
    assert users == ["alice"]
    last, users = store.waiting_offline(last)
    assert users == []
    store.free_offline("a/1/1")
    store.add_offline([row(3, "carol")], 10)
    last, users = store.waiting_offline(last)
    assert users == ["bob", "carol"]
    taken(store, "bob")
    store.drop_offline("carol", [row(3, "carol").identity])
    assert store.waiting_offline(0)[1] == ["alice"]


@pytest.mark.parametrize("url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True)
def test_row_committed_after_later_ones_is_not_missed(opened: Callable[..., Store], url: str) -> None:
    """PostgreSQL: ids are given in another order than they are committed."""
    store = opened()
    for user in ("alice", "bob"):
        store.create_account(account(user))
    slow = PostgresConnection(url, 10.0)
    slow.begin()
    add_offline.run(slow, [([row(1, "bob")], 10)])
    store.add_offline([row(2)], 10)  # a higher id, committed first
    last, users = store.waiting_offline(0)
    assert users == ["alice"]
    slow.commit()
    slow.close()
    assert "bob" in store.waiting_offline(last)[1]


def test_two_processes_share_the_rows_between_them(opened: Callable[..., Store]) -> None:
    stores = [opened(), opened()]
    for user in ("alice", "bob"):
        stores[0].create_account(account(user))
    rows = [row(number, user) for number in range(200) for user in ("alice", "bob")]
    found: list[tuple[str, bytes]] = []

    living = tuple(f"{n}/1/{m}" for n in range(2) for m in range(10))

    def take(store: Store, holder: str) -> None:
        for user in ("alice", "bob") * 10:
            found.extend((user, identity) for identity in taken(store, user, holder, living))

    takers = [gevent.spawn(take, store, f"{n}/1/{m}") for n, store in enumerate(stores) for m in range(10)]
    adders = [gevent.spawn(stores[n % 2].add_offline, rows[n::20], 1000) for n in range(20)]
    gevent.joinall(takers + adders, raise_error=True)
    take(stores[0], "last/1/1")
    assert sorted(found) == sorted((one.user, one.identity) for one in rows)
