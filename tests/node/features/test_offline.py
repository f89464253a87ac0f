"""XEP-0160: who is given stored messages, and when."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.node.features.setting import DOMAIN, ME, NOW, OTHER, Clock, Setting, stanza
from xcluster.bus.messages import OfflineWaiting, SessionUp
from xcluster.node.availability import row
from xcluster.node.features.offline import Offline
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
        self.offline = Offline(
            Config(), self.store, self.sessions, self.directory, self.announce, lambda: self.is_behind,
            lambda parcel, type, condition: self.refused.append(condition), self._run, self._sleep, self.wall,
        )  # fmt: skip
        self.directory.on_change.append(self.offline.record_changed)
        self._number = 0

    def _run(self, work: Callable[..., None], *arguments: Any) -> None:
        work(*arguments)

    def _sleep(self, seconds: float) -> None:
        raise AssertionError("nothing to wait for")

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
