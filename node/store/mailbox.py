"""Operations, and the mailbox in which their answers come home to the loop (I/O).

A greenlet that calls the store waits here, or a callback; the threads of the engine never touch gevent but
for ringing one async watcher per hub.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import gevent
from gevent.hub import Waiter

from xcluster.node.store.connection import Verb
from xcluster.shared.errors import StoreError

_TURN = 64  # answers given in one turn of the loop
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

    def result(self) -> Any:
        """The answer; raises what the operation raised."""
        if self.error is not None:
            raise self.error
        return self.answer


class Mailbox:
    """The answers for one hub. Other threads may call `post` and nothing else."""

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._answers: deque[Operation] = deque()
        self._waiting: dict[
            Operation, Callable[[], None]
        ] = {}  # what to do when it is answered; oldest first
        self._is_closed = False
        self._bell = self._hub.loop.async_()
        self._bell.start(self._deliver)
        self._clock = self._hub.loop.timer(_LATE_S, _LATE_S)

    def wait(self, operation: Operation) -> Any:
        """Wait for the answer; other greenlets run meanwhile. Raises what the operation raised."""
        if gevent.getcurrent() is self._hub:
            raise RuntimeError("the store was called by a loop callback: use a greenlet, or ask")
        waiter = Waiter(self._hub)
        self.call_back(operation, partial(waiter.switch, None))
        try:
            waiter.get()
        finally:
            self._waiting.pop(operation, None)  # still there when the greenlet was killed
        return operation.result()

    def call_back(self, operation: Operation, action: Callable[[], None]) -> None:
        """Call `action` from the loop when the operation has its answer, or no time left for one."""
        if not self._waiting:
            self._clock.start(self._expire)
        self._waiting[operation] = action

    def post(self, operations: Iterable[Operation]) -> None:
        self._answers.extend(operations)
        self._bell.send()

    def close(self) -> None:
        """Unless somebody still waits for a thread that hangs: they are told when their time is over."""
        if not self._waiting:
            self._is_closed = True
            self._clock.close()
            self._bell.close()

    def _deliver(self) -> None:
        try:
            for _ in range(min(_TURN, len(self._answers))):
                action = self._waiting.pop(self._answers.popleft(), None)
                if action is not None:  # else its greenlet was killed, or told that it was too late
                    action()
        finally:
            if self._answers and not self._is_closed:  # whoever was just answered may have closed it
                self._bell.send()
            self._rest()

    def _expire(self) -> None:
        # A thread answers in time unless it hangs in the database's library; nobody may hang with it.
        now = time.monotonic() - _LATE_S
        for operation, action in list(self._waiting.items()):
            if operation.deadline > now:
                return
            del self._waiting[operation]
            operation.error = StoreError("the database did not answer in time")
            action()
        self._rest()

    def _rest(self) -> None:
        if not self._waiting and not self._is_closed:
            self._clock.stop()
