"""Rosters: versions, tombstones, changes over both users' rows; the same on every store."""

from collections.abc import Callable

import gevent
import msgspec
import pytest

from tests.node.store.rows import account
from xcluster.node.store.changes import MAX_TOMBSTONES
from xcluster.node.store.protocol import Roster, RosterChange, RosterItem, RosterOutcome, Store
from xcluster.shared.errors import StanzaError

BOB = RosterItem("bob@x", "Bob", ("friends", "wörk"), "to", ask=True, approved=True)
ALICE = RosterItem("alice@x", listed=False, pending_in=b"<presence type='subscribe'/>")


def at(item: RosterItem, version: int) -> RosterItem:
    return msgspec.structs.replace(item, version=version)


def put(mine: RosterItem | None, theirs: RosterItem | None = None) -> RosterChange:
    return lambda _mine, _theirs: (mine, theirs)


def change(store: Store, new: RosterChange, contact_user: str | None = "bob") -> RosterOutcome:
    return store.change_rosters("alice", "bob@x", contact_user, new, 10)


def test_both_sides_change_together(store: Store) -> None:
    outcome = change(store, put(BOB, ALICE))
    assert outcome == RosterOutcome((None, None), (at(BOB, 1), at(ALICE, 1)), 1, 1)
    assert store.roster("alice") == Roster(1, (at(BOB, 1),))
    assert store.roster("bob") == Roster(1, (at(ALICE, 1),))
    outcome = change(store, lambda mine, theirs: (mine, msgspec.structs.replace(theirs, listed=True)))
    assert outcome.user_version == 0
    assert outcome.contact_version == 2
    assert outcome.before == (at(BOB, 1), at(ALICE, 1))
    assert outcome.after == (at(BOB, 1), at(msgspec.structs.replace(ALICE, listed=True), 2))
    assert store.roster_versions(["alice", "bob", "dave"]) == {"alice": 1, "bob": 2}


def test_no_change_changes_no_version(store: Store) -> None:
    change(store, put(BOB, ALICE))
    outcome = change(store, lambda mine, theirs: (mine, theirs))
    assert (outcome.user_version, outcome.contact_version) == (0, 0)
    assert outcome.before == outcome.after
    assert store.roster_versions(["alice", "bob"]) == {"alice": 1, "bob": 1}


@pytest.mark.parametrize("contact_user", [None, "nobody"])
def test_contact_who_is_not_ours_has_no_side(store: Store, contact_user: str | None) -> None:
    seen = []
    outcome = store.change_rosters(
        "alice", "nobody@x", contact_user, lambda *sides: seen.append(sides) or (BOB, ALICE), 10
    )
    assert seen[-1] == (None, None)
    assert outcome.after[1] is None
    assert outcome.contact_version == 0


def test_own_jid_as_contact_is_one_row(store: Store) -> None:
    own = RosterItem("alice@x", "me")
    outcome = store.change_rosters("alice", "alice@x", "alice", put(own, ALICE), 10)
    assert outcome == RosterOutcome((None, None), (at(own, 1), None), 1, 0)


def test_removed_contact_leaves_a_tombstone_when_it_was_listed(store: Store) -> None:
    change(store, put(BOB, ALICE))
    outcome = change(store, put(None, None))
    assert outcome == RosterOutcome((at(BOB, 1), at(ALICE, 1)), (None, None), 2, 2)
    assert store.roster("alice") == Roster(2)
    assert store.roster_since("alice", 1) == Roster(
        2, (RosterItem("bob@x", subscription="remove", version=2),)
    )
    assert store.roster_since("bob", 1) == Roster(2)
    assert change(store, put(BOB)).before == (None, None)  # a tombstone is no item
    assert store.roster_since("alice", 1) == Roster(3, (at(BOB, 3),))


def test_roster_since_tells_changes_in_order_of_version(store: Store) -> None:
    for number, name in enumerate(["c", "a", "b"], 1):
        store.change_rosters("alice", f"{name}@x", None, put(RosterItem(f"{name}@x")), 10)
        assert store.roster_since("alice", number) == Roster(number)
    since = store.roster_since("alice", 1)
    assert since is not None
    assert [(item.contact, item.version) for item in since.items] == [("a@x", 2), ("b@x", 3)]
    assert [item.contact for item in store.roster("alice").items] == ["a@x", "b@x", "c@x"]
    assert store.roster_since("alice", 4) is None
    assert store.roster_since("dave", 0) is None


