"""node/admin/weight.py: bytes of objects from samples."""

from collections import deque

import msgspec
import pytest

from xcluster.node.admin.weight import SAMPLE, WINDOW, Weights, sample, taken
from xcluster.node.directory import Record
from xcluster.node.intake import Intake


class Holder:
    """Something with tables."""

    def __init__(self, *tables):
        for number, table in enumerate(tables):
            setattr(self, f"table{number}", table)


class One(msgspec.Struct, gc=False):
    text: str


def text(number, length=40):
    """A string that nobody else refers to."""
    return f"{number:0{length}}"


def weighed(*tables, homes=None, hidden=None):
    weights = Weights(homes or {}, hidden or {})
    weights.tables({}, "kind", Holder(*tables))
    return weights.bytes["kind"]


def test_table_counts_itself_and_what_only_it_refers_to():
    table = {number + 1000: text(number) for number in range(10)}
    parts = sum(taken(part) for entry in table.items() for part in entry)
    assert weighed(table) == pytest.approx(taken(table) + parts, rel=0.01)


def test_what_is_in_several_tables_is_divided_among_them():
    strings = [text(number) for number in range(SAMPLE)]
    alone = weighed(strings) - taken(strings)
    other = strings.copy()
    assert weighed(strings) - taken(strings) == pytest.approx(alone / 2)
    assert weighed(strings, other) - taken(strings) - taken(other) == pytest.approx(alone)


def test_few_entries_stand_for_all():
    strings = [text(number) for number in range(50_000)]
    exact = taken(strings) + sum(map(taken, strings))
    assert weighed(strings) == pytest.approx(exact, rel=0.01)
    nested = [[text(number), text(number)] for number in range(5_000)]
    exact = taken(nested) + sum(taken(row) + sum(map(taken, row)) for row in nested)
    assert weighed(nested) == pytest.approx(exact, rel=0.01)


@pytest.mark.parametrize("length", [0, 1, SAMPLE - 1, SAMPLE, SAMPLE + 1, 2 * WINDOW, 10_000])
@pytest.mark.parametrize("shape", [list, deque, set, dict.fromkeys, lambda keys: dict.fromkeys(keys).items()])
def test_sample_is_bounded_and_without_doubles(length, shape):
    found = sample(shape(range(length)))
    assert len(found) == len(set(found)) == min(length, SAMPLE)


def test_sample_of_a_table_is_from_both_ends():
    found = sample(dict.fromkeys(range(10_000)))
    assert min(found) < WINDOW and max(found) >= 10_000 - WINDOW
    assert not [number for number in found if WINDOW <= number < 10_000 - WINDOW]


def test_sample_does_not_fall_into_step_with_what_comes_in_turns():
    turns = [number % 2 for number in range(2 * SAMPLE)]
    assert 8 < sum(sample(turns)) < SAMPLE - 8


def test_slots_and_structs_of_ours_are_followed_and_nothing_else_is():
    intake = Intake()
    intake._held = [(text(1, 1000).encode(), text(2, 1000).encode())]
    assert weighed([intake]) > 2000
    record = Record(None, 1, text(1, 5000), 1, b"", 0, 0, 0)
    assert weighed([record]) > 5000
    assert weighed([One(text(1, 5000))]) < 200  # not ours: tests are not the server
    assert weighed([Holder([text(1, 9000)])]) == pytest.approx(weighed([None]), abs=16)  # a part of a node


def test_kinds_have_homes():
    deques = [deque(), deque()]
    weights = Weights({deque: None}, {})
    weights.tables({}, "kind", Holder(deques))
    assert weights.bytes["kind"] > taken(deques)  # a builtin has no home
    intakes = [Intake() for _ in range(10)]
    weights = Weights({Intake: "intakes"}, {})
    weights.tables({}, "kind", Holder(intakes))
    assert weights.bytes["kind"] == taken(intakes)
    assert weights.counts["intakes"] == 10
    assert weights.bytes["intakes"] >= 10 * taken(intakes[0])
    weights = Weights({Intake: None}, {})
    weights.tables({}, "kind", Holder(intakes))
    assert sum(weights.bytes.values()) == taken(intakes)


def test_hidden_bytes_are_added_for_each():
    intakes = [Intake() for _ in range(500)]
    plain = weighed(intakes)
    assert weighed(intakes, hidden={Intake: 1000}) - plain == pytest.approx(500_000)


def test_sampled_objects_count_as_their_own_kind():
    weights = Weights({Intake: None}, {})
    intakes = {number: Intake() for number in range(300)}
    weights.sampled("intakes", intakes.values())
    assert weights.counts["intakes"] == 300
    assert weights.bytes["intakes"] >= 300 * taken(intakes[0])
    weights.sampled("none", [])
    assert weights.counts["none"] == 0


def test_table_may_belong_to_another_kind():
    weights = Weights({}, {})
    weights.tables({"table1": "other"}, "kind", Holder([text(1)], [text(2), text(3)]))
    assert weights.counts == {"kind": 1, "other": 2}


def test_circle_ends():
    circle = []
    circle.append(circle)
    assert weighed(circle) >= taken(circle)


@pytest.mark.parametrize(("size", "expected"), [(0, 48), (100, 144), (5000, 5056)])
def test_taken_is_what_the_allocator_gives(size, expected):
    assert taken(b"x" * size) == expected
