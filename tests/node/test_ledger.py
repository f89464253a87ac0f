"""node/ledger.py: what a client has sent, and how much of it is taken care of."""

from xcluster.node.ledger import Ledger
from xcluster.node.parcel import Parcel
from xcluster.node.stream.management import COUNTS
from xcluster.shared.jid import parse


def parcel(since: float = 0.0) -> Parcel:
    return Parcel(1, "a@d/r", parse("b@d"), "message", "chat", b"", b"<message/>", since=since)


def ledger(*waiting: bool) -> Ledger[Parcel]:
    """One stanza for each; True: it is not settled."""
    made: Ledger[Parcel] = Ledger()
    for since, is_open in enumerate(waiting):
        number = made.enter()
        if is_open:
            made.open(number, parcel(float(since)))
    return made


def test_what_waits_for_nobody_is_covered_at_once() -> None:
    client = ledger(False, False)
    assert client.h == 2
    assert client.has_news
    assert client.tell() == 2
    assert not client.has_news


def test_h_stops_before_the_first_that_is_not_settled() -> None:
    client = ledger(False, True, False, True)
    assert client.h == 1
    assert not client.settle(4), "the second still waits"
    assert client.h == 1
    assert client.settle(2)
    assert client.h == 4
    assert not client.settle(2)
    assert len(client) == 0


def test_h_moves_up_to_the_next_that_waits() -> None:
    client = ledger(True, False, True)
    client.tell()
    assert client.settle(1)
    assert (client.h, client.has_news) == (2, True)


def test_count_begins_again_after_the_largest() -> None:
    client: Ledger[Parcel] = Ledger()
    client.received = COUNTS - 1
    client.enter()
    assert client.tell() == 0
    assert not client.has_news


def test_overdue_are_those_that_came_before() -> None:
    client = ledger(True, True, False, True)
    assert [late.since for late in client.overdue(2.0)] == [0.0, 1.0]
    for late in client.overdue(9.0):
        client.settle(int(late.since) + 1)
    assert client.h == 4
