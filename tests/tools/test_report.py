"""What the nodes' answers look like to a person."""

import copy
import io

import pytest
from rich.console import Console

from xcluster.tools.report import cluster_tables, digest_line, is_well, node_rows
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
