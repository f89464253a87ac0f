"""Coming and going: TLS, SASL, resource binding and its limits (RFC 6120 §5 to §7)."""

from pathlib import Path

import pytest

from tests.conversations.conftest import Cast
from tests.support.raw import RawClient
from tests.support.slix import Heard, LoginFailed, Refused


@pytest.mark.parametrize("direct_tls", [False, True], ids=["starttls", "direct-tls"])
def test_client_that_verifies_the_certificate_gets_in(cast: Cast, direct_tls: bool) -> None:
    alice = cast.person()
    client = alice.on(cast.there, "verified", direct_tls=direct_tls, ca=_certificate(cast))
    assert client.jid == f"{alice}/verified"
    assert client.plugin("xep_0199", "ping") >= 0


def _certificate(cast: Cast) -> Path:
    (found,) = cast.cluster.folder.glob("**/cert*.pem")
    return found


def test_wrong_password_and_unknown_user_fail_alike(cast: Cast) -> None:
    known = cast.known(cast.person().user, "wrong")
    stranger = cast.known("stranger", "secret")
    for person in (known, stranger):
        with pytest.raises(LoginFailed, match="not-authorized"):
            person.on(cast.here)


def test_two_resources_see_each_other(cast: Cast) -> None:
    alice = cast.person()
    home = alice.on(cast.here, "home")
    work = alice.on(cast.there, "work")
    home.sees(work)
    work.sees(home)
    work.log_out()
    home.sees(work, "unavailable")


def test_later_session_takes_the_resource(cast: Cast) -> None:
    alice, bob = cast.people_called(2)
    older = alice.on(cast.here, "home")
    newer = alice.on(cast.there, "home")
    older.is_told("conflict")
    talker = bob.on(cast.here)
    talker.says(newer, "still there?")
    assert newer.hears() == Heard(talker.jid, "still there?", "chat")
    newer.says(talker, "yes")
    assert talker.hears() == Heard(newer.jid, "yes", "chat")


def test_contacts_see_the_end_of_the_session_that_lost_its_resource(cast: Cast) -> None:
    alice, bob = cast.friends()
    newer = alice.person.on(cast.there, "home", is_available=False)
    alice.is_told("conflict")
    bob.sees(alice, "unavailable")
    newer.roster()
    newer.is_available(status="again")
    assert bob.sees(newer).findtext("{jabber:client}status") == "again"


def test_accounts_have_so_many_resources_and_no_more(cast: Cast) -> None:
    alice = cast.person()
    clients = [alice.on((cast.here, cast.there)[number % 2], f"r{number}") for number in range(4)]
    for client in clients:
        for other in clients:
            if other is not client:
                client.sees(other)
    with RawClient(cast.cluster.port(cast.there), cast.domain) as raw:
        assert "<resource-constraint " in raw.log_in(alice.user).bind("one-more")
    clients[0].log_out()
    for client in clients[1:]:
        client.sees(clients[0], "unavailable")
    alice.on(cast.there, "one-more")


def test_server_is_asked_for_what_it_is(cast: Cast) -> None:
    alice, _ = cast.pair()
    with pytest.raises(Refused, match="service-unavailable"):
        alice.iq("get", "<query xmlns='urn:example:unknown'/>", cast.domain)
