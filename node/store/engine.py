"""The threads of one store in one process: one writer, some readers, bounded queues (I/O).

A call may come from any greenlet of any thread; it waits in the mailbox of its own hub, or is called back by
it (`ask`). Nothing of the database ever runs on the hub. The threads are native ones: nothing here needs
gevent's monkey patching.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

import gevent

from xcluster.node.store import schema
from xcluster.node.store.connection import Connection, Verb
from xcluster.node.store.gather import Gatherer
from xcluster.node.store.mailbox import Mailbox, Operation
from xcluster.node.store.protocol import Then
from xcluster.node.store.worker import Worker
from xcluster.shared.config import Store as Settings
from xcluster.shared.errors import StoreError

_JOIN_S = 0.02
T = TypeVar("T")


class Engine:
    """Runs verbs in threads. `connect` gets whether the connection is only for reading."""

    def __init__(
        self,
        connect: Callable[[bool], Connection],
        errors: tuple[type[Exception], ...],
        readers: int,
        settings: Settings,
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._writes: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._reads: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._local = threading.local()
        self._process = 0  # 0: not open
        batch, retry_s = settings.max_batch, settings.retry_s
        self.writer = Worker(
            "writer", self._writes, lambda: connect(False), errors,
            writes=True, max_batch=batch, retry_s=retry_s,
        )  # fmt: skip
        self.readers = [
            Worker(
                f"reader-{number}", self._reads, lambda: connect(True), errors,
                writes=False, max_batch=batch, retry_s=retry_s,
            )
            for number in range(1, readers + 1)
        ]  # fmt: skip

    def open(self) -> None:
        """Connect, migrate, start the threads. Raises StoreError, ConfigError."""
        if self._process == os.getpid():
            return
        connection = self._connect(False)
        try:
            schema.upgrade(connection)
        except Exception:
            connection.close()
            raise
        self._process = os.getpid()
        self.writer.start(connection)
        for reader in self.readers:
            reader.start()

    def close(self) -> None:
        """Let the threads finish what is queued, within timeout_s; in a fork this does nothing."""
        if self._process != os.getpid():
            return
        self._process = 0
        workers = [self.writer, *self.readers]
        for worker in workers:
            worker.stop()
        end = time.monotonic() + self._settings.timeout_s
        while any(worker.alive for worker in workers) and time.monotonic() < end:
            gevent.sleep(_JOIN_S)  # others are still waiting for their answers in this hub
        mailbox: Mailbox | None = getattr(self._local, "mailbox", None)
        if mailbox is not None:
            mailbox.close()  # those of other threads belong to their hubs, and go with them
            self._local.gatherer.close()

    @property
    def healthy(self) -> bool:
        return all(worker.healthy and not worker.stuck for worker in (self.writer, *self.readers))

    def write(self, verb: Verb[T], *call: Any, rows: int = 1) -> T:
        return self._do(self._writes, verb, call, rows)

    def read(self, verb: Verb[T], *call: Any) -> T:
        return self._do(self._reads, verb, call, 1)

    def ask(self, verb: Verb[T], *call: Any, then: Then[T]) -> None:
        """Read, together with what others ask for; `then` is called back from the loop, or at once when
        it can't be asked."""
        try:
            operation = self._operation(verb, call, 1)
            self._local.gatherer.add(operation)
        except StoreError as error:
            then(partial(_fail, error))
        else:
            operation.mailbox.call_back(operation, partial(then, operation.result))

    def _do(self, queue: "SimpleQueue[list[Operation] | None]", verb: Verb[T], call: Any, rows: int) -> T:
        operation = self._operation(verb, call, rows)
        if queue.qsize() >= self._settings.queue:
            raise StoreError("too many operations are waiting for the store")
        queue.put([operation])
        answer: T = operation.mailbox.wait(operation)
        return answer

    def _operation(self, verb: Verb[Any], call: Any, rows: int) -> Operation:
        if self._process != os.getpid():
            raise StoreError("the store is not open in this process")
        mailbox = getattr(self._local, "mailbox", None)
        if mailbox is None:
            mailbox = self._local.mailbox = Mailbox()
            self._local.gatherer = Gatherer(self._reads, self._settings.queue)
        return Operation(verb, call, rows, time.monotonic() + self._settings.timeout_s, mailbox)


def _fail(error: StoreError) -> Any:
    raise error
