"""node/noise.py: no byte is given out twice."""

from xcluster.node.noise import PAGE, Noise


def test_bytes_are_as_many_as_asked_for_and_never_the_same() -> None:
    noise = Noise()
    ids = [noise(12) for _ in range(3 * PAGE // 12)]
    assert {len(one) for one in ids} == {12}
    assert len(set(ids)) == len(ids)


def test_page_that_has_too_little_left_is_left() -> None:
    noise = Noise()
    first = noise(PAGE - 1)
    assert (len(first), len(noise(PAGE))) == (PAGE - 1, PAGE)
