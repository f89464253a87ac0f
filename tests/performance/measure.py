"""What an operation costs: bytecodes, which are the same everywhere, and CPU time in units of the toy's."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from time import thread_time_ns
from types import FrameType
from typing import Any

from tests.performance.paths import Path
from tests.performance.toy import MESSAGES, Toy, spent_ns

WARM_UP = 3  # rounds
ROUNDS = 100


def bytecodes(path: Path) -> float:
    """Bytecode instructions per operation: exact for a minor version of Python, blind to what C code does."""
    with no_collector():
        for _ in range(WARM_UP):
            path.run()
        count = _count(path.run)
    path.check()
    return count / path.operations


def _count(run: Callable[[], None]) -> int:
    count = 0

    def executed(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        if event == "opcode":
            count += 1
        return executed

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return executed

    before = sys.gettrace()
    sys.settrace(called)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def cpu(path: Path, rounds: int = ROUNDS) -> float:
    """CPU time per operation, in messages of the toy.

    The two run in turn, a millisecond each, and the median counts of what they cost side by side: whatever
    slows this machine down for longer slows both, and what disturbs one round does not matter."""
    toy = Toy()
    ratios = []
    with no_collector():
        for _ in range(WARM_UP):
            path.run()
        for _ in range(rounds):
            yardstick = spent_ns(toy)
            ratios.append(spent_on(path.run) / yardstick)
    path.check()
    return median(ratios) * MESSAGES / path.operations


def spent_on(run: Callable[[], None]) -> int:
    """CPU time of this thread, in nanoseconds."""
    start = thread_time_ns()
    run()
    return thread_time_ns() - start


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the collector of cycles: when it runs depends on everything else in this process."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
