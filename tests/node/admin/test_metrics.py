"""node/admin/metrics.py: the same figures for Prometheus."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.node.admin.pair import Pair
from xcluster.bus.messages import Deltas
from xcluster.node.admin.metrics import Figures


def samples(figures: Figures) -> dict[tuple[str, str], float]:
    """(name, node label) -> value, as a scraper reads them."""
    return {
        (sample.name, sample.labels.get("node", "")): sample.value
        for family in text_string_to_metric_families(figures.text().decode())
        for sample in family.samples
    }


@pytest.fixture
def pair() -> Pair:
    return Pair()


def figures(pair: Pair) -> Figures:
    return Figures(pair.a.report.status, lambda: {"inbound": {"message": 7, "errors": 0}})


def test_figures_are_those_of_the_status(pair: Pair) -> None:
    pair.a.bind("alice")
    pair.b.bind("bob")
    pair.run(0.2)
    read = samples(figures(pair))
    assert read["xcluster_ready", ""] == 1.0
    assert read["xcluster_sessions", ""] == 1.0
    assert read["xcluster_users_online", ""] == 2.0
    assert read["xcluster_log_seq", ""] == 1.0
    assert read["xcluster_isolated", ""] == 0.0
    assert read["xcluster_store_healthy", ""] == 1.0
    assert read["xcluster_replica_lag", "b"] == 0.0


def test_every_counter_is_there_once(pair: Pair) -> None:
    read = samples(figures(pair))
    assert read["xcluster_inbound_message_total", ""] == 7.0
    assert read["xcluster_inbound_errors_total", ""] == 0.0
    for name, count in pair.a.report.status()["counters"].items():
        assert read[f"xcluster_node_{name}_total", ""] == count


def test_figures_are_read_anew_each_time(pair: Pair) -> None:
    scraped = figures(pair)
    pair.shuttle.loses = lambda source, to, message: isinstance(message, Deltas)
    pair.b.bind("bob")
    pair.a.is_ready = False
    pair.run(0.6)
    read = samples(scraped)
    assert (read["xcluster_replica_lag", "b"], read["xcluster_ready", ""]) == (1.0, 0.0)


def test_process_tells_of_its_cpu_and_memory(pair: Pair) -> None:
    read = samples(figures(pair))
    assert read["xcluster_cpu_seconds_total", ""] > 0
    assert read["xcluster_memory_peak_bytes", ""] > 1_000_000
    assert ("xcluster_gc_2_collections_total", "") in read
