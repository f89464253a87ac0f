"""The guard on the hot paths: what they may cost, and when they cost too much.

The committed figures are in figures.json. `python -m tests.performance --write` measures them anew, where a
change is worth what it costs; the diff of that file then says so.
"""

import sys
from collections.abc import Callable
from pathlib import Path as File

import msgspec

from tests.performance import measure
from tests.performance.paths import Path

GROWTH = 1.25  # more than this times the committed figure fails
TRIES = 5  # of the CPU time, each with everything built anew; the lowest counts
STALE = 0.75  # less than this times the figure is time to commit a better one
FILE = File(__file__).with_name("figures.json")


class Figure(msgspec.Struct):
    """What an operation may cost."""

    bytecodes: float
    cpu: float  # in messages of the toy


class Figures(msgspec.Struct):
    """All figures, and the Python whose bytecodes they count."""

    python: str
    paths: dict[str, Figure]


class TooExpensive(AssertionError):
    """A path has grown past the limit."""


def this_python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def read() -> Figures:
    return msgspec.json.decode(FILE.read_bytes(), type=Figures)


def write(figures: Figures) -> None:
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=2) + b"\n")


def check_bytecodes(make: Callable[[], Path], figure: Figure) -> float:
    """Returns the bytecodes per operation; raises TooExpensive."""
    path = make()
    found = measure.bytecodes(path)
    _compare(path.name, "bytecodes", found, figure.bytecodes)
    return found


def check_cpu(make: Callable[[], Path], figure: Figure, tries: int = TRIES) -> float:
    """Returns the CPU time per operation, in messages of the toy; raises TooExpensive."""
    found = 0.0
    for _ in range(tries):
        path = make()
        tried = measure.cpu(path)
        found = min(found, tried) if found else tried
        if found <= figure.cpu * GROWTH:
            return found
    _compare(path.name, "times the CPU of the toy", found, figure.cpu)
    return found


def _compare(name: str, unit: str, found: float, figure: float) -> None:
    if found > figure * GROWTH:
        raise TooExpensive(
            f"{name}: {found:.2f} {unit}, {found / figure - 1:+.0%} against the committed {figure:.2f} (limit "
            f"{GROWTH - 1:+.0%}); where that is worth it: python -m tests.performance --write"
        )


def is_stale(found: float, figure: float) -> bool:
    """The path is so much cheaper now that its figure no longer guards it."""
    return found < figure * STALE
