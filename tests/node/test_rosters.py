"""node/rosters.py: rosters are read once, until they change."""

import pytest

from tests.node.features.setting import DOMAIN, Setting
from xcluster.node.rosters import CachedRoster, Rosters
from xcluster.node.store.protocol import Roster, RosterItem, Store
from xcluster.shared.errors import StoreError

ITEMS = (
    RosterItem(f"both@{DOMAIN}", "Both", ("friends",), "both"),
    RosterItem(f"to@{DOMAIN}", subscription="to"),
    RosterItem(f"from@{DOMAIN}", subscription="from"),
    RosterItem(f"asking@{DOMAIN}", pending_in=b"<presence type='subscribe'/>", listed=False),
)


class Counting:
    """A store that counts what is read."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.reads = 0
        self.down = False
        self.meanwhile = lambda: None

    def roster(self, user: str) -> Roster:
        if self.down:
            raise StoreError("away")
        self.reads += 1
        read = self.store.roster(user)
        self.meanwhile()
        return read


@pytest.fixture
def store() -> Counting:
    setting = Setting()
    setting.store.provision((), [("alice", Roster(items=ITEMS))])
    return Counting(setting.store)


@pytest.fixture
def rosters(store: Counting) -> Rosters:
    return Rosters(store, 1_000_000)  # type: ignore[arg-type]


def test_roster_is_read_once(store: Counting, rosters: Rosters) -> None:
    assert rosters.peek("alice") is None
    read = rosters.get("alice")
    assert rosters.get("alice") == rosters.peek("alice") == read
    assert store.reads == 1


def test_what_is_kept_is_what_was_read(rosters: Rosters) -> None:
    rosters.get("alice")
    kept = rosters.get("alice")
    assert set(kept.items) == {item.contact for item in ITEMS}
    item = kept.item(f"both@{DOMAIN}")
    assert item is not None
    assert (item.name, item.groups, item.subscription) == ("Both", ("friends",), "both")
    assert kept.item("nobody@example.org") is None


def test_roster_tells_whom_the_user_sees_who_asks_and_what_the_client_sees(rosters: Rosters) -> None:
    roster = rosters.get("alice")
    assert sorted(roster.watched()) == [f"both@{DOMAIN}", f"to@{DOMAIN}"]
    assert roster.requests() == [b"<presence type='subscribe'/>"]
    assert {item.contact for item in roster.listed()} == {
        f"{name}@{DOMAIN}" for name in ("both", "to", "from")
    }


def test_somebody_without_a_roster_has_an_empty_one(store: Counting, rosters: Rosters) -> None:
    assert rosters.get("bob") == CachedRoster(0, {})
    rosters.get("bob")
    assert store.reads == 1


@pytest.mark.parametrize("how", ["invalidate", "clear"])
def test_change_makes_it_read_anew(store: Counting, rosters: Rosters, how: str) -> None:
    rosters.get("alice")
    if how == "clear":
        rosters.clear()
    else:
        rosters.invalidate("alice")
    assert rosters.peek("alice") is None
    rosters.get("alice")
    assert store.reads == 2


def test_other_users_rosters_stay(rosters: Rosters) -> None:
    rosters.get("alice")
    rosters.get("bob")
    rosters.invalidate("bob")
    assert rosters.peek("alice") is not None


def test_read_that_was_overtaken_by_a_change_is_not_kept(store: Counting, rosters: Rosters) -> None:
    store.meanwhile = lambda: rosters.invalidate("alice")
    assert rosters.get("alice").watched()
    assert rosters.peek("alice") is None


def test_store_that_is_away_is_the_caller_s_to_know_and_leaves_nothing_behind(
    store: Counting, rosters: Rosters
) -> None:
    store.down = True
    with pytest.raises(StoreError):
        rosters.get("alice")
    store.down = False
    assert rosters.get("alice").watched()


def test_cache_is_capped_in_bytes(store: Counting) -> None:
    rosters = Rosters(store, 600)  # type: ignore[arg-type]
    rosters.get("alice")
    for user in range(20):
        rosters.get(f"user{user}")
    assert rosters.peek("alice") is None
    assert rosters.cache.bytes <= 600
