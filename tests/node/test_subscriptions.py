"""Subscriptions: the tables of RFC 6121, appendix A, both sides of each transition at once."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcluster.node import subscriptions
from xcluster.node.store.protocol import RosterItem
from xcluster.node.subscriptions import KINDS, TRANSITIONS, Pair, Sides
from xcluster.shared.errors import StanzaError

ALICE, BOB = "alice@example.org", "bob@example.org"
REQUEST = b"<presence from='alice@example.org' to='bob@example.org' type='subscribe'/>"
SIDES = Sides(ALICE, BOB, REQUEST)

# The states of §A.1: subscription, pending out, pending in
NONE, OUT, IN, OUT_IN = ("none", 0, 0), ("none", 1, 0), ("none", 0, 1), ("none", 1, 1)
TO, TO_IN = ("to", 0, 0), ("to", 0, 1)
FROM, FROM_OUT = ("from", 0, 0), ("from", 1, 0)
BOTH = ("both", 0, 0)
State = tuple[str, int, int]
STATES = (NONE, OUT, IN, OUT_IN, TO, TO_IN, FROM, FROM_OUT, BOTH)
MIRROR = dict(zip(STATES, (NONE, IN, OUT, OUT_IN, FROM, FROM_OUT, TO, TO_IN, BOTH), strict=True))

# §A.2, outbound: what the state of the user's item becomes. A state that is not named stays.
OUTBOUND: dict[str, dict[State, State]] = {
    "subscribe": {NONE: OUT, IN: OUT_IN, FROM: FROM_OUT},
    "unsubscribe": {OUT: NONE, OUT_IN: IN, TO: NONE, TO_IN: IN, FROM_OUT: FROM, BOTH: FROM},
    "subscribed": {IN: FROM, OUT_IN: FROM_OUT, TO_IN: BOTH},
    "unsubscribed": {IN: NONE, OUT_IN: OUT, TO_IN: TO, FROM: NONE, FROM_OUT: OUT, BOTH: TO},
}

# §A.3, inbound: what the state of the contact's item becomes, and that the stanza MUST be delivered. In a
# state that is not named nothing changes, and it MUST NOT be.
INBOUND: dict[str, dict[State, State]] = {
    "subscribe": {NONE: IN, OUT: OUT_IN, TO: TO_IN},
    "unsubscribe": {IN: NONE, OUT_IN: OUT, TO_IN: TO, FROM: NONE, FROM_OUT: OUT, BOTH: TO},
    "subscribed": {OUT: TO, OUT_IN: TO_IN, FROM_OUT: BOTH},
    "unsubscribed": {OUT: NONE, OUT_IN: IN, TO: NONE, TO_IN: IN, FROM_OUT: FROM, BOTH: FROM},
}


def item(contact: str, state: State, listed: bool = True) -> RosterItem | None:
    """An item in this state; unlisted or none at all where that is enough."""
    subscription, out, pending_in = state
    if not listed and (subscription != "none" or out):
        listed = True
    if not listed and not pending_in:
        return None
    return RosterItem(
        contact,
        subscription=subscription,
        ask=bool(out),
        pending_in=REQUEST if pending_in else b"",
        listed=listed,
    )


def state(item: RosterItem | None) -> State:
    return NONE if item is None else (item.subscription, int(item.ask), int(bool(item.pending_in)))


@pytest.mark.parametrize("listed", [True, False], ids=["in-roster", "not-in-roster"])
@pytest.mark.parametrize("of_user", STATES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_tables_of_appendix_a(kind: str, of_user: State, listed: bool) -> None:
    of_contact = MIRROR[of_user]
    before = item(BOB, of_user, listed), item(ALICE, of_contact, listed)
    after = TRANSITIONS[kind](SIDES, *before, True)
    assert state(after[0]) == OUTBOUND[kind].get(of_user, of_user)
    assert state(after[1]) == INBOUND[kind].get(of_contact, of_contact)
    assert state(after[1]) == MIRROR[state(after[0])]
    assert subscriptions.delivered(kind, before, after) is (of_contact in INBOUND[kind])
    assert not subscriptions.answered(kind, before, after)


@pytest.mark.parametrize("of_user", STATES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_what_changes_nothing_gives_the_same_objects(kind: str, of_user: State) -> None:
    """So that the store writes nothing and nobody is told."""
    before = item(BOB, of_user), item(ALICE, MIRROR[of_user])
    after = TRANSITIONS[kind](SIDES, *before, True)
    if of_user not in OUTBOUND[kind] and not (kind == "subscribed" and of_user in (NONE, OUT, TO)):
        assert after[0] is before[0]
    if MIRROR[of_user] not in INBOUND[kind]:
        assert after[1] is before[1]


@pytest.mark.parametrize("of_user", [NONE, OUT, TO], ids=str)
def test_approval_without_request_is_kept_for_the_future(of_user: State) -> None:
    """§3.4.2: approved is noted, and nothing is sent."""
    before = item(BOB, of_user, listed=False), item(ALICE, MIRROR[of_user], listed=False)
    mine, theirs = TRANSITIONS["subscribed"](SIDES, *before, True)
    assert mine is not None
    assert (mine.approved, mine.listed, state(mine)) == (True, True, of_user)
    assert theirs is before[1]
    assert not subscriptions.delivered("subscribed", before, (mine, theirs))


@pytest.mark.parametrize("of_contact", [NONE, TO, OUT], ids=str)
def test_request_to_somebody_who_has_approved_is_answered_at_once(of_contact: State) -> None:
    theirs = item(ALICE, of_contact)
    assert theirs is not None
    before = item(BOB, MIRROR[of_contact]), msgspec.structs.replace(theirs, approved=True)
    after = TRANSITIONS["subscribe"](SIDES, *before, True)
    assert subscriptions.has_to(after[0])
    assert subscriptions.has_from(after[1])
    assert state(after[1]) == MIRROR[state(after[0])]
    assert subscriptions.answered("subscribe", before, after)
    assert not subscriptions.delivered("subscribe", before, after)


@pytest.mark.parametrize("of_user", STATES, ids=str)
def test_approval_is_taken_back(of_user: State) -> None:
    mine = item(BOB, of_user)
    assert mine is not None
    before = msgspec.structs.replace(mine, approved=True), item(ALICE, MIRROR[of_user])
    after = TRANSITIONS["unsubscribed"](SIDES, *before, True)
    assert after[0] is not None
    assert not after[0].approved


@pytest.mark.parametrize("of_user", STATES, ids=str)
def test_removal_ends_everything_between_the_two(of_user: State) -> None:
    """§2.5: the item is gone, and the contact's is none, without requests either way."""
    mine, theirs = subscriptions.remove(
        SIDES, item(BOB, of_user), item(ALICE, MIRROR[of_user], listed=False), True
    )
    assert mine is None
    assert state(theirs) == NONE


