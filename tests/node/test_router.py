"""Router: each cell of the tables of RFC 6121, section 8 (the summary is §8.5, table 1)."""

import pytest

from xcluster.bus.messages import Origin, SessionUp
from xcluster.node import router
from xcluster.node.directory import Directory
from xcluster.node.router import Fallback
from xcluster.shared import jid

ME, OTHER = Origin("n1", 1), Origin("n2", 1)
BOB = "bob@example.org"
PRESENCE = b"<presence/>"
OFFLINE, REFUSE, IGNORE = Fallback.OFFLINE, Fallback.REFUSE, Fallback.IGNORE

# Who is there: resource -> (node, presence, priority)
People = dict[str, tuple[Origin, bytes, int]]
NOBODY: People = {}
CONNECTED: People = {"c": (ME, b"", 0)}
NEGATIVE: People = {"n": (OTHER, PRESENCE, -1)}
ONE: People = {"a": (ME, PRESENCE, 0)}
SEVERAL: People = {
    "low": (ME, PRESENCE, 1),
    "high": (OTHER, PRESENCE, 5),
    "top": (ME, PRESENCE, 5),
    "n": (OTHER, PRESENCE, -1),
    "c": (ME, b"", 0),
}


def directory(people: People) -> Directory:
    known = Directory(ME)
    for number, (resource, (origin, presence, priority)) in enumerate(people.items()):
        known.apply(origin, SessionUp(number, f"{BOB}/{resource}", 1, presence, priority))
    return known


def targets(people: People, kind: str, type: str | None, to: str) -> set[str]:
    """Resources that get it at once."""
    records = router.targets(directory(people), kind, type, jid.parse(to))
    return {record.jid.partition("/")[2] for record in records}


def second_choice(people: People, kind: str, type: str | None, to: str) -> set[str]:
    records = router.second_choice(directory(people), kind, type, jid.parse(to))
    return {record.jid.partition("/")[2] for record in records}


@pytest.mark.parametrize(
    ("type", "people", "expected", "otherwise"),
    [
        # §8.5.2.1.1, available resources: the most available ones by priority, all non-negative for headline
        ("normal", ONE, {"a"}, OFFLINE),
        ("chat", ONE, {"a"}, OFFLINE),
        ("headline", ONE, {"a"}, IGNORE),
        ("groupchat", ONE, set(), REFUSE),
        ("error", ONE, set(), IGNORE),
        ("normal", SEVERAL, {"high", "top"}, OFFLINE),
        ("chat", SEVERAL, {"high", "top"}, OFFLINE),
        ("headline", SEVERAL, {"low", "high", "top"}, IGNORE),
        ("groupchat", SEVERAL, set(), REFUSE),
        ("error", SEVERAL, set(), IGNORE),
        # §8.5.2.2.1, none: connected is not available, and negative priority is none for a bare JID (§8.5.2.1.1)
        *(
            (type, people, set(), otherwise)
            for people in (NOBODY, CONNECTED, NEGATIVE)
            for type, otherwise in (
                ("normal", OFFLINE),
                ("chat", OFFLINE),
                ("headline", IGNORE),
                ("groupchat", REFUSE),
                ("error", IGNORE),
            )
        ),
        # §5.2.2: a type that is unknown, or not there, is normal
        (None, SEVERAL, {"high", "top"}, OFFLINE),
        ("telepathy", SEVERAL, {"high", "top"}, OFFLINE),
        (None, NOBODY, set(), OFFLINE),
    ],
)
def test_message_to_a_bare_jid(
    type: str | None, people: People, expected: set[str], otherwise: Fallback
) -> None:
    assert targets(people, "message", type, BOB) == expected
    assert second_choice(people, "message", type, BOB) == set()
    assert router.fallback("message", type) is otherwise


@pytest.mark.parametrize("type", ["normal", "chat", "groupchat", "headline", "error", None])
@pytest.mark.parametrize("resource", ["low", "n", "c"])
def test_message_to_a_full_jid_that_is_there(type: str | None, resource: str) -> None:
    """§8.5.3.1: delivered, whatever it is; priority and availability do not matter."""
    assert targets(SEVERAL, "message", type, f"{BOB}/{resource}") == {resource}


@pytest.mark.parametrize(
    ("type", "instead"),
    [
        ("chat", {"high", "top"}),  # §8.5.3.2.1: as if it were addressed to the bare JID
        ("normal", {"high", "top"}),  # so that it is not lost
        (None, {"high", "top"}),
        ("groupchat", set()),
        ("headline", set()),
        ("error", set()),
    ],
)
def test_message_to_a_full_jid_that_is_gone(type: str | None, instead: set[str]) -> None:
    assert targets(SEVERAL, "message", type, f"{BOB}/gone") == set()
    assert second_choice(SEVERAL, "message", type, f"{BOB}/gone") == instead
    assert second_choice(NEGATIVE, "message", type, f"{BOB}/gone") == set()


@pytest.mark.parametrize("type", [None, "unavailable"])
@pytest.mark.parametrize(
    ("people", "expected"),
    [
        (NOBODY, set()),
        (CONNECTED, set()),
        (NEGATIVE, {"n"}),
        (ONE, {"a"}),
        (SEVERAL, {"low", "high", "top", "n"}),
    ],
)
def test_presence_to_a_bare_jid(type: str | None, people: People, expected: set[str]) -> None:
    """§8.5.2.1.2: to all available resources; §8.5.2.2.2: otherwise ignored."""
    assert targets(people, "presence", type, BOB) == expected
    assert router.fallback("presence", type) is IGNORE


@pytest.mark.parametrize("type", [None, "unavailable"])
def test_presence_to_a_full_jid(type: str | None) -> None:
    """§8.5.3.1: delivered to the resource, §8.5.3.2.2: ignored when it is gone."""
    assert targets(SEVERAL, "presence", type, f"{BOB}/c") == {"c"}
    assert targets(SEVERAL, "presence", type, f"{BOB}/gone") == set()
    assert second_choice(SEVERAL, "presence", type, f"{BOB}/gone") == set()


@pytest.mark.parametrize(
    ("type", "otherwise"), [("get", REFUSE), ("set", REFUSE), ("result", IGNORE), ("error", IGNORE)]
)
def test_iq(type: str, otherwise: Fallback) -> None:
    """§8.5.3: to its resource only; an error when that is gone, never another resource."""
    assert targets(SEVERAL, "iq", type, f"{BOB}/c") == {"c"}
    assert targets(SEVERAL, "iq", type, f"{BOB}/gone") == set()
    assert second_choice(SEVERAL, "iq", type, f"{BOB}/gone") == set()
    assert targets(SEVERAL, "iq", type, BOB) == set()  # the server answers on behalf of the account
    assert router.fallback("iq", type) is otherwise
