"""Writing later: what nobody waits for goes with the next urgent bytes, in order, or after a moment."""

import socket
from collections.abc import Iterator

import pytest
from gevent.hub import get_hub

from tests.node.turns import FakeTurns
from xcluster.node.transport.outbox import Outbox
from xcluster.node.transport.tcp import Connection


class Pair:
    """A connection and the client's end of it."""

    def __init__(self, turns: FakeTurns, outbox: Outbox, limit: int = 1000) -> None:
        self.client, here = socket.socketpair()
        self.client.setblocking(False)
        here.setblocking(False)
        self.connection = Connection(here, "192.0.2.1", turns, outbox, get_hub().loop, limit)  # type: ignore[arg-type]

    def read(self) -> bytes:
        try:
            return self.client.recv(65_536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        self.connection.abort("over")
        self.client.close()


@pytest.fixture
def turns() -> FakeTurns:
    return FakeTurns()


@pytest.fixture
def outbox(turns: FakeTurns) -> Outbox:
    return Outbox(turns, 0.1)  # type: ignore[arg-type]


@pytest.fixture
def pair(turns: FakeTurns, outbox: Outbox) -> Iterator[Pair]:
    pair = Pair(turns, outbox)
    yield pair
    pair.close()


def test_urgent_bytes_take_along_what_waits(turns: FakeTurns, pair: Pair) -> None:
    pair.connection.write_later(b"presence")
    turns.end()
    assert pair.read() == b""
    pair.connection.write(b"message")
    turns.end()
    assert pair.read() == b"presencemessage"


def test_what_waits_goes_after_the_delay_in_one_piece(turns: FakeTurns, pair: Pair) -> None:
    pair.connection.write_later(b"one")
    pair.connection.write_later(b"two")
    assert turns.ring() == 0.1
    assert (pair.read(), turns.timers) == (b"onetwo", [])
    pair.connection.write_later(b"three")
    turns.ring()
    assert pair.read() == b"three"


def test_what_came_after_an_urgent_write_waits_no_longer_than_the_first(turns: FakeTurns, pair: Pair) -> None:
    pair.connection.write_later(b"one")
    pair.connection.write(b"two")
    turns.end()
    pair.connection.write_later(b"three")
    turns.ring()
    assert (pair.read(), turns.timers) == (b"onetwothree", [])


def test_many_that_wait_are_written_a_part_a_turn(turns: FakeTurns, outbox: Outbox) -> None:
    pairs = [Pair(turns, outbox) for _ in range(300)]
    for pair in pairs:
        pair.connection.write_later(b"news")
    turns.ring()
    assert sum(pair.read() == b"news" for pair in pairs) == 256
    assert turns.ring() == 0.0
    assert sum(pair.read() == b"news" for pair in pairs) == 300 - 256
    assert not turns.timers
    for pair in pairs:
        pair.close()


def test_closing_writes_what_waits(pair: Pair) -> None:
    pair.connection.write_later(b"last")
    pair.connection.close("over", is_mutual=True)
    assert pair.read() == b"last"


def test_what_waits_counts_against_the_limit(turns: FakeTurns, pair: Pair) -> None:
    while not pair.connection.closing:
        pair.connection.write_later(b"x" * 500)
    turns.end()
    assert pair.connection.is_closed


def test_a_turn_that_has_more_than_may_wait_cuts_nobody_who_reads(turns: FakeTurns, pair: Pair) -> None:
    for number in range(50):
        pair.connection.write(b"%02d" % number * 50)  # 5,000 bytes; 1,000 may wait
    turns.end()
    assert not pair.connection.closing
    assert pair.read() == b"".join(b"%02d" % number * 50 for number in range(50))


def test_who_leaves_more_than_may_wait_is_cut_when_the_turn_is_over(turns: FakeTurns, pair: Pair) -> None:
    taken = 0
    while not pair.connection.closing:
        pair.connection.write(b"x" * 500)
        taken += 500
    assert pair.connection.closing == "does not read"
    assert not pair.connection.is_closed  # whoever writes is half-way through something
    turns.end()
    assert pair.connection.is_closed
    came = 0
    while data := pair.read():
        came += len(data)
    assert 0 < taken - came <= 2000  # what the kernel did not take: the limit, and the last writes


def test_a_peer_that_is_gone_ends_the_connection_later_too(turns: FakeTurns, pair: Pair) -> None:
    pair.client.close()
    for _ in range(20):
        pair.connection.write(b"x" * 100)
    assert (pair.connection.closing, pair.connection.is_closed) == ("epipe", False)
    turns.end()
    assert pair.connection.is_closed
