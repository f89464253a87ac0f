"""bus/wire.py: every message survives the way through bytes, and through other releases."""

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bus.corpus.examples import EXAMPLES, plain
from xcluster.bus import messages, wire
from xcluster.bus.messages import (
    CONTROL,
    DELTAS,
    DIRECT,
    PROTOCOL,
    PUBLISHED,
    TASKS,
    BusPing,
    BusPong,
    Call,
    Dead,
    FetchOffline,
    Frame,
    Heartbeat,
    Origin,
    Ping,
    RouteStanza,
    SessionDown,
    SessionUp,
    Undeliverable,
)
from xcluster.shared.errors import WireError

CORPUS = Path(__file__).parent / "corpus" / "protocol-1.json"
MESSAGES = {one for union in (DELTAS, TASKS, PUBLISHED, DIRECT, CONTROL) for one in get_args(union)}
A, B = Origin("a", 1), Origin("b", 2)
UNKNOWN = b"\x92\x7f\x01"  # an item with a tag of a later release

_VALUES: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(0, 2**63 - 1),
    str: st.text(),
    bytes: st.binary(),
    bool: st.booleans(),
    str | None: st.none() | st.text(),
    Origin: st.builds(Origin, st.text(), st.integers(0, 2**63 - 1)),
    list[int]: st.lists(st.integers(0, 2**63 - 1), max_size=3),
    list[Origin]: st.lists(st.builds(Origin, st.text(), st.integers(0, 2**63 - 1)), max_size=3),
    dict[str, int]: st.dictionaries(st.text(), st.integers(0, 2**64 - 1), max_size=3),
    msgspec.Raw: st.just(msgspec.Raw(b"\x91\x01")),
}


def decoders(message: type) -> list[Any]:
    """Every way in for a message of this class."""
    single = {DELTAS: lambda data: wire.deltas(wire.array([data]))[0],
              TASKS: lambda data: wire.tasks(wire.array([data]))[0],
              PUBLISHED: wire.published, DIRECT: wire.direct, CONTROL: wire.control}  # fmt: skip
    return [decode for union, decode in single.items() if message in get_args(union)]


@pytest.mark.parametrize("message", sorted(MESSAGES, key=lambda one: one.__name__))
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_message_comes_out_as_it_went_in(message: type, data: st.DataObject) -> None:
    hints = get_type_hints(message)
    given_ = {field.name: data.draw(_VALUES[hints[field.name]]) for field in msgspec.structs.fields(message)}
    encoded = wire.encode(message(**given_))
    for decode in decoders(message):
        decoded = decode(encoded)
        assert type(decoded) is message
        assert plain(decoded) == plain(message(**given_))


def test_every_message_has_a_way_in_and_a_tag_of_its_own() -> None:
    defined = {
        one for one in vars(messages).values() if isinstance(one, type) and issubclass(one, msgspec.Struct)
    }
    assert defined - {messages.Delta, messages.Task} == MESSAGES
    for union in (DELTAS, TASKS, PUBLISHED | DIRECT, CONTROL):
        tags = [one.__struct_config__.tag for one in get_args(union)]
        assert len(set(tags)) == len(tags)


# batches


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_encoded_items_are_joined_to_one_array(count: int) -> None:
    items = wire.array([b"\x01"] * count)
    assert msgspec.msgpack.decode(bytes(items)) == [1] * count
    assert bytes(items) == msgspec.msgpack.encode([1] * count)


def test_unknown_task_in_a_batch_costs_only_itself() -> None:
    known = [FetchOffline([1]), Undeliverable(2, [3])]
    items = wire.array([wire.encode(known[0]), UNKNOWN, wire.encode(known[1])])
    assert wire.tasks(items) == [known[0], None, known[1]]


def test_unknown_delta_in_a_batch_costs_only_itself() -> None:
    items = wire.array([UNKNOWN, wire.encode(SessionDown(1)), UNKNOWN])
    assert wire.deltas(items) == [None, SessionDown(1), None]


@pytest.mark.parametrize(
    "item",
    [b"\x92\x02\xa1x", b"\xc0", b"\x90", b"\x91\x01", b"\x92\x02\xa1\xff"],
    ids=["wrong type", "nil", "no tag", "too short", "no UTF-8"],
)
def test_item_that_can_not_be_read_costs_only_itself(item: bytes) -> None:
    assert wire.deltas(wire.array([item, wire.encode(SessionDown(1))])) == [None, SessionDown(1)]


@pytest.mark.parametrize("items", [b"\x93\x01", b"\xc0", b"\xdd\xff\xff\xff\xff", b"", b"\x91" * 5000 + b"\x01"],
                         ids=["cut", "nil", "endless", "empty", "nested without end"])  # fmt: skip
def test_batch_that_is_no_batch_is_refused(items: bytes) -> None:
    with pytest.raises(WireError):
        wire.deltas(msgspec.Raw(items))


# other releases


