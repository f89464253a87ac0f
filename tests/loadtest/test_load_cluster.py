"""Scenarios against a real cluster of ours."""

import json
import subprocess
import sys
import time

import pytest

from xcluster.loadtest.launch import launch

XCLUSTER = [sys.executable, "-P", "-m", "xcluster.tools.main"]
USERS = 300

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    with open(folder / "up.log", "wb") as log:
        process = subprocess.Popen(
            [*XCLUSTER, "up", "--nodes", "3", "--data", str(folder), "--domain", "load.test", "--own-ports",
             "--port", "0", "--tls-port", "0", "--set", "limits.enabled=false"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_until_ready(process, folder)
        provision = ["provision", "--data", str(folder), "--users", str(USERS), "--roster", "30"]
        subprocess.run([*XCLUSTER, *provision, "--password", "secret"], check=True, timeout=60)
        yield folder
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_ready(process, folder):
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if json.loads((folder / "cluster.json").read_text())["ready"]:
                return
        except (OSError, ValueError):
            time.sleep(0.1)
    pytest.fail("the cluster did not start: " + (folder / "up.log").read_text()[-2000:])


def run(cluster, tmp_path, scenario, *arguments):
    return launch(
        scenario, "--data", str(cluster), "--users", str(USERS), "--html", str(tmp_path), *arguments
    )


@pytest.mark.parametrize("tls", ["none", "starttls", "direct"])
def test_classic_loses_nothing_and_crosses_nodes(cluster, tmp_path, tls):
    code, summary = run(cluster, tmp_path, "classic", "--rate", "30", "--time", "5", "--tls", tls)
    assert code == 0, summary
    assert summary["logins"] >= 140
    assert len(summary["sessions"]) == 3
    assert summary["cross_share"] >= 0.6
    assert summary["offline_kept"] == summary["offline_fetched"] == summary["logins"]


@pytest.mark.parametrize("placement", ["same", "different"])
def test_chat_keeps_order(cluster, tmp_path, placement):
    code, summary = run(
        cluster, tmp_path, "chat", "--pairs", "30", "--rate", "600", "--time", "4", "--placement", placement
    )
    assert code == 0, summary
    assert summary["delivered"] == summary["messages"] > 1000
    assert summary["cross_share"] == (0.0 if placement == "same" else 1.0)


def test_everybody_is_told_of_everybody_once(cluster, tmp_path):
    code, summary = run(cluster, tmp_path, "presence", "--rate", "100", "--time", "20")
    assert code == 0, summary
    assert summary["presence"]["available"]["expected"] == USERS * 30
