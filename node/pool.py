"""(I/O) Threads for work that takes long and needs nothing of ours: what they found is called back from the loop.

No greenlet waits meanwhile, and nothing is made for one piece of work but its place in a queue.
"""

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from gevent.hub import get_hub

from xcluster.node.store.protocol import Then

T = TypeVar("T")


class Pool:
    """So many threads, for the hub that made it; whoever gives them work keeps the queue within bounds."""

    def __init__(self, threads: int) -> None:
        self._work: SimpleQueue[tuple[Callable[[], Any], Then[Any]]] = SimpleQueue()
        self._done: deque[Callable[[], None]] = deque()
        self._bell = get_hub().loop.async_()
        self._bell.start(self._deliver)
        for number in range(1, threads + 1):
            threading.Thread(target=self.run_worker, name=f"pool-{number}", daemon=True).start()

    def do(self, work: Callable[[], T], then: Then[T]) -> None:
        """Run `work` in a thread; what it raised is raised by the answer that `then` is called with, in the loop."""
        self._work.put((work, then))

    def run_worker(self) -> None:
        """One thread; it ends with the process."""
        while True:
            work, then = self._work.get()
            try:
                answer = partial(_same, work())
            except Exception as error:  # of whoever gave the work, who is told
                answer = partial(_fail, error)
            self._done.append(partial(then, answer))
            self._bell.send()

    def _deliver(self) -> None:
        try:
            for _ in range(len(self._done)):
                self._done.popleft()()
        finally:
            if self._done:  # more has come, or one of them has failed
                self._bell.send()


def _same(value: T) -> T:
    return value


def _fail(error: Exception) -> Any:
    raise error
