"""XEP-0077 after log-in: another password, no account any more."""

import pytest

from tests.conversations.conftest import Cast
from tests.support.raw import RawClient
from tests.support.slix import Item, LoginFailed
from xcluster.shared import ns


def test_password_change_counts_everywhere_at_once(cast: Cast) -> None:
    alice, _ = cast.pair()
    alice.plugin("xep_0077", "change_password", "n3w & better")
    changed = cast.known(alice.person.user, "n3w & better")
    changed.on(cast.there, "new")
    with pytest.raises(LoginFailed, match="not-authorized"):
        alice.person.on(cast.there, "old")


def test_removed_account_is_gone_for_everybody(cast: Cast) -> None:
    alice, bob = cast.friends()
    work = bob.person.on(cast.here, "work")
    alice.sees(work)
    bob.iq("set", f"<query xmlns='{ns.REGISTER}'><remove/></query>")
    for client in (bob, work):
        client.is_told("not-authorized")
    alice.sees(bob, "unavailable")
    assert alice.is_pushed() == Item(bob.bare, "remove")
    assert alice.roster() == {}
    with pytest.raises(LoginFailed, match="not-authorized"):
        bob.person.on(cast.there)
    alice.says(bob.bare, "are you there?")
    assert alice.hears().error == "service-unavailable"


def test_old_password_that_a_node_remembers_is_forgotten(cast: Cast) -> None:
    """PLAIN log-ins are remembered by each node (a keyed hash): only while the keys are the same."""
    alice = cast.person()
    for node in (cast.here, cast.there):
        assert "<success" in _plain(cast, node, alice.user, alice.password)
    alice.on(cast.here).plugin("xep_0077", "change_password", "changed")
    for node in (cast.here, cast.there):
        assert "<not-authorized" in _plain(cast, node, alice.user, alice.password)
        assert "<success" in _plain(cast, node, alice.user, "changed")


def _plain(cast: Cast, node: str, user: str, password: str) -> str:
    with RawClient(cast.cluster.port(node), cast.domain) as client:
        client.open()
        return client.plain(user, password)
