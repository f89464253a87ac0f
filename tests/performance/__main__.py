"""Measure the hot paths; with --write, commit to what was found.

    python -m tests.performance            the figures beside the committed ones
    python -m tests.performance --write    the same, and rewrite tests/performance/figures.json

Run it at the root of the checkout. It takes some ten seconds: CPU times are medians over several processes,
since where things lie in memory and how strings are hashed differs from one to the next.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median

import msgspec

from tests.performance import guard, measure
from tests.performance.guard import Figure, Figures
from tests.performance.paths import ALL

PROCESSES = 5
ROOT = Path(__file__).parents[2]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.performance", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="rewrite the committed figures")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)  # one process, as JSON
    options = parser.parse_args()
    if options.once:
        sys.stdout.buffer.write(msgspec.json.encode(_measure()))
        return 0
    found = _median([_in_another_process() for _ in range(PROCESSES)])
    known = guard.read().paths if guard.FILE.exists() else {}
    for name, figure in found.items():
        print(f"{name:42} {_beside(figure, known.get(name))}")
    if options.write:
        guard.write(Figures(guard.this_python(), found))
        print(f"wrote {guard.FILE.relative_to(ROOT)}")
    return 0


def _measure() -> dict[str, Figure]:
    found = {}
    for make in ALL:
        path = make()
        found[path.name] = Figure(measure.bytecodes(path), measure.cpu(make()))
    return found


def _in_another_process() -> dict[str, Figure]:
    command = [sys.executable, "-m", "tests.performance", "--once"]
    run = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(run.stdout, type=dict[str, Figure])


def _median(runs: list[dict[str, Figure]]) -> dict[str, Figure]:
    return {
        name: Figure(
            round(median(run[name].bytecodes for run in runs), 1),
            round(median(run[name].cpu for run in runs), 2),
        )
        for name in runs[0]
    }


def _beside(found: Figure, known: Figure | None) -> str:
    text = f"{found.bytecodes:8.1f} bytecodes {found.cpu:7.2f} toys"
    if known is None:
        return text
    return f"{text}   ({found.bytecodes / known.bytecodes - 1:+.1%}, {found.cpu / known.cpu - 1:+.0%})"


if __name__ == "__main__":
    sys.exit(main())
