"""(I/O) After many have left: give the memory they had back to the kernel.

The C library keeps what is freed, and a heap full of holes stays as large as it ever was. When `malloc_trim` is
worth its time is decided by `Falls`, which knows no clock; what it does is done in a thread, without the GIL.
"""

import gc
import logging
import time

import gevent

from xcluster.node.admin import process
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

MIN_FALL = 1_000  # sessions that must have gone since the highest count
FALL_SHARE = 0.25  # ... and this share of it
QUIET_S = 5.0  # no lower count for so long: the leaving is over
PATIENCE_S = 60.0  # a leaving that never ends is not waited for
EVERY_S = 60.0  # at most so often
COLLECTED = (
    2_000  # sessions with which a full collection, which stops the loop for 13 µs each, is short enough
)


class Falls:
    """Notices that a mass of sessions has left. Tell it their number about once a second."""

    def __init__(self) -> None:
        self.highest = 0  # since the last trim
        self._lowest = 0  # since it has fallen
        self._lowest_at = 0.0
        self._fallen_at: float | None = None
        self._trimmed_at = -EVERY_S

    def is_due(self, sessions: int, now: float) -> bool:
        """True once after each mass leave; what stayed is the new highest."""
        if sessions > self.highest:
            self.highest = sessions
        if self.highest - sessions <= max(MIN_FALL, self.highest * FALL_SHARE):
            self._fallen_at = None
            return False
        if self._fallen_at is None:
            self._fallen_at = now
            self._lowest, self._lowest_at = sessions, now
        elif sessions < self._lowest:
            self._lowest, self._lowest_at = sessions, now
        if now - self._lowest_at < QUIET_S and now - self._fallen_at < PATIENCE_S:
            return False
        if now - self._trimmed_at < EVERY_S:
            return False
        self._trimmed_at = now
        self._fallen_at = None
        self.highest = sessions
        return True


class Trimming:
    """One a process. Does nothing where the C library can't."""

    def __init__(self) -> None:
        self._falls = Falls()
        self._can = process.can_trim()

    def second(self, sessions: int, now: float) -> None:
        """Call it from the loop about once a second."""
        if self._can and self._falls.is_due(sessions, now):
            gevent.get_hub().threadpool.spawn(run_trim, sessions <= COLLECTED)


def run_trim(collect: bool) -> None:
    """Trim once, and say what came of it; `collect` cycles before."""
    if collect:
        gc.collect()
    before, began = process.pss(), time.monotonic()
    process.trim()
    took_ms = (time.monotonic() - began) * 1000
    after = process.pss()
    log.info(
        "memory_trimmed",
        extra=kv(before_mib=before >> 20, after_mib=after >> 20, took_ms=round(took_ms, 1)),
    )
