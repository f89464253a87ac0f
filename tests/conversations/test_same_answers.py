"""Every node answers every disco query with the same bytes, also after a setting has changed (design.md §1)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cluster import RunningCluster, eventually
from tests.support.raw import RawClient
from xcluster.shared import ns

DOMAIN = "test.example"
NODES = ("n1", "n2", "n3")
OWN, FRIEND, STRANGER = (
    f"user0@{DOMAIN}",
    f"user1@{DOMAIN}",
    f"user3@{DOMAIN}",
)  # a ring of six, one contact a side
PLACES = ("", DOMAIN, OWN, FRIEND, STRANGER, f"nobody@{DOMAIN}", "elsewhere.example")
ENTITY = {"info": ns.DISCO_INFO, "items": ns.DISCO_ITEMS}


@contextmanager
def cluster(folder: Path, *settings: str) -> Iterator[RunningCluster]:
    running = RunningCluster(folder, nodes=3, settings=settings)
    try:
        yield running
    finally:
        running.stop()


def answers(running: RunningCluster, node: str) -> dict[str, str]:
    """Stream features and all disco answers of one node, as they came over the wire, to one and the same JID."""
    with RawClient(running.port(node), DOMAIN) as client:
        result = {"features before log-in": _without_id(client.open())}
        client.plain("user0")
        result["features"] = _without_id(client.open())
        client.bind("same")
        caps = result["features"].partition(" ver='")[2].partition("'")[0]
        for place in PLACES:
            for kind, namespace in ENTITY.items():
                for of in (
                    "",
                    f"https://xcluster.invalid/#{caps}",
                    "https://xcluster.invalid/#other",
                    "rooms",
                ):
                    result[f"{kind} {of} of {place}"] = _ask(client, place, namespace, of)
        return result


def _without_id(header: str) -> str:
    """Each stream has an id of its own (RFC 6120 §4.7.3)."""
    before, _, rest = header.partition(" id='")
    return before + rest.partition("'")[2]


def _ask(client: RawClient, to: str, namespace: str, of: str) -> str:
    place, node = f" to='{to}'" if to else "", f" node='{of}'" if of else ""
    client.send(f"<iq type='get' id='q'{place}><query xmlns='{namespace}'{node}/></iq>")
    return client.until("</iq>")


def answers_of_all(running: RunningCluster) -> dict[str, str]:
    """The answers, which are the same from all nodes while a friend is on line with two resources."""
    with RawClient(running.port("n2"), DOMAIN) as one, RawClient(running.port("n3"), DOMAIN) as two:
        one.log_in("user1", "one").appear()
        two.log_in("user1", "two").appear()
        for node in NODES:
            with RawClient(running.port(node), DOMAIN) as client:
                client.log_in("user0", "look")
                eventually(
                    lambda client=client: _ask(client, FRIEND, ns.DISCO_ITEMS, "").count("<item ") == 2
                )
        by_node = {node: answers(running, node) for node in NODES}
    assert by_node["n2"] == by_node["n1"]
    assert by_node["n3"] == by_node["n1"]
    return by_node["n1"]


def test_all_nodes_answer_the_same_bytes_also_with_other_settings(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    with cluster(folder) as running:
        running.provision(6, roster=2)
        before = answers_of_all(running)
    with cluster(folder, "registration.enabled=true", "vcard.max_bytes=1000") as running:
        after = answers_of_all(running)
    assert "iq-register" not in before["features before log-in"]
    assert "iq-register" in after["features before log-in"], "the setting has changed what is answered"
    friends = before[f"items  of {FRIEND}"]
    assert f"{FRIEND}/one" in friends
    assert f"{FRIEND}/two" in friends
    for kind in ENTITY:
        assert before[f"{kind}  of {STRANGER}"].replace(STRANGER, "") == before[
            f"{kind}  of nobody@{DOMAIN}"
        ].replace(f"nobody@{DOMAIN}", "")
