import io
import json

import pytest
from rich.console import Console

from xcluster.loadtest.ledger import Tally
from xcluster.loadtest.report import Report
from xcluster.loadtest.sightings import Verdict
from xcluster.shared.errors import AuthError


def good():
    report = Report("classic", "x", seconds=10.0, sessions={"n1": 500, "n2": 510}, kept=7, fetched=7)
    report.tally = Tally(written=20, read=20)
    report.live, report.crossed = 10, 7
    for _ in range(10):
        report.tally.latency.add(0.004)
        report.login.add(0.02)
    return report


def shown(report):
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(report.table())
    return console.export_text()


def test_good_run_is_clean_and_its_table_says_what_it_was():
    report = good()
    assert report.clean
    text = " ".join(shown(report).split())
    for expected in (
        "sessions on n1 │ 500",
        "1,010 in 10.0 s, 101/s",
        "20 of 20",
        "70%",
        "lost │ 0",
        "7 / 7",
    ):
        assert expected in text


@pytest.mark.parametrize("fault", ["lost", "doubled", "misrouted", "reordered", "corrupt", "returned"])
def test_any_fault_of_a_message_spoils_the_run(fault):
    report = good()
    report.tally.fault(fault, "why")
    assert not report.clean
    assert report.examples() == [f"{fault}: why"]
    assert report.summary()[fault] == 1


def test_failed_login_and_wrong_presence_spoil_the_run():
    for spoil in (
        lambda report: report.failed("log in", AuthError("not-authorized")),
        lambda report: report.seen.update(available=Verdict(expected=1, missing=1)),
        lambda report: report.sessions.clear(),
    ):
        report = good()
        spoil(report)
        assert not report.clean
    report = good()
    report.failed("log in", AuthError("not-authorized"))
    report.failed("log in", TimeoutError())
    assert report.failures == {"log in: not-authorized": 1, "log in: TimeoutError": 1}
    assert "failed: log in: not-authorized" in shown(report)


def test_parts_add_up():
    report, other = good(), good()
    other.failed("log in", TimeoutError())
    other.seen["available"] = Verdict(expected=5)
    report.merge(other)
    summary = report.summary()
    assert summary["sessions"] == {"n1": 1000, "n2": 1020}
    assert summary["messages"] == summary["delivered"] == 40
    assert (summary["offline_kept"], summary["offline_fetched"]) == (14, 14)
    assert summary["logins_per_s"] == 202.0
    assert summary["cross_share"] == 0.7
    assert summary["failures"] == {"log in: TimeoutError": 1}
    assert report.seen["available"].expected == 5


def test_summary_is_json():
    report = good()
    assert json.loads(json.dumps(report.summary())) == report.summary()
    assert json.loads(json.dumps(Report("chat", "x").summary()))["latency_p50_ms"] is None
