"""node/identity.py: what a message is known by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xcluster.bus.messages import Origin
from xcluster.node.identity import is_before, make, prefix, text

ONE, OTHER = prefix(Origin("n1", 5)), prefix(Origin("n2", 5))
NUMBERS = st.integers(0, 2**64 - 1)


@given(NUMBERS, NUMBERS)
def test_identities_of_one_origin_tell_which_came_first(a: int, b: int) -> None:
    assert is_before(make(ONE, a), make(ONE, b)) == (a < b)
    assert (make(ONE, a) == make(ONE, b)) == (a == b)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (make(ONE, 1), make(OTHER, 2)),
        (make(OTHER, 1), make(ONE, 2)),
        (make(ONE, 1), make(prefix(Origin("n1", 6)), 2)),
        (make(ONE, 1), make(prefix(Origin("n1", 55)), 2)),
        (b"", make(ONE, 1)),
        (make(ONE, 1), b""),
        (b"", b""),
    ],
)
def test_identities_of_different_origins_tell_nothing(one: bytes, other: bytes) -> None:
    assert not is_before(one, other)


def test_text_is_readable_and_unique() -> None:
    assert text(make(ONE, 1)) == "n1/5/1"
    assert text(make(ONE, 2**40)) == f"n1/5/{2**40}"
