"""Presence: initial, later, unavailable, directed, probes (RFC 6121 §4)."""

from tests.conversations.conftest import Cast

STATUS = "{jabber:client}status"


def test_contacts_see_each_other_come_change_and_go(cast: Cast) -> None:
    alice, bob = cast.friends()
    again = alice.person.on(cast.here, "again")
    bob.sees(again)
    again.sees(bob)
    alice.sees(again)
    again.is_available(show="away", status="lunch", priority=3)
    seen = bob.sees(again)
    texts = [seen.findtext(f"{{jabber:client}}{name}") for name in ("show", "status", "priority")]
    assert texts == ["away", "lunch", "3"]
    assert seen.get("to") == bob.bare
    alice.sees(again)
    again.is_unavailable("bye")
    assert bob.sees(again, "unavailable").findtext(STATUS) == "bye"
    again.is_available()
    bob.sees(again)
    again.sees(bob)


def test_end_of_a_stream_and_a_cut_connection_are_seen(cast: Cast) -> None:
    alice, bob = cast.friends()
    work = alice.person.on(cast.here, "work")
    bob.sees(work)
    alice.log_out()
    bob.sees(alice, "unavailable")
    work.is_cut()
    bob.sees(work, "unavailable")


def test_everybody_is_told_once(cast: Cast) -> None:
    alice, bob = cast.friends()
    for number in range(5):
        alice.is_available(status=f"{number}")
    alice.is_unavailable()
    assert [bob.sees(alice).findtext(STATUS) for _ in range(5)] == [f"{number}" for number in range(5)]
    bob.sees(alice, "unavailable")
    alice.says(bob, "the end")
    bob.hears()
    assert [one for one in bob.inbox() if alice.bare in one] == []


def test_strangers_see_nothing(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.is_available(status="secret")
    bob.sends(f"<presence to='{alice.bare}' type='probe'/>")
    alice.says(bob, "the end")
    bob.hears()
    assert bob.inbox() == []


def test_probe_of_a_contact_is_answered(cast: Cast) -> None:
    alice, bob = cast.friends()
    alice.is_available(status="here")
    bob.sees(alice)
    bob.sends(f"<presence to='{alice.bare}' type='probe'/>")
    assert bob.sees(alice).findtext(STATUS) == "here"


def test_directed_presence_is_withdrawn_in_the_end(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.is_available(status="for you", to=bob)
    assert bob.sees(alice).findtext(STATUS) == "for you"
    alice.is_available(status="for others")
    alice.log_out()
    bob.sees(alice, "unavailable")
    assert bob.inbox() == []


def test_directed_presence_of_somebody_unavailable(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here, is_available=False)
    client = bob.on(cast.there)
    sender.is_available(to=client)
    client.sees(sender)
    sender.is_cut()
    client.sees(sender, "unavailable")


def test_directed_presence_that_its_sender_withdraws(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.is_available(to=bob)
    bob.sees(alice)
    alice.is_unavailable("enough", to=bob)
    assert bob.sees(alice, "unavailable").findtext(STATUS) == "enough"
    alice.log_out()
    marker = alice.person.on(cast.here, "marker")
    marker.is_available(to=bob)
    bob.sees(marker)
    assert bob.inbox() == []


def test_directed_presence_to_a_bare_jid_reaches_all_available_resources(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    clients = [bob.on(cast.here, "one", priority=-5), bob.on(cast.there, "two")]
    clients[0].sees(clients[1])  # so the sender's node knows them both
    sender.is_available(to=bob)
    for client in clients:
        client.sees(sender)
    sender.is_unavailable()
    for client in clients:
        client.sees(sender, "unavailable")


def test_priority_out_of_range_is_refused(cast: Cast) -> None:
    alice, _ = cast.pair()
    alice.sends("<presence><priority>128</priority></presence>")
    error = alice.sees("", "error")
    assert error.find("{jabber:client}error/{urn:ietf:params:xml:ns:xmpp-stanzas}bad-request") is not None
