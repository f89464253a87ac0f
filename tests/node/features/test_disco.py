"""XEP-0030, XEP-0115: what the domain and accounts say of themselves, and to whom."""

import base64
import hashlib

import pytest

from tests.node.features.setting import (
    DOMAIN,
    ME,
    OTHER,
    SEEN,
    STRANGERS,
    UNSEEN,
    Setting,
    ask,
    canonical,
    get,
    refusal,
    set_,
    stanza,
)
from xcluster.node.directory import Directory
from xcluster.node.features.caps import URI, Caps
from xcluster.node.features.disco import Disco
from xcluster.node.features.version import Version
from xcluster.node.hooks import Feature, Identity
from xcluster.node.information import information
from xcluster.shared import ns
from xcluster.shared.stanza import tree

INFO = f"<query xmlns='{ns.DISCO_INFO}'/>"
ITEMS = f"<query xmlns='{ns.DISCO_ITEMS}'/>"


class Pubsub(Feature):
    """Another feature, with all that it can add; it repeats something."""

    server_features = ("zebra", ns.DISCO_INFO)
    account_features = ("yak", ns.DISCO_INFO)
    account_identities = (Identity("pubsub", "pep", "Bob's <nodes>"),)


def at_node(payload: str, node: str) -> str:
    return payload.replace("/>", f" node='{node}'/>")


def made(setting: Setting, extra: tuple[Feature, ...] = ()) -> Disco:
    disco = Disco(lambda: setting.features, setting.directory, setting.rosters)
    setting.features = [Caps(lambda: setting.features), disco, Version("1"), *extra]
    return disco


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_domain_tells_its_identity_and_everybodys_features_sorted_and_once(setting: Setting) -> None:
    disco = made(setting, (Pubsub(),))
    answer = ask(disco, setting.bind("alice"), get(INFO, DOMAIN))
    assert canonical(answer) == canonical(
        f"<query xmlns='{ns.DISCO_INFO}'><identity category='server' type='im' name='xcluster'/>"
        f"<feature var='{ns.CAPS}'/><feature var='{ns.DISCO_INFO}'/><feature var='{ns.DISCO_ITEMS}'/>"
        f"<feature var='{ns.VERSION}'/><feature var='zebra'/></query>"
    )


def test_answers_are_the_same_bytes_on_every_node_whatever_the_order_of_features(setting: Setting) -> None:
    other = Setting()
    other.directory = Directory(OTHER)
    nodes = [(made(where, (Pubsub(),)), where) for where in (setting, other)]
    other.features.reverse()
    for where in (setting, other):
        where.lets_see("bob", "alice", "both")
        where.seen_on(ME, 71, f"bob@{DOMAIN}/b")
        where.seen_on(OTHER, 72, f"bob@{DOMAIN}/a")
    for payload in (INFO, ITEMS):
        for to in ("", DOMAIN, f"bob@{DOMAIN}"):
            answers = {ask(disco, where.bind("alice"), get(payload, to)) for disco, where in nodes}
            assert len(answers) == 1 and b"node1" not in answers.pop()


def test_own_account_tells_its_identity_and_features(setting: Setting) -> None:
    disco = made(setting, (Pubsub(),))
    alice = setting.bind("alice")
    expected = canonical(
        f"<query xmlns='{ns.DISCO_INFO}'><identity category='account' type='registered'/>"
        "<identity category='pubsub' type='pep' name='Bob&apos;s &lt;nodes>'/>"
        f"<feature var='{ns.DISCO_INFO}'/><feature var='{ns.DISCO_ITEMS}'/><feature var='yak'/></query>"
    )
    assert canonical(ask(disco, alice, get(INFO))) == expected
    assert canonical(ask(disco, alice, get(INFO, alice.bare))) == expected
    setting.lets_see("alice", "bob", "from")
    assert canonical(ask(disco, setting.bind("bob"), get(INFO, alice.bare))) == expected


