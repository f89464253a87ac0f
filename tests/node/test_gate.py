"""Who may connect: node/transport/listener.py, Gate."""

import pytest

from xcluster.node.transport.listener import Gate


class Clock:
    now = 0.0


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
def test_a_network_has_so_many_connections(one, other, same):
    gate = Gate(Clock(), 100, 2, 0.0, 0)
    assert gate.enter(one)
    assert gate.enter(one)
    assert gate.enter(other) is not same
    gate.leave(one)
    assert gate.enter(other)


def test_connections_are_counted_back_to_nothing():
    gate = Gate(Clock(), 2, 0, 0.0, 0)
    assert [gate.enter(f"192.0.2.{n}") for n in range(3)] == [True, True, False]
    assert gate.is_full
    assert gate.refused == 1
    gate.leave("192.0.2.0")
    assert gate.enter("192.0.2.9")


def test_an_address_has_a_rate_and_a_burst():
    clock = Clock()
    gate = Gate(clock, 1000, 0, 10.0, 5)
    assert [gate.enter("192.0.2.1") for _ in range(7)] == [True] * 5 + [False] * 2
    assert gate.enter("192.0.2.2")
    clock.now += 0.25
    assert [gate.enter("192.0.2.1") for _ in range(4)] == [True, True, False, False]
