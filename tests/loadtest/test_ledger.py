import pytest

from xcluster.loadtest.ledger import Ledger, Tally, parse

ALICE, BOB = "alice@x/1", "bob@x"


def counts(ledger):
    tally = ledger.tally
    return {
        name: getattr(tally, name)
        for name in ("lost", "doubled", "misrouted", "reordered", "corrupt", "returned")
        if getattr(tally, name)
    }


def written(ledger, count, sender=ALICE):
    return [ledger.write(sender, BOB, now=100.0).body() for _ in range(count)]


def test_what_arrives_once_and_in_order_is_clean():
    ledger = Ledger("run")
    for body in written(ledger, 3):
        assert ledger.read(BOB, ALICE, body, now=100.5) is not None
    assert ledger.lost() == 0
    assert counts(ledger) == {}
    assert ledger.tally.read == ledger.tally.written == 3
    assert ledger.tally.latency.percentile(0.5) == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([0, 2], {"lost": 1}),
        ([0, 0, 1, 2], {"doubled": 1}),
        ([0, 2, 1], {"reordered": 1}),
        ([2, 1, 0], {"reordered": 2}),
        ([0, 2, 1, 1], {"reordered": 1, "doubled": 1}),
        ([], {"lost": 3}),
    ],
)
def test_faults_of_a_lane_are_counted(order, expected):
    ledger = Ledger("run")
    bodies = written(ledger, 3)
    for number in order:
        ledger.read(BOB, ALICE, bodies[number], now=101.0)
    ledger.lost()
    assert counts(ledger) == expected


@pytest.mark.parametrize(
    ("reader", "sender"), [("carol@x", ALICE), (BOB, "mallory@x/1"), (BOB, "alice@x/2"), (BOB, "alice@x")]
)
def test_wrong_reader_or_sender_is_misrouted(reader, sender):
    ledger = Ledger("run")
    assert ledger.read(reader, sender, written(ledger, 1)[0], now=101.0) is None
    assert counts(ledger) == {"misrouted": 1}


@pytest.mark.parametrize(
    "change", [lambda body: body[:-1], lambda body: body.replace("100.", "100,"), lambda _: "hi"]
)
def test_changed_text_is_corrupt(change):
    ledger = Ledger("run")
    assert ledger.read(BOB, ALICE, change(written(ledger, 1)[0]), now=101.0) is None
    assert counts(ledger) == {"corrupt": 1}


def test_order_holds_within_a_session_and_not_between_two():
    ledger = Ledger("run")
    first, second = written(ledger, 1)[0], written(ledger, 1, sender="alice@x/2")[0]
    ledger.read(BOB, "alice@x/2", second, now=101.0)
    ledger.read(BOB, ALICE, first, now=101.0)
    assert counts(ledger) == {}


def test_late_message_has_no_latency():
    ledger = Ledger("run")
    ledger.read(BOB, ALICE, written(ledger, 1)[0], now=500.0, late=True)
    assert ledger.tally.read == 1
    assert ledger.tally.latency.count == 0


def test_returned_message_is_not_lost_as_well():
    ledger = Ledger("run")
    written(ledger, 1)
    ledger.came_back(ALICE, BOB, 1, "service-unavailable")
    ledger.came_back(ALICE, BOB, 1, "service-unavailable")
    ledger.lost()
    assert counts(ledger) == {"returned": 1}


def test_message_that_was_never_sent_is_not_lost():
    ledger = Ledger("run")
    ledger.not_sent(ledger.write(ALICE, BOB, now=100.0))
    ledger.lost()
    assert counts(ledger) == {}
    assert ledger.tally.written == 0


def test_ledger_knows_who_is_waited_for():
    ledger = Ledger("run")
    bodies = written(ledger, 2) + written(ledger, 1, sender="carol@x/1")
    assert ledger.waiting() == {BOB: {ALICE, "carol@x/1"}}
    ledger.read(BOB, ALICE, bodies[0], now=101.0)
    assert ledger.waiting_for(BOB) == 2
    ledger.read(BOB, ALICE, bodies[1], now=101.0)
    assert ledger.waiting() == {BOB: {"carol@x/1"}}


def test_letter_of_an_earlier_run_is_no_fault():
    ledger = Ledger("run")
    written(ledger, 1)
    assert ledger.read(BOB, ALICE, written(Ledger("earlier"), 1)[0], now=101.0) is None
    assert counts(ledger) == {}
    assert ledger.tally.older == 1
    assert ledger.waiting_for(BOB) == 1


def test_letter_survives_its_body():
    letter = Ledger("run").write(ALICE, BOB, now=12345.678901)
    assert parse(letter.body()) == letter


def test_tallies_add_up():
    one, two = Tally(written=3, lost=1, examples=["a"]), Tally(written=4, doubled=2, examples=["b"])
    one.merge(two)
    assert (one.written, one.lost, one.doubled, one.faults, one.examples) == (7, 1, 2, 3, ["a", "b"])