@pytest.mark.parametrize("subscription", SEEN)
def test_items_are_the_available_resources_of_all_nodes(setting: Setting, subscription: str) -> None:
    disco = made(setting)
    setting.lets_see("bob", "alice", subscription)
    setting.bind("bob", "connected, not available")
    setting.seen_on(ME, 71, f"bob@{DOMAIN}/z")
    setting.seen_on(OTHER, 72, f"bob@{DOMAIN}/a")
    items = f"<item jid='bob@{DOMAIN}/a'/><item jid='bob@{DOMAIN}/z'/>"
    expected = canonical(f"<query xmlns='{ns.DISCO_ITEMS}'>{items}</query>")
    assert canonical(ask(disco, setting.bind("alice"), get(ITEMS, f"bob@{DOMAIN}"))) == expected
    assert canonical(ask(disco, setting.bind("bob"), get(ITEMS))) == expected


def test_without_items_the_query_is_empty(setting: Setting) -> None:
    disco = made(setting)
    alice = setting.bind("alice")
    for to in ("", DOMAIN):
        assert canonical(ask(disco, alice, get(ITEMS, to))) == canonical(ITEMS)


@pytest.mark.parametrize("subscription", UNSEEN)
def test_who_may_not_see_presence_learns_nothing(setting: Setting, subscription: str) -> None:
    disco = made(setting)
    alice = setting.bind("alice")
    setting.lets_see("bob", "alice", subscription)
    setting.seen_on(OTHER, 72, f"bob@{DOMAIN}/a")
    for owner in (f"bob@{DOMAIN}", *STRANGERS):
        assert refusal(disco, alice, get(INFO, owner)) == ("cancel", "service-unavailable")
        assert refusal(disco, alice, get(at_node(INFO, "x"), owner)) == ("cancel", "service-unavailable")
        assert canonical(ask(disco, alice, get(ITEMS, owner))) == canonical(ITEMS)
        assert canonical(ask(disco, alice, get(at_node(ITEMS, "x"), owner))) == canonical(at_node(ITEMS, "x"))


def test_unknown_node_is_not_found(setting: Setting) -> None:
    disco = made(setting)
    alice = setting.bind("alice")
    setting.lets_see("bob", "alice", "both")
    for payload in (INFO, ITEMS):
        for to in ("", DOMAIN, f"bob@{DOMAIN}"):
            asked = get(at_node(payload, f"{URI}#old"), to)
            assert refusal(disco, alice, asked) == ("cancel", "item-not-found")


def test_set_is_nobodys(setting: Setting) -> None:
    disco = made(setting)
    assert refusal(disco, setting.bind("alice"), set_(INFO, DOMAIN)) == ("cancel", "service-unavailable")


def test_capabilities_in_stream_features_stand_for_what_their_node_answers(setting: Setting) -> None:
    disco = made(setting, (Pubsub(),))
    alice = setting.bind("alice")
    offered = stanza(setting.features[0].stream_features().decode())
    assert offered.name == f"{ns.CAPS}}}c"
    caps = tree(offered.raw)
    assert (caps.get("hash"), caps.get("node")) == ("sha-1", URI)
    node = f"{caps.get('node')}#{caps.get('ver')}"
    answer = ask(disco, alice, get(at_node(INFO, node), DOMAIN))
    assert tree(answer).get("node") == node
    plain = ask(disco, alice, get(INFO, DOMAIN))
    assert answer.replace(f" node='{node}'".encode(), b"") == plain
    hashed = "server/im//xcluster<" + "".join(f"{feature.get('var')}<" for feature in tree(plain)[1:])
    assert caps.get("ver") == base64.b64encode(hashlib.sha1(hashed.encode()).digest()).decode()


def test_capabilities_change_with_the_features(setting: Setting) -> None:
    disco = made(setting)
    before = setting.features[0].stream_features()
    setting.features.append(Pubsub())
    after = setting.features[0].stream_features()
    assert before != after
    old = f"{URI}#{tree(before).get('ver')}"
    assert refusal(disco, setting.bind("alice"), get(at_node(INFO, old), DOMAIN)) == (
        "cancel",
        "item-not-found",
    )


def test_verification_string_is_that_of_the_specification() -> None:
    """XEP-0115 §5.2."""
    exodus = information(
        [Identity("client", "pc", "Exodus 0.9.1")],
        ["http://jabber.org/protocol/muc", ns.DISCO_ITEMS, ns.DISCO_INFO, ns.CAPS],
    )
    assert exodus.verification() == "QgayPKawpkPSDYmwT/WM94uAlu0="
