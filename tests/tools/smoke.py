"""Smoke test of an installed wheel, run outside the checkout: `python -P smoke.py [SITE]`.

Every package is there, the command answers, the migrations came along. With SITE: it is that installation
which answers.
"""

import importlib
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = [
    "broker", "bus", "loadtest", "loadtest.bench", "node", "node.admin", "node.features", "node.store",
    "node.stream", "node.transport", "shared", "tools",
]  # fmt: skip
XCLUSTER = [sys.executable, "-P", "-m", "xcluster.tools.main"]


def main() -> None:
    for name in PACKAGES:
        package = importlib.import_module(f"xcluster.{name}")
        assert package.__doc__, f"xcluster.{name} has no docstring: was its __init__.py packaged?"
        if len(sys.argv) > 1:
            assert package.__file__ is not None
            assert Path(package.__file__).is_relative_to(Path(sys.argv[1])), package.__file__
    assert "up" in output("--help")
    assert 'domain = "localhost"' in output("config", "show")
    with tempfile.TemporaryDirectory() as folder:
        setting = f"server.data_dir={folder}"
        assert "migrated" in output("store", "migrate", "--set", setting)
        assert "added alice@localhost" in output("user", "add", "alice", "--password", "x", "--set", setting)
        assert "alice" in output("user", "list", "--set", setting)
    print("the wheel works")


def output(*arguments: str) -> str:
    """What a command prints; fails unless it succeeds."""
    return subprocess.run(
        [*XCLUSTER, *arguments], check=True, timeout=60, stdout=subprocess.PIPE, text=True
    ).stdout


if __name__ == "__main__":
    main()