@pytest.mark.parametrize("mine", [None, item(BOB, IN, listed=False)])
def test_what_is_not_in_the_roster_is_not_removed(mine: RosterItem | None) -> None:
    with pytest.raises(StanzaError, match="item-not-found"):
        subscriptions.remove(SIDES, mine, item(ALICE, OUT), True)


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_is_told_about_people_who_do_not_exist(kind: str) -> None:
    before: Pair = (item(BOB, OUT), None)
    after = TRANSITIONS[kind](SIDES, *before, False)
    assert after[1] is None
    assert not subscriptions.delivered(kind, before, after)


def test_the_first_request_is_the_one_that_is_kept() -> None:
    again = SIDES._replace(stanza=b"<presence type='subscribe'><status>please</status></presence>")
    mine, theirs = TRANSITIONS["subscribe"](SIDES, None, None, True)
    _, theirs = TRANSITIONS["subscribe"](again, mine, theirs, True)
    assert theirs is not None
    assert theirs.pending_in == REQUEST


@given(st.lists(st.tuples(st.sampled_from([*KINDS, "remove"]), st.booleans()), max_size=30))
def test_whatever_two_people_do_their_items_fit_together(steps: list[tuple[str, bool]]) -> None:
    pair: dict[str, RosterItem | None] = {ALICE: None, BOB: None}
    for kind, by_alice in steps:
        user, contact = (ALICE, BOB) if by_alice else (BOB, ALICE)
        transition = TRANSITIONS.get(kind, subscriptions.remove)
        try:
            pair[user], pair[contact] = transition(
                Sides(user, contact, REQUEST), pair[user], pair[contact], True
            )
        except StanzaError:
            assert kind == "remove"
        assert state(pair[ALICE]) in STATES
        assert state(pair[BOB]) == MIRROR[state(pair[ALICE])]
