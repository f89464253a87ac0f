"""Accepting when no descriptor is left: node/transport/listener.py, Listener."""

import logging
import os
import resource
import socket

import pytest

from tests.node.turns import FakeTurns
from xcluster.node.transport.listener import FULL_PAUSE_S, TELL_S, Gate, Listener


class Watcher:
    """What a loop gives for a descriptor: here the test says when it is readable."""

    def __init__(self):
        self.ready = None

    def io(self, descriptor, events):
        return self

    def start(self, ready):
        self.ready = ready

    def stop(self):
        self.ready = None

    def close(self): ...


@pytest.fixture
def turns():
    return FakeTurns()


@pytest.fixture
def gate(turns):
    return Gate(turns, 100, 0, 0.0, 0)


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture
def accepted():
    sockets = []
    yield sockets
    for sock in sockets:
        sock.close()


@pytest.fixture
def listener(turns, gate, watcher, accepted):
    listener = Listener(
        "c2s.listen", "127.0.0.1:0", 5, gate, turns, watcher, lambda sock, _: accepted.append(sock)
    )
    listener.start()
    yield listener
    listener.close()


@pytest.fixture
def client(listener):
    with socket.create_connection(("127.0.0.1", listener.port)) as sock:
        yield sock


@pytest.fixture
def no_descriptors(client):
    """Nothing can be opened by this process; call it to lift that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fill = []
    highest = max(map(int, os.listdir("/proc/self/fd"))) + 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    try:
        while True:
            fill.append(os.dup(0))
    except OSError:
        pass

    def lift():
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    yield lift
    lift()
    for descriptor in fill:
        os.close(descriptor)


def told(caplog):
    return [record for record in caplog.records if record.message == "accept_paused"]


def test_it_rests_and_the_gate_counts_as_full_until_it_goes_on(
    no_descriptors, turns, gate, watcher, accepted, caplog
):
    with caplog.at_level(logging.WARNING):
        watcher.ready()
    assert (watcher.ready, gate.is_full, accepted) == (None, True, [])
    assert len(told(caplog)) == 1
    [(seconds, go_on)] = turns.timers
    assert seconds == FULL_PAUSE_S
    no_descriptors()
    go_on()
    assert not gate.is_full
    watcher.ready()  # the client has waited in the kernel
    assert len(accepted) == 1 and gate.count == 1


def test_operators_are_told_of_it_once_a_while(no_descriptors, turns, watcher, caplog):
    for now, lines in ((0.0, 1), (1.0, 1), (TELL_S - 1, 1), (TELL_S + 1, 2)):
        turns.now = now
        watcher.ready()
        turns.timers.pop()[1]()
        assert len(told(caplog)) == lines
