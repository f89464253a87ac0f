"""Failed log-ins are limited per account and per address, across the cluster (events LoginFailed)."""

from collections.abc import Callable

from xcluster.bus.messages import Delta, LoginFailed, Origin
from xcluster.node.failures import Failures
from xcluster.node.hooks import Feature


class LoginLimits(Feature):
    """Counts what any node announces; node/reception.py asks before each log-in."""

    def __init__(self, failures: Failures, clock: Callable[[], float]) -> None:
        self._failures = failures
        self._clock = clock

    def happened(self, origin: Origin, event: Delta) -> None:
        if isinstance(event, LoginFailed):
            now = self._clock()
            self._failures.add(f"user {event.user}", now)
            self._failures.add(f"address {event.address}", now)
