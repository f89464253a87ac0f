"""node/bucket.py: how long a client that sends too much is not read."""

import pytest

from xcluster.node.bucket import Bucket
from xcluster.shared.config import Limits

LIMITS = Limits(stanzas_per_s=10.0, stanzas_burst=20, bytes_per_s=1000.0, bytes_burst=2000)
NOW = 50.0


def bucket() -> Bucket:
    return Bucket(LIMITS, NOW)


@pytest.mark.parametrize(
    ("size", "stanzas", "pause"),
    [(0, 0, 0.0), (2000, 20, 0.0), (0, 25, 0.5), (2500, 0, 0.5), (3000, 21, 1.0), (2001, 40, 2.0)],
    ids=["nothing", "the whole burst", "stanzas", "bytes", "more bytes", "more stanzas"],
)
def test_pause_is_the_time_until_the_debt_is_paid(size: int, stanzas: int, pause: float) -> None:
    assert bucket().spend(size, stanzas, NOW) == pytest.approx(pause)


def test_debt_is_paid_by_waiting() -> None:
    client = bucket()
    pause = client.spend(0, 30, NOW)
    assert client.spend(0, 0, NOW + pause / 2) == pytest.approx(pause / 2)
    assert client.spend(0, 0, NOW + pause) == 0.0
    assert client.spend(0, 1, NOW + pause) > 0.0


def test_bucket_fills_no_further_than_its_burst() -> None:
    client = bucket()
    assert client.spend(0, 20, NOW + 1000) == 0.0
    assert client.spend(0, 1, NOW + 1000) == pytest.approx(0.1)


def test_sustained_rate_is_never_slowed() -> None:
    client = bucket()
    client.spend(2000, 20, NOW)
    assert all(client.spend(100, 1, NOW + eighth / 8) == 0.0 for eighth in range(1, 100))


def test_rate_of_nothing_is_slow_and_not_an_error() -> None:
    client = Bucket(Limits(stanzas_per_s=0.0, stanzas_burst=0, bytes_per_s=0.0, bytes_burst=0), NOW)
    assert client.spend(10, 1, NOW) == pytest.approx(10.0)
