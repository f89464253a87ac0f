"""What the server answers: disco, vCards, ping, version, time, last activity."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from tests.conversations.conftest import Cast
from tests.support.cluster import eventually
from tests.support.slix import Refused
from xcluster.shared import ns

VCARD = f"<vCard xmlns='{ns.VCARD}'><FN>Bob</FN><NICKNAME>bobby</NICKNAME></vCard>"
EMPTY = f"<vCard xmlns='{ns.VCARD}'/>"
FULL_NAME = f"{{{ns.VCARD}}}vCard/{{{ns.VCARD}}}FN"


def seen_soon(ask: Callable[[], object], want: object) -> None:
    """Other nodes hear of a change by a delta, so a moment later; until then they may still refuse."""

    def claim() -> bool:
        try:
            return ask() == want
        except Refused:
            return False

    eventually(claim)


def test_vcards(cast: Cast) -> None:
    alice, bob = cast.pair()
    with pytest.raises(Refused, match="item-not-found"):
        bob.iq("get", EMPTY)
    with pytest.raises(Refused, match="service-unavailable"):
        alice.iq("get", EMPTY, bob.bare)
    bob.iq("set", VCARD)
    seen_soon(lambda: alice.iq("get", EMPTY, bob.bare).findtext(FULL_NAME), "Bob")
    assert alice.plugin("xep_0054", "get_vcard", bob.bare)["vcard_temp"]["FN"] == "Bob"
    bob.iq("set", VCARD.replace("Bob", "Robert"))
    seen_soon(lambda: alice.iq("get", EMPTY, bob.bare).findtext(FULL_NAME), "Robert")
    assert bob.iq("get", EMPTY).findtext(FULL_NAME) == "Robert"
    with pytest.raises(Refused, match="forbidden"):
        alice.iq("set", VCARD, bob.bare)


def test_disco_of_the_domain_and_of_accounts(cast: Cast) -> None:
    alice, bob = cast.friends()
    info = alice.plugin("xep_0030", "get_info", cast.domain)["disco_info"]
    assert ("server", "im") in {identity[:2] for identity in info["identities"]}
    assert {ns.DISCO_INFO, ns.DISCO_ITEMS, ns.PING, ns.VCARD, "msgoffline"} <= set(info["features"])
    assert alice.plugin("xep_0030", "get_items", cast.domain)["disco_items"]["items"] == set()
    account = alice.plugin("xep_0030", "get_info", bob.bare)["disco_info"]
    assert {identity[:2] for identity in account["identities"]} == {("account", "registered")}
    items = alice.plugin("xep_0030", "get_items", bob.bare)["disco_items"]["items"]
    assert {item[0] for item in items} == {bob.jid}


def test_disco_tells_strangers_nothing_of_accounts(cast: Cast) -> None:
    alice, bob = cast.pair()
    for account in (bob.bare, f"nobody@{cast.domain}"):
        with pytest.raises(Refused, match="service-unavailable"):
            alice.plugin("xep_0030", "get_info", account)
        assert alice.plugin("xep_0030", "get_items", account)["disco_items"]["items"] == set()


def test_clients_answer_each_other(cast: Cast) -> None:
    """IQs to full JIDs pass through; to one that is gone they are refused (RFC 6121 §8.5.3)."""
    alice, bob = cast.pair()
    assert alice.plugin("xep_0199", "ping", bob.jid) >= 0
    features = alice.plugin("xep_0030", "get_info", bob.jid)["disco_info"]["features"]
    assert "urn:xmpp:ping" in features
    for gone in (f"{bob.bare}/elsewhere", f"nobody@{cast.domain}/home"):
        with pytest.raises(Refused, match="service-unavailable"):
            alice.iq("get", f"<ping xmlns='{ns.PING}'/>", gone)
    with pytest.raises(Refused, match="remote-server-not-found"):
        alice.iq("get", f"<ping xmlns='{ns.PING}'/>", "bob@elsewhere.example/home")


def test_ping_version_and_time(cast: Cast) -> None:
    alice, _ = cast.pair()
    assert alice.plugin("xep_0199", "ping", cast.domain) >= 0
    version = alice.plugin("xep_0092", "get_version", cast.domain)["software_version"]
    assert version["name"] == "xcluster"
    time = alice.iq("get", f"<time xmlns='{ns.TIME}'/>", cast.domain)[
        0
    ]  # slixmpp's plugin fails on XEP-0082's Z
    assert time.findtext(f"{{{ns.TIME}}}tzo") == "+00:00"
    now = datetime.fromisoformat(time.findtext(f"{{{ns.TIME}}}utc") or "")
    assert abs((datetime.now(UTC) - now).total_seconds()) < 60


def test_last_activity(cast: Cast) -> None:
    alice, bob = cast.friends()
    query = f"<query xmlns='{ns.LAST_ACTIVITY}'/>"
    last = f"{{{ns.LAST_ACTIVITY}}}query"
    uptime = alice.iq("get", query, cast.domain).find(last)
    assert uptime is not None
    assert int(uptime.get("seconds", "")) >= 0
    present = alice.iq("get", query, bob.bare).find(last)
    assert present is not None
    assert present.get("seconds") == "0"
    bob.is_unavailable("gone fishing")
    bob.log_out()
    alice.sees(bob, "unavailable")
    seen_soon(lambda: alice.iq("get", query, bob.bare).findtext(last), "gone fishing")
    away = alice.iq("get", query, bob.bare).find(last)
    assert away is not None
    assert int(away.get("seconds", "")) < 60
    with pytest.raises(Refused, match="forbidden"):
        alice.iq("get", query, cast.person())
