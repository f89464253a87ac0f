"""bus/link.py: numbered, in order, once, acknowledged; whatever happens to frames on the way."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xcluster.bus import wire
from xcluster.bus.link import (
    ACK_DELAY_S,
    ACK_EVERY,
    FRAME_BYTES,
    FRAME_TASKS,
    REORDER,
    RESEND_MAX_S,
    RESEND_S,
    Link,
)
from xcluster.bus.messages import FetchOffline, Frame, Origin, RouteStanza, Task
from xcluster.shared.errors import WireError

A, B = Origin("a", 1), Origin("b", 1)
NOW = 100.0


def task(number: int) -> FetchOffline:
    return FetchOffline([number])


def pair(window: int = 100) -> tuple[Link, Link]:
    return Link(A, B, window), Link(B, A, window)


def sends(link: Link, *numbers: int, now: float = NOW) -> list[Frame]:
    for number in numbers:
        link.send(task(number), f"context {number}")
    return list(link.frames(now, seq=7))


def takes(link: Link, frame: Frame, now: float = NOW) -> list[int]:
    """The tasks that come out, by the number that they carry; the acknowledgement is counted."""
    taken = []
    for number, got in link.received(frame, now):
        assert isinstance(got, FetchOffline)
        assert got.targets == [number]
        taken.append(number)
    link.acknowledged(frame, now)
    return taken


def acknowledgement(link: Link, now: float = NOW) -> Frame:
    """What `link` says when no task of its own goes out."""
    [frame] = link.frames(now + ACK_DELAY_S, seq=0)
    assert frame.count == 0
    return frame


def test_tasks_are_numbered_from_one_and_come_out_in_order() -> None:
    a, b = pair()
    assert [a.send(task(1)), a.send(task(2))] == [1, 2]
    [frame] = a.frames(NOW, seq=7)
    assert (frame.source, frame.target, frame.first, frame.count, frame.seq) == (A, B, 1, 2, 7)
    assert takes(b, frame) == [1, 2]
    assert not list(a.frames(NOW, seq=7))


def test_frame_that_comes_twice_is_taken_once() -> None:
    a, b = pair()
    [frame] = sends(a, 1, 2)
    assert takes(b, frame) == [1, 2]
    assert takes(b, frame) == []


def test_frame_that_overtook_another_is_held_until_that_comes() -> None:
    a, b = pair()
    [first], [second], [third] = sends(a, 1, 2), sends(a, 3), sends(a, 4)
    assert takes(b, third) == []
    assert takes(b, second) == []
    assert takes(b, first) == [1, 2, 3, 4]
    assert takes(b, second) == []


def test_frame_that_overlaps_what_was_taken_gives_only_the_rest() -> None:
    a, b = pair()
    [first] = sends(a, 1, 2)
    takes(b, first)
    sends(a, 3)
    a.resend(NOW)
    [everything] = a.frames(NOW, 0)
    assert (everything.first, everything.count) == (1, 3)
    assert takes(b, everything) == [3]


def test_held_frames_are_bounded_and_resending_brings_the_others() -> None:
    a, b = pair(10_000)
    [missing] = sends(a, 1)
    for number in range(2, REORDER + 5):
        [frame] = sends(a, number)
        assert takes(b, frame) == []
    assert takes(b, missing) == list(range(1, REORDER + 2))
    a.resend(NOW)
    [again] = a.frames(NOW, 0)
    assert takes(b, again) == list(range(REORDER + 2, REORDER + 5))


def test_unknown_task_takes_its_number() -> None:
    _, b = pair()
    items = wire.array([wire.encode(task(1)), b"\x92\x7f\x01", wire.encode(task(3))])
    assert list(b.received(Frame(A, B, 1, 3, items, 0, 0), NOW)) == [(1, task(1)), (2, None), (3, task(3))]


@pytest.mark.parametrize("count", [1, 3])
def test_frame_that_lies_about_its_count_is_refused(count: int) -> None:
    _, b = pair()
    items = wire.array([wire.encode(task(1)), wire.encode(task(2))])
    with pytest.raises(WireError):
        list(b.received(Frame(A, B, 1, count, items, 0, 0), NOW))
    assert b.taken == 0


# acknowledging


def test_acknowledgement_is_cumulative_and_frees_what_was_kept() -> None:
    a, b = pair()
    [frame] = sends(a, 1, 2, 3)
    assert [sent.number for sent in a.unacked] == [1, 2, 3]
    takes(b, frame)
    reply = acknowledgement(b)
    assert reply.ack == 3
    assert a.acknowledged(reply, NOW)
    assert (a.acked, list(a.unacked)) == (3, [])


def test_acknowledgement_rides_on_a_frame_of_tasks() -> None:
    a, b = pair()
    [frame] = sends(a, 1)
    takes(b, frame)
    [reply] = sends(b, 1)
    assert (reply.count, reply.ack) == (1, 1)
    assert not list(b.frames(NOW + 1, 0))  # nothing is left to be said
    takes(a, reply)
    assert a.acked == 1


def test_acknowledgement_waits_for_a_ride_but_not_long_and_not_for_many() -> None:
    a, b = pair()
    [frame] = sends(a, 1)
    takes(b, frame)
    assert b.has_work
    assert not list(b.frames(NOW + ACK_DELAY_S / 2, 0))
    assert [frame.ack for frame in b.frames(NOW + ACK_DELAY_S, 0)] == [1]
    assert not b.has_work
    [many] = sends(a, *range(2, 2 + ACK_EVERY))
    takes(b, many)
    assert [frame.ack for frame in b.frames(NOW, 0)] == [1 + ACK_EVERY]


def test_acknowledgement_of_nothing_new_or_never_sent_is_ignored() -> None:
    a, b = pair()
    [frame] = sends(a, 1, 2)
    takes(b, frame)
    reply = acknowledgement(b)
    assert a.acknowledged(reply, NOW)
    assert not a.acknowledged(reply, NOW)
    assert not a.acknowledged(Frame(B, A, 1, 0, wire.array([]), 3, 0), NOW)
    assert a.acked == 2


def test_acknowledgement_counts_only_when_all_that_was_said_before_has_come() -> None:
    a, b = pair()
    [frame] = sends(a, 1)
    takes(b, frame)
    [undeliverable] = sends(b, 1)
    [second] = sends(a, 2)
    takes(b, second)
    later = acknowledgement(b)
    assert later.ack == 2
    assert takes(a, later) == []
    assert a.acked == 0  # what b said of task 1 is still on its way
    assert a.find(1) is not None
    assert takes(a, undeliverable) == [1]
    assert a.acked == 1
    takes(a, later)
    assert a.acked == 2


def test_context_is_found_until_the_acknowledgement() -> None:
    a, b = pair()
    assert a.find(1) is None
    [frame] = sends(a, 1, 2)
    found = a.find(2)
    assert found is not None and found.context == "context 2"
    assert a.find(0) is None and a.find(3) is None
    takes(b, frame)
    a.acknowledged(acknowledgement(b), NOW)
    assert a.find(2) is None


# sending again


def test_unacknowledged_tasks_are_sent_again_ever_more_slowly() -> None:
    a, _ = pair()
    sends(a, 1, 2)
    now, pauses, last = NOW, [], NOW
    while len(pauses) < 6:
        now += 0.01
        a.tick(now)
        frames = list(a.frames(now, 0))
        if frames:
            assert [(frame.first, frame.count) for frame in frames] == [(1, 2)]
            pauses.append(now - last)
            last = now
    expected = [RESEND_S, RESEND_S * 2, RESEND_S * 4, RESEND_MAX_S, RESEND_MAX_S, RESEND_MAX_S]
    assert pauses == pytest.approx(expected, abs=0.02)
    assert a.resent == 12


def test_acknowledgement_makes_the_link_quick_again() -> None:
    a, b = pair()
    [frame] = sends(a, 1)
    for now in (NOW + 1, NOW + 2, NOW + 3):
        a.tick(now)
        list(a.frames(now, 0))
    takes(b, frame)
    a.acknowledged(acknowledgement(b), NOW + 3)
    sends(a, 2, now=NOW + 3)
    a.tick(NOW + 3 + RESEND_S)
    assert [frame.first for frame in a.frames(NOW + 4, 0)] == [2]


def test_nothing_is_sent_again_when_all_is_acknowledged() -> None:
    a, b = pair()
    [frame] = sends(a, 1)
    takes(b, frame)
    a.acknowledged(acknowledgement(b), NOW)
    a.tick(NOW + 100)
    assert not list(a.frames(NOW + 100, 0))
    assert a.resent == 0


def test_another_bus_gets_everything_once_more_at_once() -> None:
    a, b = pair()
    sends(a, 1)  # lost with the bus
    [second] = sends(a, 2)
    assert takes(b, second) == []
    a.resend(NOW)
    [again] = a.frames(NOW, 0)
    assert takes(b, again) == [1, 2]


def test_acknowledgement_between_resend_and_frames_is_respected() -> None:
    a, b = pair()
    [frame] = sends(a, 1, 2)
    takes(b, frame)
    sends(a, 3)
    a.resend(NOW)
    a.acknowledged(acknowledgement(b), NOW)
    assert [(frame.first, frame.count) for frame in a.frames(NOW, 0)] == [(3, 1)]


# bounds


def test_frames_are_cut_by_tasks() -> None:
    a, b = pair(10_000)
    frames = sends(a, *range(1, 2 * FRAME_TASKS + 2))
    assert [frame.count for frame in frames] == [FRAME_TASKS, FRAME_TASKS, 1]
    assert [number for frame in frames for number in takes(b, frame)] == list(range(1, 2 * FRAME_TASKS + 2))


def test_frames_are_cut_by_bytes_and_a_long_task_goes_alone() -> None:
    def stanza(size: int) -> Task:
        return RouteStanza([1], "", "", "message", b"", b"x" * size)

    a, _ = pair()
    for size in (FRAME_BYTES // 2, FRAME_BYTES // 2, 10, FRAME_BYTES * 2, 10):
        a.send(stanza(size))
    frames = list(a.frames(NOW, 0))
    assert [frame.count for frame in frames] == [1, 2, 1, 1]
    assert sum(len(bytes(frame.items)) > FRAME_BYTES + 100 for frame in frames) == 1


def test_window_is_full_until_acknowledged_and_control_tasks_still_pass() -> None:
    a, b = pair(window=2)
    sends(a, 1)
    assert not a.is_full
    sends(a, 2)
    assert a.is_full
    assert a.send(task(3)) == 3
    a.resend(NOW)
    [frame] = a.frames(NOW, 0)
    takes(b, frame)
    a.acknowledged(acknowledgement(b), NOW)
    assert not a.is_full


def test_cut_hands_back_what_was_held_in_order_and_ends_the_link() -> None:
    a, b = pair()
    [frame] = sends(a, 1)
    takes(b, frame)
    a.acknowledged(acknowledgement(b), NOW)
    sends(a, 2)
    a.send(task(3), "context 3")
    held = a.cut()
    assert [(sent.number, sent.context) for sent in held] == [(2, "context 2"), (3, "context 3")]
    assert a.void
    a.tick(NOW + 100)
    assert not list(a.frames(NOW + 100, 0))
    assert a.cut() == []


# everything at once


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_every_task_comes_out_once_and_in_order_over_any_network(seed: int, count: int) -> None:
    chance = random.Random(seed)
    a, b = pair(10_000)
    taken: dict[str, list[int]] = {"a": [], "b": []}
    flying: list[tuple[float, str, Frame]] = []
    now, sent = NOW, 0
    for _ in range(10_000):
        now += 0.05
        calm = now > NOW + 5
        if sent < count and chance.random() < 0.7:
            sent += 1
            for link in (a, b):
                link.send(task(sent))
        for name, link in (("b", a), ("a", b)):
            link.tick(now)
            for frame in link.frames(now, 0):
                copies = 1 if calm else chance.choice([0, 1, 1, 2])
                flying += [(now + (0 if calm else chance.random()), name, frame) for _ in range(copies)]
        arrived = sorted((f for f in flying if f[0] <= now), key=lambda f: f[0])
        flying = [f for f in flying if f[0] > now]
        for _, name, frame in arrived:
            taken[name] += takes(b if name == "b" else a, frame, now)
        if sent == count and not (a.unacked or b.unacked):
            break
    assert taken == {"a": list(range(1, count + 1)), "b": list(range(1, count + 1))}
