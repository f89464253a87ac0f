"""The connections that have something to write at the end of this turn."""

from typing import Protocol

from xcluster.node.clock import Turns


class Flushable(Protocol):
    def flush(self) -> None: ...


class Outbox:
    """One a loop."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._dirty: list[Flushable] = []
        turns.at_end(self.flush)

    def add(self, connection: Flushable) -> None:
        """Flush it when the turn ends; call once a turn."""
        self._dirty.append(connection)
        self._turns.ask_end()

    def flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()
