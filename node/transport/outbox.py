"""The connections that have something to write: at the end of this turn, or within a moment.

A system call is most of what a short stanza costs. What nobody waits for (presence of others) therefore waits
itself, for company: it goes out with the next urgent stanza of its connection, in order, or after `delay_s`.
"""

from typing import Protocol

from xcluster.node.clock import Turns

_FLUSHED = 256  # connections in one turn of those that have waited; the others in the next ones


class Flushable(Protocol):
    def flush(self) -> None: ...

    def flush_waiting(self) -> None: ...


class Outbox:
    """One a loop."""

    def __init__(self, turns: Turns, delay_s: float) -> None:
        self._turns = turns
        self._delay_s = delay_s
        self._dirty: list[Flushable] = []
        self._later: list[Flushable] = []
        turns.at_end(self.flush)

    def add(self, connection: Flushable) -> None:
        """Flush it when the turn ends; call once a turn."""
        if not self._dirty:
            self._turns.ask_end()
        self._dirty.append(connection)

    def add_later(self, connection: Flushable) -> None:
        """Call its `flush_waiting` after `delay_s`; call again only then."""
        if not self._later:
            self._turns.after(self._delay_s, self._flush_later)
        self._later.append(connection)

    def _flush_later(self) -> None:
        for connection in self._later[:_FLUSHED]:
            connection.flush_waiting()
        del self._later[:_FLUSHED]
        if self._later:
            self._turns.after(0.0, self._flush_later)

    def flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            connection.flush()
