"""Messages between clients (RFC 6121 §5 and §8)."""

import pytest

from tests.conversations.conftest import Cast
from tests.support.slix import Heard


def test_message_to_bare_jid_and_its_answer(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.says(bob.bare, "hello")
    assert bob.hears() == Heard(alice.jid, "hello", "chat")
    bob.says(alice.jid, "hello yourself")
    assert alice.hears() == Heard(bob.jid, "hello yourself", "chat")


@pytest.mark.parametrize("type", ["normal", "chat", "headline", "groupchat", "error"])
def test_message_of_any_type_reaches_a_full_jid(cast: Cast, type: str) -> None:
    alice, bob = cast.pair()
    alice.says(bob, "hello", type)
    assert bob.hears() == Heard(alice.jid, "hello", type)


def test_many_messages_arrive_in_order(cast: Cast) -> None:
    alice, bob = cast.pair()
    for number in range(100):
        alice.says((bob, bob.bare)[number % 2], f"{number}")
    assert [bob.hears().body for _ in range(100)] == [f"{number}" for number in range(100)]


@pytest.mark.parametrize(
    ("type", "heard"),
    [
        ("normal", {"high", "also high"}),
        ("chat", {"high", "also high"}),
        ("headline", {"low", "high", "also high"}),
    ],
)
def test_message_to_bare_jid_goes_by_priority(cast: Cast, type: str, heard: set[str]) -> None:
    """RFC 6121 §8.5.2.1.1; with equal priorities all of them, as XMPP servers do."""
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    priorities = {"low": 1, "high": 5, "also high": 5, "negative": -1}
    clients = {
        name: bob.on((cast.here, cast.there)[number % 2], name, priority=priority)
        for number, (name, priority) in enumerate(priorities.items())
    }
    for client in clients.values():  # by then this node knows them all
        client.says(sender, "here")
        sender.hears()
    sender.says(bob, "to whom?", type)
    for client in clients.values():
        sender.says(client, "the end")
    for name, client in clients.items():
        if name in heard:
            assert client.hears() == Heard(sender.jid, "to whom?", type)
        assert client.hears().body == "the end"


def test_groupchat_to_bare_jid_is_refused_and_error_is_dropped(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.says(bob.bare, "all of you", "groupchat")
    assert alice.hears().error == "service-unavailable"
    alice.says(bob.bare, "no answer to this", "error")
    alice.says(bob, "the end")
    assert bob.hears().body == "the end"
    assert alice.inbox() == []


def test_message_to_a_resource_that_is_gone_goes_to_another(cast: Cast) -> None:
    alice, bob = cast.pair()
    alice.says(f"{bob.bare}/elsewhere", "hello")
    assert bob.hears().body == "hello"
    alice.says(f"{bob.bare}/elsewhere", "hello all", "groupchat")
    assert alice.hears().error == "service-unavailable"
    alice.says(f"{bob.bare}/elsewhere", "breaking news", "headline")
    alice.says(bob, "the end")
    assert bob.hears().body == "the end"


def test_unknown_people_and_domains_are_answered_by_errors(cast: Cast) -> None:
    alice, _ = cast.pair()
    alice.says(f"nobody@{cast.domain}", "hello")
    heard = alice.hears()
    assert (heard.from_, heard.error) == (f"nobody@{cast.domain}", "service-unavailable")
    alice.says(f"nobody@{cast.domain}/home", "hello")
    assert alice.hears().error == "service-unavailable"
    alice.says("bob@elsewhere.example", "hello")
    heard = alice.hears()
    assert (heard.from_, heard.error) == ("bob@elsewhere.example", "remote-server-not-found")
    alice.sends("<message to='a@b@c' id='1'><body>hello</body></message>")
    assert alice.hears().error == "jid-malformed"
    alice.says(cast.domain, "hello, server")
    assert alice.hears().error == "service-unavailable"


def test_resource_with_negative_priority_gets_what_names_it_only(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    sender = alice.on(cast.here)
    quiet = bob.on(cast.there, priority=-1)
    sender.says(bob, "for later")
    sender.says(quiet, "for you")
    assert quiet.hears().body == "for you"
    quiet.is_available(priority=0)
    heard = quiet.hears()
    assert (heard.body, bool(heard.delay)) == ("for later", True)
