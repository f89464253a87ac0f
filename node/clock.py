"""(I/O) The loop's turns and the clock that counts them.

Everything a turn produces is collected and sent once at its end: what the exchange has for other nodes, then
what sessions have for clients. `now` is read once a turn, from CLOCK_BOOTTIME, so that a process that was
stopped or a machine that slept sees the gap (design.md §8, the fence).
"""

import time
from collections.abc import Callable
from functools import partial

from gevent.hub import get_hub

_HIGHEST = 2  # libev's EV_MAXPRI: before any socket of the same turn


# Seconds that never stop and never jump. No function of ours: it is called twice a turn.
boottime: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Turns:
    """One loop's turns."""

    def __init__(self, gap_s: float, overslept: Callable[[float], None]) -> None:
        """`overslept` is called before any input when more than `gap_s` passed since the last turn."""
        self.now = boottime()
        self.longest_s = 0.0  # the longest turn since `take_longest`
        self._gap_s = gap_s
        self._overslept = overslept
        self._loop = get_hub().loop
        self._ends: list[Callable[[], None]] = []
        self._is_ending = False
        self._check = self._loop.check()
        self._check.priority = _HIGHEST
        self._check.start(self._begin)
        self._prepare = self._loop.prepare()
        self._prepare.start(self._sleep)
        self._timer = self._loop.timer(0.25, 0.25)  # so that a quiet loop turns too: gaps are told from sleep
        self._timer.start(lambda: None)

    def _sleep(self) -> None:
        took_s = boottime() - self.now
        if took_s > self.longest_s:
            self.longest_s = took_s

    def _begin(self) -> None:
        now = boottime()
        gap = now - self.now
        self.now = now
        if gap > self._gap_s:
            self._overslept(gap)

    def at_end(self, action: Callable[[], None]) -> None:
        """Call `action` at the end of every turn that asked for one, in the order of registration."""
        self._ends.append(action)

    def ask_end(self) -> None:
        """This turn has produced something."""
        if not self._is_ending:
            self._is_ending = True
            self._loop.run_callback(self._end)

    def _end(self) -> None:
        self._is_ending = False
        for action in self._ends:
            action()

    def every(self, seconds: float, action: Callable[[], None]) -> Callable[[], None]:
        """Call `action` from the loop again and again; returns what stops it."""
        timer = self._loop.timer(seconds, seconds)
        timer.start(action)

        def stop() -> None:
            timer.stop()
            timer.close()

        return stop

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` from the loop once."""
        timer = self._loop.timer(seconds)

        def run() -> None:
            timer.close()
            action()

        timer.start(run)

    def soon(self, action: Callable[..., None], *arguments: object) -> None:
        """Call `action` from the loop as soon as it turns."""
        self._loop.run_callback(action, *arguments)

    def take_longest(self) -> float:
        """The longest turn since the last call, in seconds."""
        longest, self.longest_s = self.longest_s, 0.0
        return longest

    def stop(self) -> None:
        for watcher in (self._check, self._prepare, self._timer):
            watcher.stop()
            watcher.close()


class Paced:
    """Does something at most once in `period_s`: at once when it has rested, else as soon as it may."""

    def __init__(self, turns: Turns, period_s: float, action: Callable[[], None]) -> None:
        self._turns = turns
        self._period_s = period_s
        self._action = action
        self._next = 0.0
        self._is_waiting = False

    def ask(self) -> None:
        """Something is there to be done."""
        if self._is_waiting:
            return
        rest = self._next - self._turns.now
        if rest <= 0:
            self.do()
        else:
            self._is_waiting = True
            self._turns.after(rest, self._come)

    def _come(self) -> None:
        self._is_waiting = False
        self.do()

    def do(self) -> None:
        """Do it now, however short the rest was."""
        self._next = self._turns.now + self._period_s
        self._action()
