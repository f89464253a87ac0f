import pytest

from xcluster.loadtest.sightings import Sightings, Verdict, contacts


def test_contacts_are_thirty_ring_neighbours():
    assert len(contacts(0, 100)) == 30
    assert contacts(0, 100) == {*range(1, 16), *range(85, 100)}
    assert contacts(1, 4) == {0, 2, 3}


@pytest.mark.parametrize(
    ("seen", "faults"),
    [
        ([(1, 2), (1, 3), (2, 1)], {}),
        ([(1, 2), (2, 1)], {"missing": 1}),
        ([(1, 2), (1, 3), (1, 3), (1, 3), (2, 1)], {"repeated": 2}),
        ([(1, 2), (1, 3), (2, 1), (2, 9)], {"strange": 1}),
        ([], {"missing": 3}),
    ],
)
def test_each_is_told_of_each_once(seen, faults):
    sightings = Sightings()
    for user, contact in seen:
        sightings.saw(user, contact)
    expected = {1: {2, 3}, 2: {1}}
    verdict = sightings.judge(expected, "available")
    assert {
        name: getattr(verdict, name) for name in ("missing", "repeated", "strange") if getattr(verdict, name)
    } == (faults)
    assert verdict.expected == 3
    assert sightings.complete(expected) == ("missing" not in faults)
    assert sightings.missing(expected) == faults.get("missing", 0)


def test_verdicts_add_up():
    one = Verdict(expected=3, missing=1, examples=["a"])
    one.merge(Verdict(expected=2, repeated=4, examples=["b"]))
    assert (one.expected, one.missing, one.repeated, one.faults, one.examples) == (5, 1, 4, 5, ["a", "b"])
