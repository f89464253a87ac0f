"""Operations, and the mailbox in which their answers come home to the loop (I/O).

A greenlet that calls the store waits here; the threads of the engine never touch gevent but for ringing
one async watcher per hub.
"""

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import gevent
from gevent.hub import Waiter

from xcluster.node.store.connection import Verb
from xcluster.shared.errors import StoreError

_TURN = 64  # greenlets woken in one turn of the loop
_LATE_S = 0.5  # how often the mailbox looks for operations that nobody answered in time


class Operation:
    """One call of a verb on its way to a thread and back."""

    __slots__ = ("answer", "call", "deadline", "error", "mailbox", "rows", "verb")

    def __init__(self, verb: Verb[Any], call: Any, rows: int, deadline: float, mailbox: "Mailbox") -> None:
        self.verb = verb
        self.call = call
        self.rows = rows  # how much it adds to a batch
        self.deadline = deadline  # time.monotonic()
        self.mailbox = mailbox
        self.answer: Any = None
        self.error: Exception | None = None


class Mailbox:
    """The answers for one hub. Other threads may call `post` and nothing else."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._answers: deque[Operation] = deque()
        self._waiting: dict[Operation, Any] = {}  # to its waiter, oldest first
        self._bell = self._hub.loop.async_()
        self._bell.start(self._deliver)
        self._clock = self._hub.loop.timer(_LATE_S, _LATE_S)

    def wait(self, operation: Operation) -> Any:
        """Wait for the answer; other greenlets run meanwhile. Raises what the operation raised."""
        if gevent.getcurrent() is self._hub:
            raise RuntimeError("the store was called by a loop callback: use a greenlet")
        waiter = Waiter(self._hub)
        if not self._waiting:
            self._clock.start(self._expire)
        self._waiting[operation] = waiter
        try:
            waiter.get()
        finally:
            del self._waiting[operation]
            if not self._waiting:
                self._clock.stop()
        if operation.error is not None:
            raise operation.error
        return operation.answer

    def post(self, operations: Iterable[Operation]) -> None:
        self._answers.extend(operations)
        self._bell.send()

    def close(self) -> None:
        """Unless somebody still waits for a thread that hangs: they are told when their time is over."""
        if not self._waiting:
            self._clock.close()
            self._bell.close()

    def _deliver(self) -> None:
        for _ in range(_TURN):
            if not self._answers:
                return
            waiter = self._waiting.get(self._answers.popleft())
            if waiter is not None:  # else its greenlet was killed, or told that it was too late
                waiter.switch(None)
        if self._answers:
            self._bell.send()

    def _expire(self) -> None:
        # A thread answers in time unless it hangs in the database's library; nobody may hang with it.
        now = time.monotonic() - _LATE_S
        for operation, waiter in list(self._waiting.items()):
            if operation.deadline > now:
                return
            waiter.throw(StoreError("the database did not answer in time"))
