"""PLAIN passwords: derived in threads, called back, remembered, refused when too many wait."""

import threading
from collections.abc import Callable

import gevent
import pytest
from gevent.hub import get_hub

from xcluster.node.passwords import Passwords
from xcluster.node.pool import Pool
from xcluster.node.stream import scram
from xcluster.shared.errors import AuthError

KEY = scram.derive("secret", b"salt of sixteen.", 16, "sha256")


class Answers:
    """What was called back, in order."""

    def __init__(self) -> None:
        self.came: list[object] = []

    def __call__(self, answer: Callable[[], object]) -> None:
        assert gevent.getcurrent() is get_hub(), "called back from the loop"
        try:
            self.came.append(answer())
        except Exception as error:
            self.came.append(error)

    def wait(self, count: int) -> list[object]:
        with gevent.Timeout(5.0):
            while len(self.came) < count:
                gevent.sleep(0.001)
        return self.came


@pytest.mark.parametrize(
    ("password", "hash_name", "right"),
    [
        ("secret", "sha256", True),
        ("Secret", "sha256", False),
        ("", "sha256", False),
        ("secret", "sha1", False),
    ],
)
def test_a_password_is_right_or_not(password: str, hash_name: str, right: bool) -> None:
    answers = Answers()
    passwords = Passwords(1, 8, 8)
    passwords.check("juliet", password, KEY, hash_name, answers)
    assert answers.wait(1) == [right]
    assert passwords.known("juliet", password, KEY) is right


def test_what_is_known_is_the_password_of_that_user_and_that_key() -> None:
    passwords = Passwords(1, 8, 8)
    answers = Answers()
    passwords.check("juliet", "secret", KEY, "sha256", answers)
    answers.wait(1)
    other = scram.derive("secret", b"another salt now", 16, "sha256")
    assert not passwords.known("romeo", "secret", KEY)
    assert not passwords.known("juliet", "secret", other)


def test_the_oldest_is_forgotten() -> None:
    passwords = Passwords(1, 8, 2)
    answers = Answers()
    for user in ("juliet", "romeo", "nurse"):
        passwords.check(user, "secret", KEY, "sha256", answers)
    answers.wait(3)
    assert [passwords.known(user, "secret", KEY) for user in ("juliet", "romeo", "nurse")] == [
        False,
        True,
        True,
    ]


def test_beyond_the_queue_log_ins_are_refused_at_once() -> None:
    passwords = Passwords(1, 2, 8)
    slow = scram.derive("secret", b"salt of sixteen.", 20_000, "sha256")
    answers = Answers()
    refused: list[AuthError] = []

    def catch(answer: Callable[[], bool]) -> None:
        with pytest.raises(AuthError) as caught:
            answer()
        refused.append(caught.value)

    for _ in range(2):
        passwords.check("juliet", "secret", slow, "sha256", answers)
    passwords.check("juliet", "secret", slow, "sha256", catch)
    assert [error.condition for error in refused] == ["temporary-auth-failure"]
    assert answers.wait(2) == [True, True]
    passwords.check("juliet", "secret", slow, "sha256", answers)
    assert answers.wait(3)[2] is True


def test_a_new_key_is_derived_while_the_greenlet_waits() -> None:
    passwords = Passwords(1, 8, 8)
    assert passwords.derive("secret", KEY.salt, KEY.iterations, "sha256") == KEY
    with pytest.raises(ValueError):
        passwords.derive("", KEY.salt, KEY.iterations, "sha256")


def test_work_that_fails_and_a_caller_that_fails_leave_the_others_theirs() -> None:
    pool = Pool(1)
    answers = Answers()
    held = threading.Event()

    def fail() -> None:
        raise KeyError("work")

    def stumble(answer: Callable[[], object]) -> None:
        raise RuntimeError("whoever asked")

    hub_errors: list[object] = []
    hub = get_hub()
    before = hub.handle_error
    hub.handle_error = lambda context, kind, value, trace: hub_errors.append(value)
    try:
        pool.do(lambda: held.wait(5.0), answers)  # the rest collects behind it
        pool.do(fail, answers)
        pool.do(lambda: 1, stumble)
        pool.do(lambda: 2, answers)
        held.set()
        came = answers.wait(3)
    finally:
        hub.handle_error = before
    assert came[0] is True and came[2] == 2
    assert isinstance(came[1], KeyError)
    assert [type(error) for error in hub_errors] == [RuntimeError]