def test_old_tombstones_are_forgotten_and_versions_before_them_unknown(store: Store) -> None:
    for number in range(MAX_TOMBSTONES + 1):
        for item in (RosterItem(f"{number}@x"), None):
            store.change_rosters("alice", f"{number}@x", None, put(item), 10)
    assert store.roster_since("alice", 1) is None
    since = store.roster_since("alice", 2)
    assert since is not None
    assert len(since.items) == MAX_TOMBSTONES
    assert store.roster("alice") == Roster(2 * (MAX_TOMBSTONES + 1))


@pytest.mark.parametrize("side", ["user", "contact"])
def test_full_roster_takes_no_more_listed_contacts(store: Store, side: str) -> None:
    for number in range(3):
        user, item = ("alice" if side == "user" else "bob"), RosterItem(f"{number}@x")
        store.change_rosters(user, item.contact, None, put(item), 3)
    new = (BOB, None) if side == "user" else (None, msgspec.structs.replace(ALICE, listed=True))
    with pytest.raises(StanzaError) as raised:
        store.change_rosters("alice", "bob@x", "bob", put(*new), 3)
    assert (raised.value.type, raised.value.condition) == ("wait", "resource-constraint")
    assert store.roster_versions(["alice", "bob"]) in ({"alice": 3, "bob": 0}, {"alice": 0, "bob": 3})
    # Renaming one of them, and a request that waits unlisted, still fit.
    store.change_rosters("alice", "bob@x", "bob", put(None, ALICE), 3)
    renamed = RosterItem("0@x", "zero")
    assert store.change_rosters("alice" if side == "user" else "bob", "0@x", None, put(renamed), 3).after[0]


def test_stanza_error_of_the_change_reaches_the_caller_and_changes_nothing(store: Store) -> None:
    def refuse(mine: RosterItem | None, theirs: RosterItem | None) -> tuple[None, None]:
        raise StanzaError("modify", "not-acceptable")

    with pytest.raises(StanzaError, match="not-acceptable"):
        change(store, refuse)
    assert store.roster("alice") == Roster()


def test_roster_of_somebody_who_was_removed_is_not_changed(store: Store) -> None:
    store.remove_account("alice", "x")
    with pytest.raises(StanzaError, match="item-not-found"):
        change(store, put(BOB))


def test_provision_creates_and_replaces(store: Store) -> None:
    change(store, put(BOB, ALICE))
    told: list[int] = []
    users = [f"user{number}" for number in range(2000)]
    items = tuple(RosterItem(f"user{n}@x", subscription="both", version=1) for n in range(30))
    rosters = [(user, Roster(1, items)) for user in [*users, "alice"]]
    assert store.provision((account(user) for user in [*users, "alice"]), iter(rosters), told.append) == 2001
    assert told[-1] == 4002
    assert told == sorted(told)
    assert store.count_accounts() == 2003
    assert store.account("user1999") == account("user1999")
    assert set(store.roster("user1999").items) == set(items)
    replaced = store.roster("alice")
    assert replaced.version == 2
    assert len(replaced.items) == 30
    assert store.roster_since("alice", 1) is None  # no tombstone tells of bob: the whole roster must
    assert store.roster_since("alice", 2) == Roster(2)


def test_thousand_changes_from_two_sides_stay_symmetric(opened: Callable[..., Store]) -> None:
    """Two processes toggle the same pairs; both rows of a pair always change together."""
    stores = [opened(), opened()]
    users = [f"u{number}" for number in range(10)]
    for user in users:
        stores[0].create_account(account(user))

    def run(store: Store, user: str, contact: str) -> None:
        own = (f"{user}@x", f"{contact}@x")

        def both(mine: RosterItem | None, theirs: RosterItem | None) -> tuple[RosterItem, RosterItem]:
            assert (mine is None) == (theirs is None)
            count = int(mine.name) + 1 if mine else 1
            assert theirs is None or theirs.name == str(count - 1)
            return RosterItem(own[1], str(count)), RosterItem(own[0], str(count))

        for _ in range(10):
            store.change_rosters(user, own[1], contact, both, 100)

    pairs = [(a, b) for a in users for b in users if a != b][:50]
    gevent.joinall(
        [gevent.spawn(run, stores[n % 2], *pair) for n, pair in enumerate(pairs)]
        + [gevent.spawn(run, stores[(n + 1) % 2], b, a) for n, (a, b) in enumerate(pairs)],
        raise_error=True,
    )
    rosters = {user: {item.contact: item for item in stores[0].roster(user).items} for user in users}
    counts = 0
    for user in users:
        for jid, item in rosters[user].items():
            assert rosters[jid.partition("@")[0]][f"{user}@x"].name == item.name
            counts += int(item.name)
    assert counts == 2 * 2 * 50 * 10  # both rows, both directions
