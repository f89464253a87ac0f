"""Group reads: what is asked of the store within a moment goes to its threads together (I/O).

Every wake of a thread takes Python's lock from the loop and gives it back, which costs more than a look-up. So
questions that were asked in one turn go together, and when many log in at once two groups are `PAUSE_S` apart.
Nobody waits in a greenlet: the answer is called back.
"""

import time
from queue import SimpleQueue

from gevent.hub import get_hub

from xcluster.node.store.mailbox import Operation
from xcluster.shared.errors import StoreError

PAUSE_S = 0.004  # what a log-in waits longer at each question in a storm; a lone one waits for nothing


class Gatherer:
    """The questions of one hub, on their way to the queue of the threads."""

    def __init__(self, queue: "SimpleQueue[list[Operation] | None]", limit: int) -> None:
        self._queue = queue
        self._limit = limit
        self._loop = get_hub().loop
        self._timer = self._loop.timer(PAUSE_S)
        self._asked: list[Operation] = []
        self._is_due = False
        self._is_closed = False
        self._rest_until = 0.0

    def add(self, operation: Operation) -> None:
        """Raises StoreError when too many wait."""
        if len(self._asked) + self._queue.qsize() >= self._limit:
            raise StoreError("too many operations are waiting for the store")
        self._asked.append(operation)
        if self._is_due:
            return
        self._is_due = True
        if time.monotonic() >= self._rest_until:
            self._loop.run_callback(self._submit)  # once this turn's sockets have been read
        else:
            self._timer.start(self._submit)

    def _submit(self) -> None:
        if self._is_closed:  # in the very turn that asked: the mailbox tells them when their time is over
            return
        self._timer.stop()
        self._is_due = False
        self._rest_until = time.monotonic() + PAUSE_S
        asked, self._asked = self._asked, []
        self._queue.put(asked)

    def close(self) -> None:
        self._is_closed = True
        self._timer.close()
