"""node/backlog.py: what a client was sent and has not acknowledged."""

from collections.abc import Iterable

import pytest

from xcluster.node.backlog import ASK_AFTER_S, ASK_EVERY, Backlog, HandledTooHigh, Unacknowledged
from xcluster.node.stream.management import COUNTS

NOW = 50.0


def backlog(stanzas: int = 0, acked: int = 0, identity: bytes = b"") -> Backlog:
    made = Backlog(1000, 1_000_000, acked)
    for number in range(stanzas):
        made.add(stanza(b"<message>%d</message>" % number, identity))
    return made


def stanza(raw: bytes, identity: bytes = b"") -> Unacknowledged:
    return Unacknowledged(raw, identity, NOW)


def message(identity: bytes) -> Unacknowledged:
    return stanza(b"<message/>", identity)


def presence() -> Unacknowledged:
    return stanza(b"<presence/>")


def raws(stanzas: Iterable[Unacknowledged]) -> list[bytes]:
    return [each.raw for each in stanzas]


def test_acknowledged_ones_go_and_the_others_stay_in_order() -> None:
    client = backlog(3)
    assert client.sent == 3
    assert raws(client.acknowledged(2)) == [b"<message>0</message>", b"<message>1</message>"]
    assert raws(client) == [b"<message>2</message>"]
    assert (client.acked, client.sent, client.size) == (2, 3, 20)
    assert client.acknowledged(2) == []


def test_counts_begin_again_after_the_largest() -> None:
    client = backlog(3, acked=COUNTS - 2)
    assert client.sent == 1
    assert len(client.acknowledged(0)) == 2
    assert len(client.acknowledged(1)) == 1
    assert client.sent == 1


@pytest.mark.parametrize("acked", [0, COUNTS - 2])
def test_more_than_was_sent_can_not_be_acknowledged(acked: int) -> None:
    client = backlog(3, acked)
    with pytest.raises(HandledTooHigh) as caught:
        client.acknowledged((acked + 4) % COUNTS)
    assert (caught.value.h, caught.value.sent) == ((acked + 4) % COUNTS, (acked + 3) % COUNTS)
    assert len(client) == 3


@pytest.mark.parametrize("acked", [5, 1])
def test_count_that_goes_back_is_old_news(acked: int) -> None:
    client = backlog(3, acked)
    assert client.acknowledged((acked - 2) % COUNTS) == []
    assert (len(client), client.acked) == (3, acked)


def test_message_is_asked_for_at_once_and_one_request_is_under_way() -> None:
    client = backlog()
    assert client.add(message(b"1"))
    assert client.asked_at == NOW
    assert not client.add(message(b"2"))
    assert not client.ask(NOW + 100)
    client.acknowledged(1)
    assert client.ask(NOW + 1), "for the one that came in between"
    client.acknowledged(2)
    assert not client.ask(NOW + 100), "nothing waits"


def test_what_may_be_lost_is_asked_for_in_groups() -> None:
    client = backlog()
    asked = [client.add(presence()) for _ in range(ASK_EVERY)]
    assert asked == [False] * (ASK_EVERY - 1) + [True]
    client.acknowledged(ASK_EVERY)
    assert not client.add(presence())
    assert not client.ask(NOW + ASK_AFTER_S - 0.1)
    assert client.ask(NOW + ASK_AFTER_S)


def test_client_that_acknowledges_less_than_it_was_asked_for_is_not_asked_on_and_on() -> None:
    client = backlog()
    client.add(message(b"1"))
    client.acknowledged(0)
    assert not client.ask(NOW)
    assert not client.ask(NOW + ASK_AFTER_S / 2)
    assert client.ask(NOW + ASK_AFTER_S)


def test_new_connection_is_asked_for_the_messages_that_it_is_sent_again() -> None:
    client = backlog()
    client.add(message(b"1"))
    client.add(presence())
    assert [done.identity for done in client.resumed(1)] == [b"1"]
    assert client.asked_at is None
    assert not client.ask(NOW), "a presence can wait"
    client.add(message(b"2"))
    assert client.resumed(1) == []
    assert raws(client) == [b"<presence/>", b"<message/>"]
    assert client.ask(NOW)


def test_resuming_with_too_high_a_count_is_no_better() -> None:
    with pytest.raises(HandledTooHigh):
        backlog(3).resumed(4)


@pytest.mark.parametrize(("stanzas", "size"), [(2, 1_000), (1_000, 40)])
def test_bounds_are_in_stanzas_and_in_bytes(stanzas: int, size: int) -> None:
    client = Backlog(stanzas, size)
    for number in range(2):
        client.add(stanza(b"<message>%d</message>" % number))
    assert not client.is_overfull
    client.add(stanza(b"<iq/>"))
    assert client.is_overfull
    client.acknowledged(1)
    assert not client.is_overfull


def test_what_is_left_is_given_up_in_order() -> None:
    client = backlog(3, identity=b"1")
    client.acknowledged(1)
    assert raws(client.give_up()) == [b"<message>1</message>", b"<message>2</message>"]
    assert (len(client), client.size) == (0, 0)
