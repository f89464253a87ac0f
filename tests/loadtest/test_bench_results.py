"""What the bench makes of its figures: medians, ratios, table, JSON, picture."""

import io
import json

import pytest
from rich.console import Console

from xcluster.loadtest.bench import output
from xcluster.loadtest.bench.harness import Found
from xcluster.loadtest.bench.results import Result, as_json
from xcluster.loadtest.bench.rows import ROWS, Row

SERVERS = ["xcluster", "prosody", "ejabberd"]


def unmeasured(bench):
    raise AssertionError("not called")


def row(**options):
    return Row("a message", "µs", unmeasured, **options)


def found(*values):
    return [Found(value) for value in values]


def results():
    first = Result(
        row(goals=(30.0, 22.0)),
        {"xcluster": found(22.0, 20.0, 29.0), "prosody": found(50.0), "ejabberd": found(40.0, 60.0, 44.0)},
    )
    second = Result(
        row(goals=(10.0, 5.0)),
        {"xcluster": found(12.0), "prosody": found(20.0)},
        {"ejabberd": ["1 lost"]},
    )
    return [first, second]


def test_median_and_spread_are_of_all_runs():
    result = results()[0]
    assert result.median("xcluster") == 22.0
    assert result.spread("xcluster") == (20.0, 29.0)


def test_best_peer_is_the_one_with_the_lowest_median():
    result = results()[0]
    assert result.best_peer() == ("ejabberd", 44.0)
    assert result.ratio() == 0.5
    assert result.reaches_share() is True


def test_more_is_better_where_the_row_says_so():
    found_here = {"xcluster": found(1.7), "prosody": found(1.0), "ejabberd": found(1.5)}
    result = Result(row(goals=(1.6, 1.8), upward=True), found_here)
    assert result.best_peer() == ("ejabberd", 1.5)
    assert result.reaches_goal() is True


def test_one_void_run_voids_the_server_s_figure():
    result = Result(row(), {"xcluster": found(1.0), "prosody": found(2.0)}, {"prosody": ["1 lost"]})
    assert result.median("prosody") is None
    assert result.ratio() is None
    assert result.reaches_share() is None


@pytest.mark.parametrize(("ours", "reached"), [(30.0, True), (30.1, False)])
def test_goal_is_reached_at_it_and_below(ours, reached):
    assert Result(row(goals=(30.0, 22.0)), {"xcluster": found(ours)}).reaches_goal() is reached


def test_table_marks_what_is_reached_and_what_is_not():
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(output.table(results(), SERVERS))
    text = " ".join(console.export_text().split())
    assert "a message, µs │ 22 (20–29) │ 50 │ 44 (40–60) │ 0.50 ✓ │ 0.5 │ 30 ✓ │ 22" in text
    assert "a message, µs │ 12 │ 20 │ void │ 0.60 ✗ │ 0.5 │ 10 ✗ │ 5" in text


def test_figures_hold_every_run():
    figures = json.loads(as_json(results(), {"cores": 2}))
    assert figures["cores"] == 2
    first, second = figures["rows"]
    assert [each["value"] for each in first["servers"]["ejabberd"]["runs"]] == [40.0, 60.0, 44.0]
    assert first["servers"]["ejabberd"]["median"] == 44.0
    assert first["ours_to_best_peer"] == 0.5
    assert second["void"] == {"ejabberd": ["1 lost"]}
    assert second["reaches_goal"] is False


@pytest.mark.parametrize("name", ["bars.png", "bars.svg"])
def test_picture_is_drawn(tmp_path, name):
    alone = Result(row(goals=(30.0, 22.0)), {"xcluster": found(20.0)})
    nothing = Result(row(), {}, {"xcluster": ["1 lost"]})
    output.draw([*results(), alone, nothing], SERVERS, tmp_path / name)
    assert (tmp_path / name).read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_rows_have_names_of_their_own():
    names = [each.name for each in ROWS]
    assert len(set(names)) == len(names)
