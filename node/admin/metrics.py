"""A node's figures in the format that Prometheus scrapes."""

import gc
import resource
from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector


class Figures(Collector):
    """Reads status and counters when asked; nothing is counted twice."""

    def __init__(
        self, status: Callable[[], dict[str, Any]], counters: Callable[[], dict[str, dict[str, int]]]
    ) -> None:
        self._status = status
        self._counters = counters
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        status = self._status()
        yield _gauge("ready", "1 when clients are let in", status["ready"])
        yield _gauge("sessions", "bound sessions of this node", status["sessions"])
        yield _gauge("users_online", "bare JIDs with a session anywhere", status["users_online"])
        yield _gauge(
            "store_healthy", "1 when the last operation reached the database", status["store"]["healthy"]
        )
        yield _gauge("isolated", "1 when no bus answers", status["isolated"])
        yield _gauge("lanes_parked", "lanes that wait for state to arrive", status["early"]["parked"])
        yield _gauge("log_seq", "position of this node's own log", status["seq"])
        lag = GaugeMetricFamily("xcluster_replica_lag", "deltas known of and not applied", labels=["node"])
        for member in status["members"]:
            lag.add_metric([member["name"]], member["lag"])
        yield lag
        for group, counts in {"node": status["counters"], **self._counters()}.items():
            for name, count in counts.items():
                yield CounterMetricFamily(f"xcluster_{group}_{name}", f"{group}: {name}", value=count)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(
            "xcluster_cpu_seconds", "user and system time", value=usage.ru_utime + usage.ru_stime
        )
        yield _gauge("memory_peak_bytes", "largest resident set", usage.ru_maxrss * 1024)
        for generation, stats in enumerate(gc.get_stats()):
            yield CounterMetricFamily(f"xcluster_gc_{generation}_collections", "", value=stats["collections"])


def _gauge(name: str, help: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"xcluster_{name}", help, value=float(value))
