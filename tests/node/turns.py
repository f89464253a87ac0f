"""The double of node/clock.py's Turns."""

from collections.abc import Callable
from functools import partial
from typing import Any


class FakeTurns:
    """Turns that end, timers that ring and time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ends: list[Callable[[], None]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.next: list[Callable[[], None]] = []  # what was to be done soon

    def at_end(self, action: Callable[[], None]) -> None:
        self.ends.append(action)

    def ask_end(self) -> None:
        pass

    def soon(self, action: Callable[..., None], *arguments: Any) -> None:
        self.next.append(partial(action, *arguments))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        self.timers.append((seconds, action))

    def end(self) -> None:
        soon, self.next = self.next, []
        for action in soon + self.ends:
            action()

    def ring(self) -> float:
        """The next timer; returns how long it was to wait."""
        seconds, action = self.timers.pop(0)
        action()
        return seconds
