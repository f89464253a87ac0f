"""Runs a scenario in a process of its own, for tools: locust patches the process that imports it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def launch(scenario: str, *arguments: str) -> tuple[int, dict[str, Any]]:
    """`python -m xcluster.loadtest SCENARIO ARGUMENTS`, with progress and table on our own output.

    Returns its exit code (0 clean, 1 faults, 2 could not start) and the summary, empty when it did not
    come to one.
    """
    with tempfile.TemporaryDirectory(prefix="xcluster-loadtest-") as folder:
        file = Path(folder) / "summary.json"
        command = [sys.executable, "-P", "-m", "xcluster.loadtest", scenario, *arguments, "--json", str(file)]
        code = subprocess.run(command, check=False).returncode
        return code, json.loads(file.read_text("utf-8")) if file.exists() else {}
