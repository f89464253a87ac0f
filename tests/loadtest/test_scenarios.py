"""Whole scenarios, in processes of their own, against a server that does well and one that does not."""

import pytest

from tests.loadtest.double import DOMAIN, running
from xcluster.loadtest.launch import launch


def run(nodes, tmp_path, scenario, *arguments):
    return launch(
        scenario, "--nodes", nodes, "--domain", DOMAIN, "--html", str(tmp_path), "--mechanism", "PLAIN",
        "--limit", "1", *arguments,
    )  # fmt: skip


CLASSIC = ("classic", "--users", "120", "--rate", "40", "--time", "2", "--stay", "0.3")
CHAT = ("chat", "--users", "40", "--pairs", "20", "--rate", "400", "--time", "1")
PRESENCE = ("presence", "--users", "60", "--rate", "100", "--time", "10")


def test_classic_on_a_good_server_is_clean(tmp_path):
    with running(120) as nodes:
        code, summary = run(nodes, tmp_path, *CLASSIC)
    assert code == 0, summary
    assert summary["clean"]
    assert 70 <= summary["logins"] <= 85
    assert max(summary["sessions"].values()) - min(summary["sessions"].values()) <= 1
    assert summary["offline_kept"] == summary["offline_fetched"] == summary["logins"]
    assert summary["delivered"] == summary["messages"] >= 1.9 * summary["logins"]
    assert summary["cross_share"] >= 0.6
    assert summary["contacts"] == {"30": summary["logins"]}
    assert "XMPP" in (tmp_path / "classic.html").read_text()


def test_two_processes_add_up(tmp_path):
    with running(120) as nodes:
        code, summary = run(nodes, tmp_path, *CLASSIC, "--processes", "2")
    assert code == 0, summary
    assert 70 <= summary["logins"] <= 85
    assert summary["offline_fetched"] == summary["logins"]


@pytest.mark.parametrize(
    ("scenario", "twist", "fault"),
    [
        (CLASSIC, "drop", "lost"),
        (CLASSIC, "double", "doubled"),
        (CHAT, "reorder", "reordered"),
        (CHAT, "misroute", "misrouted"),
        (CHAT, "spoil", "corrupt"),
        (CHAT, "bounce", "returned"),
    ],
)
def test_wrong_of_the_server_is_seen(tmp_path, scenario, twist, fault):
    with running(120, twist) as nodes:
        code, summary = run(nodes, tmp_path, *scenario)
    assert code == 1
    assert summary[fault] > 0, summary
    assert any(example.startswith(fault) for example in summary["examples"])


@pytest.mark.parametrize(("twist", "fault"), [("", None), ("untold", "missing"), ("told twice", "repeated")])
def test_presence_is_judged(tmp_path, twist, fault):
    with running(60, twist) as nodes:
        code, summary = run(nodes, tmp_path, *PRESENCE)
    assert summary["logins"] == 60
    assert summary["presence"]["available"]["expected"] == 60 * 30
    assert code == (1 if fault else 0), summary
    if fault:
        assert summary["presence"]["available"][fault] > 0


def test_wrong_password_fails_the_run(tmp_path):
    with running(120) as nodes:
        code, summary = run(nodes, tmp_path, *CLASSIC, "--password", "wrong", "--time", "1")
    assert code == 1
    assert summary["failures"]["log in: not-authorized"] >= 30


def test_what_can_not_start_says_so(tmp_path):
    code, summary = run("nowhere", tmp_path, "classic")
    assert (code, summary) == (2, {})
