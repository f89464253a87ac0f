"""How far the machine is from its best: what every figure of the same hour has in it (I/O).

Shared cores do the same arithmetic in twice the time while their other users are busy, and in three times after a
rest, and the time counts as ours. So each server's turn says how it was.
"""

import time

from xcluster.loadtest.bench.harness import Bench, Found, Measure

PIECES = 3000
RESTED_PIECES = 300
ROUNDS = 400  # of a piece: some 10 µs


def slowness(rest_s: float = 0.0) -> Measure:
    """The mean CPU time of a piece of work, of the least that one took; with a rest before each, if wanted."""

    def measure(bench: Bench) -> Found:
        busy = [_piece() for _ in range(PIECES)]
        best = min(busy)
        taken = [_rested_piece(rest_s) for _ in range(RESTED_PIECES)] if rest_s else busy
        return Found(sum(taken) / len(taken) / best, {"best_us": best / 1000})

    return measure


def _rested_piece(rest_s: float) -> int:
    time.sleep(rest_s)
    return _piece()


def _piece() -> int:
    """Work that needs next to no memory; returns its CPU time in nanoseconds."""
    began = time.thread_time_ns()
    value = 0
    for number in range(ROUNDS):
        value ^= number
    return time.thread_time_ns() - began
