"""What the nodes' answers look like to a person."""

import copy
import io

import pytest
from rich.console import Console

from xcluster.tools.report import (
    all_answer,
    cluster_tables,
    digest_line,
    is_well,
    memory_tables,
    node_rows,
)
from xcluster.tools.verify import difference_line

NODE = {
    "node": "n1",
    "incarnation": 1795370000000,
    "ready": True,
    "sessions": 2,
    "users_online": 1,
    "uptime_s": 61.25,
    "seq": 7,
    "bus": [{"endpoint": "ipc://b1", "up": True}, {"endpoint": "ipc://b2", "up": False}],
    "members": [
        {"name": "n2", "incarnation": 3, "state": "alive", "sessions": 1, "applied": 5, "heard": 6, "lag": 1}
    ],
    "digests": {"sessions": 99},
    "early": {"parked": 0, "early": 4, "woken": 3, "expired": 1},
    "store": {"healthy": True},
    "counters": {},
}


def cluster(**changed):
    other = copy.deepcopy(NODE) | {"node": "n2", "bus": [], "members": []}
    return {"nodes": {"n1": copy.deepcopy(NODE) | changed, "n2": other}}


def drawn(answer):
    file = io.StringIO()
    Console(file=file, width=200).print(*cluster_tables(answer), sep="\n")
    return file.getvalue()


def test_tables_show_nodes_members_and_early_tasks():
    shown = drawn(cluster())
    for words in ("n1 1795370000000 yes 2 1 61.2 7 1/2 ok", "n1 n2 3 alive 1 5 6 1", "n1 0 4 3 1"):
        assert words in " ".join(shown.split())
    assert "digests: equal" in shown


def test_node_that_does_not_answer_is_shown_with_the_reason():
    answer = cluster()
    answer["nodes"]["n3"] = {"error": "TaskTimeout"}
    assert node_rows(answer)[2] == {"node": "n3", "error": "TaskTimeout"}
    assert "TaskTimeout" in drawn(answer)


def test_digests_that_differ_are_told():
    assert "differ" in digest_line(cluster(digests={"sessions": 98}))


WELL = [
    ({}, True),
    ({"ready": False}, False),
    ({"members": [{"name": "n2", "state": "suspect"}]}, False),
    ({"error": "TaskTimeout"}, False),
]


@pytest.mark.parametrize(("changed", "expected"), WELL)
def test_cluster_is_well_when_all_answer_are_ready_and_alive(changed, expected):
    assert is_well(cluster(**changed)) is expected


def test_difference_names_node_table_and_key():
    line = difference_line(
        {"node": "n1", "origin": "n2/3", "table": "sessions", "key": "a@b/c", "have": None, "want": "x"}
    )
    assert line == "n1: sessions of n2/3: a@b/c: have None, want x"


MEMORY = {
    "sessions": 2000,
    "pss": 60 * 1048576,
    "pss_at_start": 46 * 1048576,
    "grown": 14 * 1048576,
    "malloc_in_use": 15 * 1048576,
    "malloc_free": 3 * 1048576,
    "python_blocks": 300_000,
    "kinds": [
        {"kind": "connections", "count": 2000, "bytes": 8 * 1048576, "per_session": 4194},
        {"kind": "lanes", "count": 8, "bytes": 500, "per_session": 0},
        {"kind": "other", "count": 0, "bytes": 6 * 1048576, "per_session": 3145},
    ],
}


def memory_drawn(answer):
    file = io.StringIO()
    Console(file=file, width=200).print(*memory_tables(answer), sep="\n")
    return [" ".join(line.split()) for line in file.getvalue().splitlines()]


def test_memory_is_shown_by_kind_with_what_the_kinds_add_up_to():
    lines = memory_drawn({"nodes": {"n2": MEMORY, "n1": MEMORY}})
    assert lines[0] == "n1: 60.0 MiB, 14.0 since the start; 2000 sessions; malloc 15.0, free 3.0"
    assert lines[1:5] == [
        "kind count KiB bytes/session",
        "connections 2000 8192 4194",
        "other 6144 3145",
        "grown since the start 14336 7340",
    ]
    assert any(line.startswith("n2: ") for line in lines[5:])


def test_memory_of_a_node_without_sessions_has_no_shares():
    lines = memory_drawn({"nodes": {"n1": MEMORY | {"sessions": 0}}})
    assert "connections 2000 8192" in lines
    assert "grown since the start 14336" in lines


def test_memory_of_a_node_that_does_not_answer_is_the_reason():
    answer = {"nodes": {"n1": MEMORY, "n2": {"error": "TaskTimeout"}}}
    assert "n2: TaskTimeout" in memory_drawn(answer)
    assert not all_answer(answer)
    assert all_answer({"nodes": {"n1": MEMORY}})