def appended(encoded: bytes, *more: Any) -> bytes:
    """As a later release would send it: with fields at the end."""
    return msgspec.msgpack.encode([*msgspec.msgpack.decode(encoded), *more])


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda one: type(one).__name__)
def test_appended_fields_are_ignored(message: Any) -> None:
    for decode in decoders(type(message)):
        decoded = decode(appended(wire.encode(message), "new", [1], {"a": 2}))
        assert plain(decoded) == plain(message)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ([1, 7, "a@b/c", 5], SessionUp(7, "a@b/c", 5, b"", 0, 0, 0)),
        ([1, 7, "a@b/c", 5, b"<presence/>"], SessionUp(7, "a@b/c", 5, b"<presence/>", 0, 0, 0)),
        (
            [1, [3], "a@b", "c@b/d", "iq", b"", b"<iq/>"],
            RouteStanza([3], "a@b", "c@b/d", "iq", b"", b"<iq/>"),
        ),
        ([2, A, 4, {}, []], Heartbeat(A, 4, {}, [], PROTOCOL, False, 0)),
    ],
)
def test_missing_fields_get_their_defaults(sent: list[Any], meant: Any) -> None:
    for decode in decoders(type(meant)):
        assert decode(msgspec.msgpack.encode(sent)) == meant


@pytest.mark.parametrize("decode", [wire.published, wire.direct, wire.control])
@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x01", b"\x90", UNKNOWN, b"\x92\x04", wire.encode(SessionDown(1)) + b"\x01",
     b"\x95\x15\x01\xa1b\x01" + b"\x91" * 5000 + b"\x01"],
    ids=["empty", "reserved", "number", "no tag", "unknown", "cut", "followed", "nested without end"],
)  # fmt: skip
def test_message_that_can_not_be_read_is_a_wire_error(decode: Any, data: bytes) -> None:
    with pytest.raises(WireError):
        decode(data)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.builds(lambda m, cut: wire.encode(m)[:cut], st.sampled_from(EXAMPLES), st.integers(0, 80))
)
def test_rubbish_is_a_message_or_a_wire_error(data: bytes) -> None:
    for decode in (wire.published, wire.direct, wire.control, wire.deltas, wire.tasks, wire.origin):
        try:
            decode(msgspec.Raw(data) if decode in (wire.deltas, wire.tasks) else data)  # type: ignore[arg-type]
        except WireError:
            continue


def test_families_are_kept_apart() -> None:
    with pytest.raises(WireError):
        wire.direct(wire.encode(Heartbeat(A, 1, {}, [])))
    with pytest.raises(WireError):
        wire.published(wire.encode(Ping(A, B, 1)))
    with pytest.raises(WireError):
        wire.control(wire.encode(Dead(A, B)))
    with pytest.raises(WireError):
        wire.direct(wire.encode(BusPong(1, "b", 1)))
    assert wire.control(wire.encode(BusPing(1))) == BusPing(1)


def test_items_stay_encoded_until_somebody_looks() -> None:
    frame = Frame(A, B, 1, 1, wire.array([wire.encode(Call(1, "status", msgspec.Raw(b"\xc0")))]), 0, 0)
    [call] = wire.tasks(wire.direct(wire.encode(frame)).items)
    assert isinstance(call, Call)
    assert (call.verb, bytes(call.argument)) == ("status", b"\xc0")


# the corpus: what protocol 1 sent must be understood for ever


def corpus() -> dict[str, dict[str, Any]]:
    read: dict[str, dict[str, Any]] = json.loads(CORPUS.read_text("utf-8"))
    return read


@pytest.mark.parametrize("name", sorted(corpus()))
def test_message_of_protocol_1_means_what_it_meant(name: str) -> None:
    entry = corpus()[name]
    for decode in decoders(getattr(messages, name)):
        decoded = plain(decode(bytes.fromhex(entry["hex"])))
        assert {field: decoded[field] for field in entry["values"]} == entry["values"]


def test_corpus_has_every_message_of_protocol_1() -> None:
    assert {type(one).__name__ for one in EXAMPLES} == set(corpus())
    if PROTOCOL == 1:
        assert {one.__name__ for one in MESSAGES} == set(corpus())
        assert {type(one).__name__: wire.encode(one).hex() for one in EXAMPLES} == {
            name: entry["hex"] for name, entry in corpus().items()
        }


# routing ids


@pytest.mark.parametrize(
    "origin", [Origin("n1", 1), Origin("Zürich ☃", 1_800_000_000_000), Origin("a/b:c", 2**62)]
)
def test_routing_id_names_the_origin(origin: Origin) -> None:
    routing_id = wire.routing_id(origin)
    assert wire.origin(routing_id) == origin
    assert 0 < len(routing_id) <= 255 and routing_id[0] != 0


@pytest.mark.parametrize("routing_id", [b"", b"n1", b"n1\n", b"n1\nx", b"\xff\n1", b"\x00\x01\x02\x03\x04"])
def test_routing_id_that_names_no_origin(routing_id: bytes) -> None:
    with pytest.raises(WireError):
        wire.origin(routing_id)
