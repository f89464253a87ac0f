"""node/features/login_limits.py: failures anywhere count everywhere."""

import pytest

from tests.node.features.setting import ME, OTHER, Clock
from xcluster.bus.messages import Invalidated, LoginFailed, Origin
from xcluster.node.failures import Failures
from xcluster.node.features.login_limits import LoginLimits


class At:
    def __init__(self) -> None:
        self.clock = Clock(1000.0)
        self.failures = Failures(2, 60.0)
        self.limits = LoginLimits(self.failures, self.clock)

    def fails(self, origin: Origin, user: str, address: str) -> None:
        self.limits.happened(origin, LoginFailed(user, address))

    def is_over(self, key: str) -> bool:
        return self.failures.is_over(key, self.clock.now)


@pytest.fixture
def at() -> At:
    return At()


def test_failures_here_and_elsewhere_add_up(at: At) -> None:
    at.fails(ME, "alice", "192.0.2.1")
    assert not at.is_over("user alice")
    at.fails(OTHER, "alice", "192.0.2.2")
    assert at.is_over("user alice")
    assert not at.is_over("address 192.0.2.1")


def test_address_is_over_whatever_accounts_it_tries(at: At) -> None:
    at.fails(ME, "alice", "192.0.2.1")
    at.fails(OTHER, "bob", "192.0.2.1")
    assert at.is_over("address 192.0.2.1")
    assert not at.is_over("user alice") and not at.is_over("user bob")


def test_user_who_is_named_like_an_address_is_no_address(at: At) -> None:
    for address in ("192.0.2.7", "192.0.2.8"):
        at.fails(ME, "192.0.2.1", address)
    assert at.is_over("user 192.0.2.1")
    assert not at.is_over("address 192.0.2.1")


def test_failures_are_forgotten_after_the_window(at: At) -> None:
    at.fails(ME, "alice", "192.0.2.1")
    at.fails(ME, "alice", "192.0.2.1")
    at.clock.now += 61
    assert not at.is_over("user alice")


def test_other_events_are_no_failures(at: At) -> None:
    for _ in range(5):
        at.limits.happened(OTHER, Invalidated("vcard", "alice"))
    assert not at.is_over("user alice")
