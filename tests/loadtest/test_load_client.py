"""The client against the double."""

import gevent
import pytest

from tests.loadtest.double import DOMAIN, running
from xcluster.loadtest import stream
from xcluster.loadtest.client import Client
from xcluster.loadtest.nodes import Place
from xcluster.shared.errors import AuthError


@pytest.fixture
def place():
    with running(40, ports=1) as nodes:
        host, port = nodes.split(":")
        yield Place("double", host, int(port))


def session(place, user, mechanism=None):
    """A client that is available, and what it gets."""
    client, got = Client(DOMAIN, limit_s=5), []
    client.login(place, user, "secret", "test", mechanism=mechanism)
    client.start(got.append)
    client.presence()
    client.roster()  # answered after the presence
    return client, got


def until(claim):
    with gevent.Timeout(5):
        while not claim():
            gevent.sleep(0.01)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1"])
def test_session_from_login_to_leaving(place, mechanism):
    client, got = session(place, "user3", mechanism)
    assert client.jid == f"user3@{DOMAIN}/test"
    assert len(client.roster()) == 30
    until(
        lambda: any(element.tag == stream.PRESENCE and element.get("from") == client.jid for element in got)
    )
    assert client.close()
    assert client.broken is None


def test_message_is_read_by_the_other(place):
    alice, _ = session(place, "user1")
    bob, got = session(place, "user2")
    alice.message(bob.bare, "a < b", "1")
    until(lambda: any(element.findtext(stream.BODY) == "a < b" for element in got))
    assert alice.close()
    assert bob.close()


def test_wrong_password_is_an_auth_error(place):
    with pytest.raises(AuthError) as caught:
        Client(DOMAIN, limit_s=5).login(place, "user1", "wrong", mechanism="PLAIN")
    assert caught.value.condition == "not-authorized"


def test_missing_server_is_an_os_error():
    with pytest.raises(OSError):
        Client(DOMAIN, limit_s=5).login(Place("none", "127.0.0.1", 1), "user1", "secret")


def test_lost_connection_ends_a_question():
    with running(40, ports=1) as nodes:
        host, port = nodes.split(":")
        client, _ = session(Place("double", host, int(port)), "user1")
    client.abort()
    with pytest.raises(OSError):
        client.roster()
