"""A thousand subscription changes at once, by both sides of pairs on two nodes (RFC 6121 §3)."""

import random
from collections.abc import Iterator

import pytest

from tests.conversations.conftest import Cast, Running
from tests.support.cluster import eventually
from tests.support.slix import Client, Item, Stage
from xcluster.node.store.protocol import RosterItem, Store
from xcluster.node.store.stores import open_store
from xcluster.node.subscriptions import KINDS
from xcluster.shared import ns
from xcluster.shared.config import Config

PAIRS = 25
CHANGES = 20  # by each side of a pair
MIRROR = {"none": "none", "to": "from", "from": "to", "both": "both"}


@pytest.fixture
def cast(running: Running, stage: Stage) -> Iterator[Cast]:
    cast = Cast(running, stage, ("n1", "n2"))
    yield cast
    cast.close()


@pytest.fixture
def store(running: Running) -> Iterator[Store]:
    config = Config()
    config.store.url = running.store_url
    store = open_store(config)
    yield store
    store.close()


@pytest.mark.slow
def test_a_thousand_changes_leave_every_pair_in_a_legal_state(cast: Cast, store: Store) -> None:
    random_ = random.Random(1)
    pairs = [cast.pair() for _ in range(PAIRS)]
    for _ in range(CHANGES):
        for one, other in pairs:
            one.sends(_change(random_, other.bare))
            other.sends(_change(random_, one.bare))
    for one, other in pairs:
        for client in (one, other):
            client.iq("get", f"<ping xmlns='{ns.PING}'/>")  # answered behind all that the client has sent
    states = [_state_of(store, one, other) for one, other in pairs]
    assert len(set(states)) > 2, states
    for one, other in pairs:
        for client in (one, other):
            _is_told_what_is_stored(store, client)


def _change(random_: random.Random, contact: str) -> str:
    """Something that a person does about another; approvals often, so that some come about."""
    kind = random_.choice([*KINDS, *(2 * ["subscribe", "subscribed"]), "remove"])
    if kind == "remove":
        item = f"<item jid='{contact}' subscription='remove'/>"
        return f"<iq type='set' id='remove'><query xmlns='{ns.ROSTER}'>{item}</query></iq>"
    return f"<presence to='{contact}' type='{kind}'/>"


def _state_of(store: Store, one: Client, other: Client) -> str:
    """What the two are to each other; raises AssertionError when their items do not fit together."""
    mine, theirs = _stored(store, one, other.bare), _stored(store, other, one.bare)
    for item, mirrored in ((mine, theirs), (theirs, mine)):
        assert item.subscription == MIRROR[mirrored.subscription]
        assert item.ask == bool(mirrored.pending_in)
        assert not (item.ask and item.subscription in ("to", "both"))
        assert item.listed or (item.subscription == "none" and not item.ask)
    return f"{mine.subscription} {mine.ask} {theirs.ask}"


def _stored(store: Store, client: Client, contact: str) -> RosterItem:
    for item in store.roster(client.person.user).items:
        if item.contact == contact:
            return item
    return RosterItem(contact, listed=False)


def _is_told_what_is_stored(store: Store, client: Client) -> None:
    """By pushes alone, in order, the client knows its roster in the end; and it sees whom it may see."""
    known: dict[str, Item] = {}
    stored = {
        item.contact: Item(item.contact, item.subscription, item.ask, item.approved)
        for item in store.roster(client.person.user).items
        if item.listed
    }

    def is_up_to_date() -> bool:
        for item in client.pushes():
            known[item.jid] = item
            if item.subscription == "remove":
                del known[item.jid]
        return known == stored

    try:
        eventually(is_up_to_date)
    except AssertionError:
        assert known == stored
    assert client.roster() == stored
