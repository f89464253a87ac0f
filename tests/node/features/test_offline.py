"""XEP-0160: who is given stored messages, and when."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.node.features.setting import DOMAIN, ME, NOW, OTHER, Clock, Line, Setting, stanza
from xcluster.bus.messages import OfflineWaiting, SessionUp
from xcluster.node.availability import row
from xcluster.node.features.offline import LOOK_S, TAKE_S, Offline
from xcluster.node.parcel import Parcel
from xcluster.node.session import Session
from xcluster.shared import jid
from xcluster.shared.config import Config

ALICE = f"alice@{DOMAIN}"


class At(Setting):
    """One node's offline storage; what it spawns runs at once."""

    def __init__(self) -> None:
        super().__init__()
        self.wall = Clock(NOW)
        self.is_behind = False
        self.refused: list[str] = []
        self.meanwhile: list[Callable[[], None]] = []  # what happens whenever somebody waits
        self.offline = Offline(
            Config(), self.store, self.sessions, self.directory, self.announce, lambda: self.is_behind,
            lambda parcel, type, condition: self.refused.append(condition), self._run, self._sleep, self.wall,
        )  # fmt: skip
        self.directory.on_change.append(self.offline.record_changed)
        self._number = 0

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        work(*arguments)

    def _sleep(self, seconds: float) -> None:
        assert self.meanwhile, "nothing to wait for"
        self.meanwhile.pop(0)()

    def keep(self, body: str, to: str = ALICE) -> None:
        """Somebody has written to alice, for whom no session is known."""
        self._number += 1
        sent = stanza(f"<message to='{to}'><body>{body}</body></message>")
        parcel = Parcel(
            1,
            f"bob@{DOMAIN}/r",
            jid.parse(to),
            "message",
            "normal",
            b"%d" % self._number,
            sent.raw,
            sent.children,
        )
        self.offline.keep(parcel, lambda: None)

    def says(self, session: Session, presence: bytes, priority: int = 0) -> None:
        """As node/availability.py does: the feature first, then the directory."""
        before, session.presence, session.priority = session.presence, presence, priority
        self.offline.presence_changed(session, before)
        self.directory.apply(ME, row(session))

    def heard(self, session: Session) -> list[str]:
        written, session.line.written[:] = list(session.line.written), []  # type: ignore[attr-defined]
        return [raw.partition(b"<body>")[2].partition(b"</body>")[0].decode() for raw in written]


@pytest.fixture
def at() -> At:
    return At()


def test_they_are_given_with_the_first_priority_that_is_not_negative(at: At) -> None:
    at.keep("1")
    alice = at.bind("alice")
    at.says(alice, b"<presence><priority>-1</priority></presence>", -1)
    assert at.heard(alice) == []
    at.says(alice, b"<presence/>")
    assert at.heard(alice) == ["1"]
    at.says(alice, b"<presence><show>away</show></presence>")
    assert at.heard(alice) == []


def test_who_comes_back_is_asked_for_again(at: At) -> None:
    alice = at.bind("alice")
    at.says(alice, b"<presence/>")
    at.says(alice, b"")
    at.keep("1")
    assert at.heard(alice) == []
    at.says(alice, b"<presence/>")
    assert at.heard(alice) == ["1"]


def up(presence: bytes, priority: int = 0) -> SessionUp:
    return SessionUp(7, f"{ALICE}/r", 1, presence, priority)


def test_whoever_turns_out_to_be_on_line_elsewhere_is_announced(at: At) -> None:
    """Her log-in and the message crossed: her node has looked into the store before it was there."""
    at.keep("1")
    assert at.announced == []
    at.directory.apply(OTHER, up(b""))
    at.directory.apply(OTHER, up(b"<presence/>", -1))
    assert at.announced == []
    at.directory.apply(OTHER, up(b"<presence/>"))
    assert at.announced == [OfflineWaiting("alice")]


def test_whoever_comes_later_than_all_polls_is_not_announced(at: At) -> None:
    at.keep("1")
    at.wall.now += Config().offline.poll_s + 1
    at.offline.turned(0.0)
    at.directory.apply(OTHER, up(b"<presence/>"))
    assert at.announced == []


def test_nobody_is_announced_who_has_no_account(at: At) -> None:
    at.keep("1", f"nobody@{DOMAIN}")
    at.directory.apply(OTHER, SessionUp(7, f"nobody@{DOMAIN}/r", 1, b"<presence/>"))
    assert (at.announced, at.refused) == ([], ["service-unavailable"])


LONG = "x" * 150_000  # two are more than a portion


class SlowLine(Line):
    """The kernel takes what is written when the test says so."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.unsent += len(data)


def many_for_alice(at: At) -> tuple[Session, SlowLine]:
    """Three messages, each a portion of its own, and the session that is to get them."""
    for number in range(3):
        at.keep(f"{number} {LONG}")
        at.wall.now += 1.0  # commits are a moment apart
    alice, line = at.bind("alice"), SlowLine()
    alice.line = line
    return alice, line


def test_many_are_given_portion_by_portion_each_when_the_client_has_taken_the_last(at: At) -> None:
    alice, line = many_for_alice(at)
    given: list[list[str]] = []

    def looks() -> None:
        given.append([body[0] for body in at.heard(alice)])
        for raw in alice.intake.take(b"live %d" % len(given), b"<message><body>L</body></message>"):
            alice.send(raw)

    def takes() -> None:
        looks()
        line.unsent = 0

    at.meanwhile = [looks, takes, takes, takes]
    at.says(alice, b"<presence/>")
    assert given == [["0"], [], ["1"], ["2", "L", "L", "L"]]
    assert [body[0] for body in at.heard(alice)] == ["L"]
    assert at.store.count_offline("alice") == 0


def test_what_a_client_did_not_take_is_there_when_it_comes_back(at: At) -> None:
    alice, line = many_for_alice(at)

    def takes() -> None:
        line.unsent = 0

    def is_cut() -> None:
        alice.is_bound = False
        line.unsent, line.has_lost = 0, True

    at.meanwhile = [takes, is_cut]
    at.says(alice, b"<presence/>")
    again = at.bind("alice")
    at.says(again, b"<presence/>")
    assert [body[0] for body in at.heard(again)] == ["1", "2"]
    assert at.store.count_offline("alice") == 0


def test_who_leaves_between_two_portions_loses_none(at: At) -> None:
    alice, line = many_for_alice(at)

    def takes_and_leaves() -> None:
        line.unsent = 0
        alice.is_bound = False

    at.meanwhile = [takes_and_leaves]
    at.says(alice, b"<presence/>")
    assert [body[0] for body in at.heard(alice)] == ["0"]
    again = at.bind("alice")
    at.says(again, b"<presence/>")
    assert [body[0] for body in at.heard(again)] == ["1", "2"]


def test_who_does_not_take_a_portion_in_time_is_cut_and_loses_none(at: At) -> None:
    alice, line = many_for_alice(at)
    at.meanwhile = [lambda: None] * (int(TAKE_S / LOOK_S) + 3)
    at.says(alice, b"<presence/>")
    assert line.written[-1] == b"connection-timeout"
    assert at.store.count_offline("alice") == 3
