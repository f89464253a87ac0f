"""The roster: get, set, remove, pushes to all interested resources, versioning (RFC 6121 §2)."""

import pytest

from tests.conversations.conftest import Cast, befriend
from tests.support.slix import Item, Refused


def test_contact_is_added_changed_and_removed_for_all_resources(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    home, work = alice.on(cast.here, "home"), alice.on(cast.there, "work")
    deaf = alice.on(cast.there, "deaf", is_available=False)  # has not asked for the roster: is not interested
    steps = [
        Item(str(bob), name="Bob"),
        Item(str(bob), name="Robert", groups=("Friends", "Work & Play")),
        Item(str(bob)),
    ]
    for step in steps:
        home.keeps(step.jid, step.name, tuple(group.replace("&", "&amp;") for group in step.groups))
        assert home.is_pushed() == work.is_pushed() == step
        assert home.roster() == work.roster() == {str(bob): step}
    work.removes(bob)
    assert home.is_pushed() == work.is_pushed() == Item(str(bob), "remove")
    assert deaf.roster() == {}
    assert not [one for one in deaf.inbox() if one.startswith("iq")]


def test_contacts_of_other_domains_are_kept_too(cast: Cast) -> None:
    alice, _ = cast.pair()
    alice.keeps("bob@elsewhere.example", "Bob")
    assert alice.is_pushed() == Item("bob@elsewhere.example", name="Bob")
    alice.removes("bob@elsewhere.example")
    assert alice.roster() == {}


@pytest.mark.parametrize(
    ("query", "refused"),
    [
        ("<item jid='{other}' subscription='remove'/>", "item-not-found"),
        ("", "bad-request"),
        ("<item jid='{other}'/><item jid='c@d'/>", "bad-request"),
        ("<item jid='a@b@c'/>", "jid-malformed"),
        ("<item jid='{own}'/>", "not-allowed"),
        ("<item jid='{other}'><group/></item>", "not-acceptable"),
        ("<item jid='{other}'><group>A</group><group>A</group></item>", "bad-request"),
        ("<item jid='{other}' name='" + "x" * 1024 + "'/>", "not-acceptable"),
    ],
)
def test_what_is_no_item_is_refused(cast: Cast, query: str, refused: str) -> None:
    alice, bob = cast.pair()
    item = query.format(other=bob.bare, own=alice.bare)
    with pytest.raises(Refused, match=refused):
        alice.iq("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")
    assert alice.roster() == {}


def test_nobody_reads_or_changes_the_roster_of_another(cast: Cast) -> None:
    alice, bob = cast.friends()
    for type, item in (("get", ""), ("set", "<item jid='c@d'/>")):
        with pytest.raises(Refused, match="service-unavailable"):
            alice.iq(type, f"<query xmlns='jabber:iq:roster'>{item}</query>", bob.bare)


def test_client_sets_no_subscription_by_itself(cast: Cast) -> None:
    """RFC 6121 §2.1.2.5: subscription, ask and approved in a set are ignored."""
    alice, bob = cast.pair()
    item = f"<item jid='{bob.bare}' subscription='both' ask='subscribe' approved='true'/>"
    alice.iq("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")
    assert alice.is_pushed() == Item(bob.bare)


def test_known_version_is_answered_by_nothing(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.keeps(bob.bare)
    _, version = alice.is_pushed_version()
    items, same = alice.roster_since("")
    assert (items, same) == ({bob.bare: Item(bob.bare)}, version)
    other = alice.person.on(cast.there, "work", is_available=False)
    assert other.roster_since(version) == ({}, "")
    assert other.inbox() == []


def test_changes_while_away_come_as_pushes(cast: Cast) -> None:
    """RFC 6121 §2.6.3: interim pushes instead of the whole roster, in order."""
    alice, bob, carol, dave = cast.people_called(4)
    away = alice.on(cast.here, "away")
    for contact in (bob, carol):
        away.keeps(contact)
        _, version = away.is_pushed_version()
    away.log_out()
    other = alice.on(cast.there, "other")
    other.keeps(dave)
    other.removes(bob)
    other.keeps(carol, "Carol")
    again = alice.on(cast.here, "away", is_available=False)
    assert again.roster_since(version) == ({}, "")
    pushed = [again.is_pushed_version() for _ in range(3)]
    assert [item for item, _ in pushed] == [
        Item(str(dave)), Item(str(bob), "remove"), Item(str(carol), name="Carol")
    ]  # fmt: skip
    versions = [int(version) for _, version in pushed]
    assert versions == sorted(versions)
    assert again.roster_since(str(versions[-1])) == ({}, "")
    assert again.roster_since("") == (
        {str(carol): Item(str(carol), name="Carol"), str(dave): Item(str(dave))},
        str(versions[-1]),
    )


def test_removed_contact_who_asks_again_is_still_gone(cast: Cast) -> None:
    """The request stands where the tombstone stood, and is no part of the roster."""
    alice, bob = cast.people_called(2)
    away, other = alice.on(cast.here, "away"), alice.on(cast.there, "other")
    away.keeps(bob)
    _, version = away.is_pushed_version()
    away.log_out()
    other.removes(bob)
    asking = bob.on(cast.there)
    asking.asks(alice)
    other.sees(bob, "subscribe")
    again = alice.on(cast.here, "away", is_available=False)
    assert again.roster_since(version) == ({}, "")
    assert again.is_pushed() == Item(str(bob), "remove")


def test_version_that_never_was_gets_the_whole_roster(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.keeps(bob.bare)
    for version in ("99999", "not-a-number"):
        assert alice.roster_since(version)[0] == {bob.bare: Item(bob.bare)}


def test_removed_contact_loses_both_subscriptions(cast: Cast) -> None:
    alice, bob = cast.friends()
    alice.removes(bob.bare)
    assert alice.is_pushed() == Item(bob.bare, "remove")
    bob.sees(alice.bare, "unsubscribe")
    bob.sees(alice.bare, "unsubscribed")
    bob.sees(alice, "unavailable")
    alice.sees(bob, "unavailable")
    assert bob.is_pushed() == Item(alice.bare)
    assert bob.roster() == {alice.bare: Item(alice.bare)}
    befriend(alice, bob)


def test_pushes_from_two_nodes_at_once_come_in_version_order(cast: Cast) -> None:
    alice = cast.person()
    home, work = alice.on(cast.here, "home"), alice.on(cast.there, "work")
    for number in range(20):
        for client in (home, work):
            item = f"<item jid='{client.jid.partition('/')[2]}{number}@d.example'/>"
            query = f"<query xmlns='jabber:iq:roster'>{item}</query>"
            client.sends(f"<iq type='set' id='set{number}'>{query}</iq>")
    for client in (home, work):
        pushed = [client.is_pushed_version() for _ in range(40)]
        versions = [int(version) for _, version in pushed]
        assert versions == list(range(versions[0], versions[0] + 40))
        assert len({item.jid for item, _ in pushed}) == 40
