"""An observer on a bus: when did each node's heartbeats come?"""

import itertools
import threading
import time
from types import TracebackType
from typing import Self

import zmq

from xcluster.bus import wire
from xcluster.bus.messages import Heartbeat
from xcluster.bus.sockets import endpoints


class Beats:
    """Subscribes to what nodes publish, in a thread; use it as a context manager."""

    def __init__(self, bus: str) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.SUBSCRIBE, b"")
        self._socket.setsockopt(zmq.RCVTIMEO, 200)
        self._socket.connect(endpoints(bus).subscribe)
        self._ending = False
        self._thread = threading.Thread(target=self.run_observer, daemon=True)
        self.times: dict[str, list[float]] = {}  # node -> when its heartbeats came

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        self._thread.join(5.0)
        self._socket.close(0)
        self._context.term()

    def run_observer(self) -> None:
        while not self._ending:
            try:
                message = wire.published(self._socket.recv_multipart()[-1])
            except zmq.Again:
                continue
            if isinstance(message, Heartbeat):
                self.times.setdefault(message.origin.name, []).append(time.monotonic())

    def gaps(self, since: float, until: float) -> dict[str, float]:
        """The longest time between two heartbeats of each node within a span."""
        result = {}
        for node, times in list(self.times.items()):
            inside = [since, *(at for at in times if since <= at <= until), until]
            result[node] = max(later - earlier for earlier, later in itertools.pairwise(inside))
        return result
