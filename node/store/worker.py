"""A thread with a database connection: takes what is queued together, does it, answers (I/O).

The one writer does a batch in one transaction (group commit). Readers need none: a question that must see one
moment is one statement, and each statement more would hand Python's lock to the loop and want it back.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from xcluster.node.store.connection import Connection, Fault
from xcluster.node.store.mailbox import Operation
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

_WORK_S = 0.02  # a transaction takes in no more operations after this long
_MAX_PAUSE_S = 5.0
_STUCK_S = 5.0  # a database that takes longer than this does not work for us
_BUSY_PAUSE_S = 0.02  # times 0.5 to 1.5


class Worker:
    """One thread and its connection. The queue has groups of operations; `None` ends it."""

    def __init__(
        self,
        name: str,
        queue: "SimpleQueue[list[Operation] | None]",
        connect: Callable[[], Connection],
        errors: tuple[type[Exception], ...],
        *,
        writes: bool,
        max_batch: int,
        retry_s: float,
    ) -> None:
        self.healthy = True
        self.transactions = 0
        self.operations = 0
        self.retries = 0
        self._queue = queue
        self._connect = connect
        # What a database raises; `connect` raises StoreError.
        self._errors: tuple[type[Exception], ...] = (StoreError, *errors)
        self._connection: Connection | None = None
        self._writes = writes
        self._max_batch = max_batch
        self._retry_s = retry_s
        self._pause_s = retry_s
        self._busy_since = 0.0  # when the batch in hand was begun; 0: there is none
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self.run_worker, name=f"store-{name}", daemon=True)

    def start(self, connection: Connection | None = None) -> None:
        self._connection = connection
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end: after what is queued, and without further attempts to connect."""
        self._closing.set()
        self._queue.put(None)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def stuck(self) -> bool:
        """Whether the database has left us without an answer for long."""
        since = self._busy_since
        return since > 0 and time.monotonic() - since > _STUCK_S

    def run_worker(self) -> None:
        process = os.getpid()
        while True:
            batch = self._take()
            if not batch:
                break
            self._busy_since = time.monotonic()
            self.run_batch(batch)
            self._busy_since = 0.0
        if self._connection is not None and os.getpid() == process:
            self._connection.close()

    def run_batch(self, batch: list[Operation]) -> None:
        """Do a batch; when one of its operations is bad, each by itself, so that only that one fails."""
        while batch:
            try:
                batch = self._transact(batch)
            except Exception as error:
                # Whatever a verb, or a RosterChange in it, raised: the caller's, not the thread's.
                self._roll_back()
                if len(batch) == 1:
                    batch[0].error = error
                    self._answer(batch)
                    return
                for operation in batch:
                    self.run_batch([operation])
                return

    def _take(self) -> list[Operation]:
        """What is queued, at most one batch; [] is the end."""
        first = self._queue.get()
        if first is None:
            return []
        batch = list(first)
        rows = sum(operation.rows for operation in batch)
        while rows < self._max_batch:
            try:
                more = self._queue.get_nowait()
            except Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            batch += more
            rows += sum(operation.rows for operation in more)
        return batch

    def _transact(self, batch: list[Operation]) -> list[Operation]:
        """One transaction, tried until it is committed; returns what did not fit in.

        Raises what a bad operation raised.
        """
        while batch := self._in_time(batch):
            ticket = ""
            committing = False
            connection = self._connection
            try:
                if connection is None:
                    connection = self._connection = self._connect()
                if self._writes:
                    ticket = connection.begin()
                done = self._run(connection, batch)
                if self._writes:
                    committing = True
                    connection.commit()
            except self._errors as error:
                fault: Fault = "lost" if connection is None else connection.fault(error)
                if fault == "bad":
                    raise
                self.retries += 1
                self._roll_back()
                if fault == "busy":
                    self._closing.wait(_BUSY_PAUSE_S * (0.5 + random.random()))
                    continue
                self._lose(error)
                if not (committing and ticket and self._was_committed(ticket, batch)):
                    continue
            if not self.healthy:
                log.info("store_back", extra=kv(worker=self._thread.name))
            self.healthy = True
            self._pause_s = self._retry_s
            self.transactions += 1
            self.operations += len(done)
            self._answer(done)
            return batch[len(done) :]
        return []

    def _run(self, connection: Connection, batch: list[Operation]) -> list[Operation]:
        """Run the verbs, like ones together; returns the operations that were done.

        Calls that wait at once have no order among themselves, so a merged verb may overtake others.
        """
        groups: list[list[Operation]] = []
        merged: dict[str, list[Operation]] = {}
        for operation in batch:
            if not operation.verb.merges:
                groups.append([operation])
            elif operation.verb.name in merged:
                merged[operation.verb.name].append(operation)
            else:
                merged[operation.verb.name] = [operation]
                groups.append(merged[operation.verb.name])
        users = {
            user
            for operation in batch
            if operation.verb.users is not None
            for user in operation.verb.users(connection, operation.call)
        }
        if users:
            connection.lock_accounts(users)
        done: list[Operation] = []
        end = time.monotonic() + _WORK_S
        for group in groups:
            answers = group[0].verb.run(connection, [operation.call for operation in group])
            for operation, answer in zip(group, answers, strict=True):
                operation.error = answer if isinstance(answer, StanzaError) else None
                operation.answer = answer
            done.extend(group)
            if time.monotonic() > end:
                break
        left = set(batch).difference(done)
        batch[:] = done + [operation for operation in batch if operation in left]
        return done

    def _in_time(self, batch: list[Operation]) -> list[Operation]:
        """Those whose callers still wait; the others are told."""
        now = time.monotonic()
        closing = self._closing.is_set() and not self.healthy
        late = [operation for operation in batch if operation.deadline <= now or closing]
        if not late:
            return batch
        for operation in late:
            operation.error = StoreError("the database could not do it in time")
        self.healthy = False
        self._answer(late)
        return [operation for operation in batch if operation not in late]

    def _was_committed(self, ticket: str, batch: list[Operation]) -> bool:
        """The connection was lost in the commit: ask the database what became of it, once it is back."""
        while any(operation.deadline > time.monotonic() for operation in batch):
            try:
                if self._connection is None:
                    self._connection = self._connect()
                return self._connection.committed(ticket)
            except self._errors as error:
                self._lose(error)
            if self._closing.is_set():
                break
        return False

    def _lose(self, error: Exception) -> None:
        """Give up the connection, and pause before the next attempt."""
        if self.healthy:
            log.warning("store_lost", extra=kv(worker=self._thread.name, error=error))
        self.healthy = False
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._closing.wait(self._pause_s)
        self._pause_s = min(self._pause_s * 2, _MAX_PAUSE_S)

    def _roll_back(self) -> None:
        if self._connection is not None:
            self._connection.rollback()

    def _answer(self, operations: list[Operation]) -> None:
        for mailbox in {operation.mailbox for operation in operations}:
            mailbox.post(operation for operation in operations if operation.mailbox is mailbox)
