"""node/trimming.py: when memory is given back."""

import itertools
import logging
import time

import pytest

from xcluster.node import trimming
from xcluster.node.trimming import EVERY_S, MIN_FALL, PATIENCE_S, QUIET_S, Falls, Trimming


class Course:
    """Tells the number of sessions each second; remembers when a trim was due."""

    def __init__(self):
        self.falls = Falls()
        self.now = 1000.0
        self.due = []

    def seconds(self, *counts):
        for count in counts:
            self.now += 1.0
            if self.falls.is_due(count, self.now):
                self.due.append((count, self.now))
        return self.due


@pytest.fixture
def course():
    return Course()


@pytest.mark.parametrize(
    ("highest", "left", "is_due"),
    [
        (19_000, 0, True),
        (19_000, 10_000, True),
        (19_000, 14_500, False),  # less than a quarter
        (3_000, 2_001, False),  # less than a thousand
        (3_000, 1_999, True),
        (900, 0, False),
        (MIN_FALL + 1, 0, True),
    ],
)
def test_a_trim_is_due_when_many_have_left(course, highest, left, is_due):
    course.seconds(highest, *[left] * 20)
    assert [count for count, _ in course.due] == [left] * is_due


def test_it_waits_until_the_leaving_is_over(course):
    course.seconds(10_000, *range(9_000, -1, -1_000))
    assert not course.due
    emptied_at = course.now
    course.seconds(*[0] * 20)
    assert course.due == [(0, emptied_at + QUIET_S)]


def test_who_comes_back_at_once_is_not_trimmed_for(course):
    assert not course.seconds(10_000, 5_000, 5_000, 5_000, 9_500, *[9_500] * 100)


def test_a_leaving_that_never_ends_is_not_waited_for(course):
    course.seconds(19_000)
    began = course.now
    course.seconds(*range(14_000, 14_000 - 10 * 100, -10))
    assert [at - began for _, at in course.due] == [PATIENCE_S + 1]


def test_at_most_one_trim_a_minute(course):
    for _ in range(20):
        course.seconds(5_000, *[0] * 8)
    assert 2 <= len(course.due) <= 4
    times = [at for _, at in course.due]
    assert all(later - earlier >= EVERY_S for earlier, later in itertools.pairwise(times))


def test_what_stays_is_the_new_highest(course):
    course.seconds(10_000, *[5_000] * 100)
    assert len(course.due) == 1
    course.seconds(*[4_500] * 100)
    assert len(course.due) == 1
    course.seconds(*[2_500] * 100)
    assert len(course.due) == 2


def test_trim_is_done_off_the_loop_and_told_in_one_line(monkeypatch, caplog):
    trims = []
    monkeypatch.setattr(trimming.process, "trim", lambda: trims.append(time.monotonic()))
    gone = Trimming()
    with caplog.at_level(logging.INFO):
        for second, sessions in enumerate([5_000, *[0] * 8]):
            gone.second(sessions, 1000.0 + second)
        trimming.gevent.get_hub().threadpool.join()
    assert len(trims) == 1
    [record] = [record for record in caplog.records if record.message == "memory_trimmed"]
    assert record.levelname == "INFO"


def test_nothing_is_done_where_the_library_can_not(monkeypatch):
    monkeypatch.setattr(trimming.process, "can_trim", lambda: False)
    monkeypatch.setattr(trimming, "run_trim", lambda: pytest.fail("trimmed"))
    gone = Trimming()
    for second, sessions in enumerate([5_000, *[0] * 8]):
        gone.second(sessions, 1000.0 + second)
    trimming.gevent.get_hub().threadpool.join()
