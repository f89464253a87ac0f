"""Accounts, vCards, last activity: the same on every store."""

import msgspec

from tests.node.store.rows import account
from xcluster.node.store.protocol import OfflineRow, Roster, RosterItem, Store


def test_account_is_read_as_it_was_created(store: Store) -> None:
    assert store.account("alice") == account("alice")
    assert store.account("dave") is None


def test_user_is_created_once(store: Store) -> None:
    assert not store.create_account(msgspec.structs.replace(account("alice"), disabled=True))
    assert store.account("alice") == account("alice")


def test_update_replaces_keys_and_disabled_but_not_the_birthday(store: Store) -> None:
    new = msgspec.structs.replace(account("bob"), user="alice", disabled=True, created_at=0.0)
    assert store.update_account(new)
    assert store.account("alice") == msgspec.structs.replace(new, created_at=account("alice").created_at)
    assert not store.update_account(account("dave"))
    assert store.account("dave") is None


def test_accounts_are_listed_by_name_in_pages(store: Store) -> None:
    store.create_account(account("Zoë"))
    store.create_account(account("bob-2"))
    everyone = ["Zoë", "alice", "bob", "bob-2", "carol"]
    assert [one.user for one in store.accounts()] == everyone
    assert [one.user for one in store.accounts(after="alice", limit=2)] == ["bob", "bob-2"]
    assert store.count_accounts() == len(everyone)


def test_removed_account_leaves_nothing_behind(store: Store) -> None:
    store.set_vcard("alice", b"<vCard/>")
    store.set_last_activity([("alice", 5.0, "bye")])
    store.add_offline([OfflineRow("alice", b"1", b"<message/>", 1.0)], 10)
    store.provision([], [("alice", Roster(1, (RosterItem("bob@x", version=1),)))])
    assert store.remove_account("alice", "x") == []
    assert store.account("alice") is None
    store.create_account(account("alice"))
    assert store.vcard("alice") is None
    assert store.last_activity("alice") is None
    assert store.count_offline("alice") == 0
    assert store.roster("alice") == Roster()


def test_removed_account_leaves_the_rosters_that_held_it(store: Store) -> None:
    store.provision(
        [],
        [
            ("bob", Roster(4, (RosterItem("alice@x", "Al", ("a", "b"), "both", version=3),))),
            ("carol", Roster(7, (RosterItem("alice@x", listed=False, pending_in=b"<p/>", version=7),))),
        ],
    )
    versions = store.roster_versions(["bob", "carol"])
    assert store.remove_account("alice", "x") == ["bob", "carol"]
    assert store.roster_versions(["bob", "carol"]) == {user: old + 1 for user, old in versions.items()}
    assert store.roster("bob").items == ()
    tombstone = RosterItem("alice@x", subscription="remove", version=versions["bob"] + 1)
    assert store.roster_since("bob", versions["bob"]) == Roster(versions["bob"] + 1, (tombstone,))
    # What was not listed was never shown, so there is nothing to take back.
    assert store.roster_since("carol", versions["carol"]) == Roster(versions["carol"] + 1)
    assert store.remove_account("alice", "x") == []


def test_vcard_is_replaced(store: Store) -> None:
    assert store.vcard("alice") is None
    store.set_vcard("alice", b"<vCard>1</vCard>")
    store.set_vcard("alice", b"<vCard>\x00\xff</vCard>")
    assert store.vcard("alice") == b"<vCard>\x00\xff</vCard>"


def test_last_activity_is_the_last_one_given(store: Store) -> None:
    store.set_last_activity([("alice", 1.0, "one"), ("bob", 2.5, ""), ("alice", 3.0, "two")])
    assert store.last_activity("alice") == (3.0, "two")
    assert store.last_activity("bob") == (2.5, "")
    assert store.last_activity("carol") is None
