"""Messages for people who are away (XEP-0160, XEP-0203)."""

from datetime import UTC, datetime

from tests.conversations.conftest import Cast
from tests.support.slix import Client


def test_messages_wait_and_come_with_their_delay_in_order(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    for number in range(20):
        sender.says(bob, f"{number}", ("chat", "normal")[number % 2])
    _is_stored(sender)
    client = bob.on(cast.there)
    heard = [client.hears() for _ in range(20)]
    assert [one.body for one in heard] == [f"{number}" for number in range(20)]
    assert {one.from_ for one in heard} == {sender.jid}
    now = datetime.now(UTC)
    for one in heard:
        assert 0 <= (now - datetime.fromisoformat(one.delay)).total_seconds() < 60
    client.log_out()
    again = bob.on(cast.here)
    sender.says(again, "the end")
    assert again.hears().body == "the end"


def _is_stored(sender: Client) -> None:
    """Whatever was written to the store in order before this refusal is there."""
    sender.says("nobody@" + sender.bare.partition("@")[2], "flush")
    assert sender.hears().error == "service-unavailable"


def test_what_was_stored_comes_before_what_is_live(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    client = bob.on(cast.there, is_available=False)
    for number in range(10):
        sender.says(bob, f"{number}")
    client.is_available()
    for number in range(10, 20):
        sender.says(bob, f"{number}")
    assert [client.hears().body for _ in range(20)] == [f"{number}" for number in range(20)]


def test_message_to_somebody_who_comes_at_this_moment_does_not_wait(cast: Cast) -> None:
    """Stored by one node just before it hears that the recipient is on line at another."""
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    for number in range(20):
        client = bob.on(cast.there, f"r{number}")
        sender.says(bob, f"{number}")
        assert client.hears().body == f"{number}"
        client.log_out()


def test_only_what_deserves_it_is_kept(cast: Cast) -> None:
    """RFC 6121 §8.5.2.2.1, XEP-0160 §3: no headlines, no errors, nobody's typing of yesterday."""
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    sender.says(bob, "breaking news", "headline")
    sender.says(bob, "never mind", "error")
    composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
    sender.sends(f"<message to='{bob}' type='chat'>{composing}</message>")
    sender.says(bob, "everybody", "groupchat")
    assert sender.hears().error == "service-unavailable"
    sender.says(bob, "kept")
    _is_stored(sender)
    client = bob.on(cast.there)
    assert client.hears().body == "kept"
    sender.says(client, "the end")
    assert client.hears().body == "the end"


def test_connected_resource_that_is_not_available_gets_nothing_stored(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    client = bob.on(cast.there, is_available=False)
    sender.says(bob, "for later")
    _is_stored(sender)
    sender.says(client, "for you")
    assert client.hears().body == "for you"
    client.is_available()
    assert client.hears().body == "for later"
