import pytest

from xcluster.loadtest.histogram import Histogram


def test_percentiles_are_right_within_two_percent():
    histogram = Histogram()
    for milliseconds in range(1, 1001):
        histogram.add(milliseconds / 1000)
    assert histogram.percentile(0.5) == pytest.approx(0.5, rel=0.02)
    assert histogram.percentile(0.99) == pytest.approx(0.99, rel=0.02)
    assert histogram.percentile(1.0) == pytest.approx(1.0, rel=0.02)


def test_nothing_added_has_no_percentile():
    assert Histogram().percentile(0.5) is None


def test_percentile_never_exceeds_the_longest():
    histogram = Histogram()
    histogram.add(0.0123)
    assert histogram.percentile(0.99) <= 0.0123


def test_merged_is_as_if_added_to_one():
    one, two, both = Histogram(), Histogram(), Histogram()
    for number, seconds in enumerate([0.001, 0.5, 0.02, 0.0, 3.0]):
        (one if number % 2 else two).add(seconds)
        both.add(seconds)
    one.merge(two)
    assert (one.buckets, one.count, one.longest_s) == (both.buckets, both.count, both.longest_s)
