"""Subscriptions: request, approval, denial, cancellation, unsubscribing, pre-approval (RFC 6121 §3)."""

from tests.conversations.conftest import Cast
from tests.support.slix import Item


def test_request_and_approval(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice_at_work = alice.person.on(cast.there, "work")
    bob_at_work = bob.person.on(cast.here, "work")
    alice.asks(bob.bare)
    for client in (alice, alice_at_work):
        assert client.is_pushed() == Item(bob.bare, ask=True)
    for client in (bob, bob_at_work):
        client.sees(alice.bare, "subscribe")
    bob.approves(alice.bare)
    for client in (bob, bob_at_work):
        assert client.is_pushed() == Item(alice.bare, "from")
    for client in (alice, alice_at_work):
        client.sees(bob.bare, "subscribed")
        assert client.is_pushed() == Item(bob.bare, "to")
        client.sees(bob)
        client.sees(bob_at_work)
    assert not [one for one in bob.inbox() if alice.bare in one], "he has not asked for her presence"
    bob.asks(alice.bare)
    for client in (bob, bob_at_work):
        assert client.is_pushed() == Item(alice.bare, "from", ask=True)
    alice_at_work.sees(bob.bare, "subscribe")
    alice_at_work.approves(bob.bare)
    for client in (alice, alice_at_work):
        assert client.is_pushed() == Item(bob.bare, "both")
    for client in (bob, bob_at_work):
        client.sees(alice.bare, "subscribed")
        assert client.is_pushed() == Item(alice.bare, "both")
        client.sees(alice)
        client.sees(alice_at_work)


def test_denial(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.asks(bob.bare)
    assert alice.is_pushed() == Item(bob.bare, ask=True)
    bob.sees(alice.bare, "subscribe")
    bob.refuses(alice.bare)
    alice.sees(bob.bare, "unsubscribed")
    assert alice.is_pushed() == Item(bob.bare)
    assert bob.roster() == {}
    assert bob.inbox() == []


def test_request_that_is_taken_back(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.asks(bob.bare)
    assert alice.is_pushed() == Item(bob.bare, ask=True)
    bob.sees(alice.bare, "subscribe")
    alice.leaves(bob.bare)
    assert alice.is_pushed() == Item(bob.bare)
    bob.sees(alice.bare, "unsubscribe")  # A.3.2: None + Pending In
    bob.approves(alice.bare)  # too late: approves whatever will come
    assert bob.is_pushed() == Item(alice.bare, approved=True)
    assert alice.roster() == {bob.bare: Item(bob.bare)}


def test_request_by_a_removed_item_is_taken_back(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.asks(bob.bare)
    bob.sees(alice.bare, "subscribe")
    alice.removes(bob.bare)
    bob.sees(alice.bare, "unsubscribe")
    again = bob.person.on(cast.here, "again")
    bob.sees(again)
    again.sees(bob)
    assert again.inbox() == []


def test_cancellation_by_the_contact(cast: Cast) -> None:
    alice, bob = cast.friends()
    bob.refuses(alice.bare)
    assert bob.is_pushed() == Item(alice.bare, "to")
    alice.sees(bob.bare, "unsubscribed")
    alice.sees(bob, "unavailable")
    assert alice.is_pushed() == Item(bob.bare, "from")
    alice.is_available(status="seen")
    assert bob.sees(alice).findtext("{jabber:client}status") == "seen"
    bob.is_available(status="unseen")
    alice.says(bob, "the end")
    bob.hears()
    bob.says(alice, "the end")
    alice.hears()
    assert not [one for one in alice.inbox() if bob.bare in one]


def test_unsubscribing(cast: Cast) -> None:
    alice, bob = cast.friends()
    alice.leaves(bob.bare)
    assert alice.is_pushed() == Item(bob.bare, "from")
    bob.sees(alice.bare, "unsubscribe")
    assert bob.is_pushed() == Item(alice.bare, "to")
    alice.sees(bob, "unavailable")
    alice.is_available(status="seen")
    assert bob.sees(alice).findtext("{jabber:client}status") == "seen"


def test_preapproval(cast: Cast) -> None:
    """RFC 6121 §3.4: approved beforehand, so the contact's user is not asked."""
    alice, bob = cast.pair()
    bob.approves(alice.bare)
    assert bob.is_pushed() == Item(alice.bare, approved=True)
    alice.asks(bob.bare)
    alice.sees(bob.bare, "subscribed")
    assert alice.is_pushed() == Item(bob.bare, "to")
    alice.sees(bob)
    assert bob.is_pushed()._replace(approved=False) == Item(alice.bare, "from")
    assert not [one for one in bob.inbox() if one.startswith("presence subscribe ")]


def test_preapproval_that_is_taken_back(cast: Cast) -> None:
    alice, bob = cast.pair()
    bob.approves(alice.bare)
    assert bob.is_pushed() == Item(alice.bare, approved=True)
    bob.refuses(alice.bare)
    assert bob.is_pushed() == Item(alice.bare)
    alice.asks(bob.bare)
    bob.sees(alice.bare, "subscribe")


def test_request_waits_for_somebody_who_is_away_until_it_is_answered(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    asking = alice.on(cast.here)
    asking.sends(f"<presence to='{bob}' type='subscribe' id='q1'><status>it is me</status></presence>")
    assert asking.is_pushed() == Item(str(bob), ask=True)
    for number in range(2):  # at each log-in (§3.1.3)
        client = bob.on((cast.there, cast.here)[number], f"r{number}")
        request = client.sees(alice.bare, "subscribe")
        assert (request.get("to"), request.findtext("{jabber:client}status")) == (str(bob), "it is me")
        assert client.roster() == {}, "what only waits for an answer is no item"
        client.log_out()
    client = bob.on(cast.there, "last")
    client.sees(alice.bare, "subscribe")
    client.approves(alice)
    asking.sees(bob.bare, "subscribed")
    assert asking.is_pushed() == Item(str(bob), "to")
    asking.sees(client)
    client.log_out()
    asking.sees(client, "unavailable")
    later = bob.on(cast.there, "later")
    asking.sees(later)
    assert not [one for one in later.inbox() if "subscribe" in one]


def test_approval_while_away_shows_in_the_roster(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.asks(bob.bare)
    bob.sees(alice.bare, "subscribe")
    alice.log_out()
    bob.approves(alice.bare)
    assert bob.is_pushed() == Item(alice.bare, "from")
    again = alice.person.on(cast.there, "again")
    again.sees(bob)
    assert again.roster() == {bob.bare: Item(bob.bare, "to")}


def test_second_request_is_not_delivered(cast: Cast) -> None:
    """RFC 6121 A.3.1: None + Pending In."""
    alice, bob = cast.pair()
    for _ in range(2):
        alice.asks(bob.bare)
    bob.sees(alice.bare, "subscribe")
    alice.says(bob, "the end")
    bob.hears()
    assert bob.inbox() == []


def test_request_to_nobody_stays_pending(cast: Cast) -> None:
    """RFC 6121 §8.5.1: silence, so that it does not tell who exists."""
    alice, _ = cast.pair()
    nobody = f"nobody@{cast.domain}"
    alice.asks(nobody)
    assert alice.is_pushed() == Item(nobody, ask=True)
    alice.leaves(nobody)
    assert alice.is_pushed() == Item(nobody)
    assert alice.inbox() == []


def test_subscription_to_oneself_is_nothing(cast: Cast) -> None:
    alice, _ = cast.pair()
    alice.asks(alice.bare)
    assert alice.roster() == {}
    assert alice.inbox() == []
