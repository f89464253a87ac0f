"""node/inbound.py: what is done with a client's stanza."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.node.features.setting import DOMAIN, ME, Setting, stanza
from xcluster.bus import mesh
from xcluster.bus.messages import Delta, Origin, RouteStanza, SessionUp, Task
from xcluster.node import lanes
from xcluster.node.exchange import Exchange
from xcluster.node.hooks import ACCOUNT, OWN, SERVER
from xcluster.node.inbound import Inbound
from xcluster.node.lanes import Parcel
from xcluster.node.session import Session
from xcluster.node.watchers import Watchers
from xcluster.shared.errors import StanzaError, StreamError
from xcluster.shared.jid import Jid
from xcluster.shared.stanza import Stanza

BOB = f"bob@{DOMAIN}"


class At:
    """One node without a bus; what leaves `Inbound` is kept in `log`."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.watchers = Watchers()
        self.log: list[tuple[Any, ...]] = []
        self.exchange = Exchange(ME, 0, self, mesh.Options(), lanes.Options(), 0.0)
        self.inbound = Inbound(DOMAIN, self.exchange, self._iq, self._presence, self.watchers, lambda: 1.0)
        self.alice = self.setting.bind("alice")
        self.bob = self.setting.bind("bob")
        self.exchange.put(SessionUp(self.bob.counter, self.bob.jid, 1, b"<presence/>"))

    def _iq(self, session: Session, iq: Stanza, at: str, user: str) -> None:
        self.log.append(("iq", iq.id, at, user))

    def _presence(self, session: Session, presence: Stanza, to: Jid | None) -> None:
        self.log.append(("presence", presence.type, to and to.full))

    def takes(self, raw: str) -> list[tuple[Any, ...]]:
        self.inbound.stanza(self.alice, stanza(raw))
        log, self.log = self.log, []
        return log

    def answer(self, raw: str) -> tuple[str | None, str | None, str]:
        """Type, id and condition of the one error that alice gets."""
        assert self.takes(raw) == []
        [written] = self.alice.line.written  # type: ignore[attr-defined]
        self.alice.line.written.clear()  # type: ignore[attr-defined]
        read = stanza(written.decode())
        condition = written.partition(b"<error")[2].partition(b"><")[2].partition(b" ")[0].decode()
        assert read.to == self.alice.jid
        return read.type, read.id, condition

    # node/exchange.py, Local

    def deliver(self, counter: int, parcel: RouteStanza | Parcel) -> bool:
        assert isinstance(parcel, Parcel)
        self.log.append(("delivered", counter, parcel))
        return True

    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        self.log.append(("kept", parcel.to.full))

    def refuse(self, parcel: Parcel, type: str, condition: str) -> None:
        self.log.append(("refused", condition))

    def fetch_offline(self, counter: int) -> None: ...

    def asked(self, origin: Origin, task: Task) -> None: ...

    def event(self, origin: Origin, delta: Delta) -> None: ...

    def skipped(self, origin: Origin) -> None: ...

    def member(self, event: Any) -> None: ...


@pytest.fixture
def at() -> At:
    return At()


# messages


def test_message_leaves_with_its_sender_and_an_identity_of_its_own(at: At) -> None:
    parcels = []
    for _ in range(2):
        [(kind, counter, parcel)] = at.takes(f"<message to='{BOB}' type='chat'><body>hi</body></message>")
        assert (kind, counter) == ("delivered", at.bob.counter)
        parcels.append(parcel)
    first, second = parcels
    assert (
        first.raw
        == f"<message from='{at.alice.jid}' to='{BOB}' type='chat'><body>hi</body></message>".encode()
    )
    assert (first.from_, first.sender, first.type) == (at.alice.jid, at.alice.counter, "chat")
    assert first.children == ("jabber:client}body",)
    assert first.identity != second.identity and first.identity < second.identity


def test_message_of_an_unknown_type_is_normal(at: At) -> None:
    [(_, _, parcel)] = at.takes(f"<message to='{BOB}' type='telegram'/>")
    assert parcel.type == "normal"


def test_language_of_the_stream_goes_with_the_message(at: At) -> None:
    at.alice.lang = b" xml:lang='de'"
    [(_, _, parcel)] = at.takes(f"<message to='{BOB}'/>")
    assert b" xml:lang='de'" in parcel.raw


def test_marks_that_only_the_server_may_set_are_cut(at: At) -> None:
    forged = (
        f"<stanza-id xmlns='urn:xmpp:sid:0' by='{BOB}' id='1'/>"
        f"<delay xmlns='urn:xmpp:delay' from='{DOMAIN}' stamp='x'/>"
    )
    foreign = "<stanza-id xmlns='urn:xmpp:sid:0' by='room@elsewhere.example' id='2'/>"
    [(_, _, parcel)] = at.takes(f"<message to='{BOB}'>{forged}{foreign}</message>")
    assert b"id='1'" not in parcel.raw and b"<delay" not in parcel.raw
    assert b"id='2'" in parcel.raw


def test_message_without_to_is_for_the_sender_s_own_account(at: At) -> None:
    assert at.takes("<message/>") == [("kept", at.alice.bare)]


@pytest.mark.parametrize(
    ("to", "condition"),
    [
        (DOMAIN, "service-unavailable"),
        ("bob@elsewhere.example", "remote-server-not-found"),
        ("elsewhere.example", "remote-server-not-found"),
        ("@", "jid-malformed"),
        ("", "jid-malformed"),
        ("a b@example.org", "jid-malformed"),
    ],
)
def test_message_to_nowhere_is_answered(at: At, to: str, condition: str) -> None:
    assert at.answer(f"<message id='m' to='{to}'/>") == ("error", "m", condition)
    assert at.inbound.counters["errors"] == 1


@pytest.mark.parametrize(
    "raw", [f"<message type='error' to='{DOMAIN}'/>", "<iq type='result' id='1' to='bob@elsewhere.example'/>"]
)
def test_errors_and_results_are_never_answered(at: At, raw: str) -> None:
    assert at.takes(raw) == []
    assert at.alice.line.written == []  # type: ignore[attr-defined]


# IQs


@pytest.mark.parametrize(
    ("to", "where"),
    [
        ("", (OWN, "alice@example.org")),
        (" to='alice@example.org'", (OWN, "alice@example.org")),
        (f" to='{DOMAIN}'", (SERVER, "")),
        (f" to='{BOB}'", (ACCOUNT, BOB)),
        (" to='BOB@Example.org'", (ACCOUNT, BOB)),
        (" to='nobody@example.org'", (ACCOUNT, "nobody@example.org")),
    ],
)
@pytest.mark.parametrize("type", ["get", "set"])
def test_request_that_the_server_answers(at: At, to: str, where: tuple[str, str], type: str) -> None:
    assert at.takes(f"<iq type='{type}' id='q'{to}><query xmlns='urn:x'/></iq>") == [("iq", "q", *where)]


@pytest.mark.parametrize("type", ["get", "set", "result", "error"])
def test_iq_to_a_full_jid_is_passed_on(at: At, type: str) -> None:
    [(kind, counter, parcel)] = at.takes(
        f"<iq type='{type}' id='q' to='{at.bob.jid}'><query xmlns='urn:x'/></iq>"
    )
    assert (kind, counter, parcel.kind, parcel.type, parcel.identity) == (
        "delivered",
        at.bob.counter,
        "iq",
        type,
        b"",
    )


@pytest.mark.parametrize(
    ("raw", "condition"),
    [
        ("<iq id='q'><query xmlns='urn:x'/></iq>", "bad-request"),
        ("<iq type='fetch' id='q'><query xmlns='urn:x'/></iq>", "bad-request"),
        ("<iq type='get' id='q'/>", "bad-request"),
        ("<iq type='set' id='q'><a xmlns='urn:x'/><b xmlns='urn:x'/></iq>", "bad-request"),
        (f"<iq type='get' id='q' to='{DOMAIN}/x'><query xmlns='urn:x'/></iq>", "service-unavailable"),
    ],
    ids=["no type", "unknown type", "no child", "two children", "resource of the server"],
)
def test_iq_that_can_not_be_answered_is_refused(at: At, raw: str, condition: str) -> None:
    assert at.answer(raw) == ("error", "q", condition)


def test_iq_without_an_id_is_refused(at: At) -> None:
    assert at.answer("<iq type='get'><query xmlns='urn:x'/></iq>") == ("error", None, "bad-request")


@pytest.mark.parametrize("to", ["", f" to='{DOMAIN}'", f" to='{BOB}'"])
@pytest.mark.parametrize("type", ["result", "error"])
def test_answer_to_the_server_ends_there(at: At, to: str, type: str) -> None:
    assert at.takes(f"<iq type='{type}' id='q'{to}/>") == []
    assert at.alice.line.written == []  # type: ignore[attr-defined]


def test_idle_time_is_for_those_who_see_the_presence(at: At) -> None:
    raw = f"<iq type='get' id='q' to='{at.bob.jid}'><query xmlns='jabber:iq:last'/></iq>"
    assert at.answer(raw) == ("error", "q", "forbidden")
    at.watchers.add(at.alice, BOB)
    assert [entry[0] for entry in at.takes(raw)] == ["delivered"]


def test_idle_time_of_one_s_own_resource_may_be_asked(at: At) -> None:
    phone = at.setting.bind("alice", "phone")
    at.exchange.put(SessionUp(phone.counter, phone.jid, 1, b"<presence/>"))
    log = at.takes(f"<iq type='get' id='q' to='{phone.jid}'><query xmlns='jabber:iq:last'/></iq>")
    assert [entry[:2] for entry in log] == [("delivered", phone.counter)]


# presence


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("<presence/>", (None, None)),
        ("<presence type='unavailable'/>", ("unavailable", None)),
        (f"<presence to='{BOB}' type='subscribe'/>", ("subscribe", BOB)),
        (f"<presence to='{BOB}/x'/>", (None, f"{BOB}/x")),
    ],
)
def test_presence_goes_to_who_knows_about_it(
    at: At, raw: str, expected: tuple[str | None, str | None]
) -> None:
    assert at.takes(raw) == [("presence", *expected)]


def test_error_of_a_handler_is_answered(at: At) -> None:
    def refuse(session: Session, presence: Stanza, to: Jid | None) -> None:
        raise StanzaError("modify", "policy-violation", "too long")

    at.inbound._presence = refuse
    assert at.answer("<presence id='p'/>") == ("error", "p", "policy-violation")


# who speaks


@pytest.mark.parametrize("claimed", ["alice@example.org", "alice@example.org/home", "ALICE@example.org"])
def test_client_may_name_itself(at: At, claimed: str) -> None:
    [(_, _, parcel)] = at.takes(f"<message from='{claimed}' to='{BOB}'/>")
    assert parcel.raw.count(b"from=") == 1
    assert f"from='{at.alice.jid}'".encode() in parcel.raw


@pytest.mark.parametrize(
    "claimed", [BOB, DOMAIN, "alice@example.org/phone", "alice@elsewhere.example", "", "@"]
)
def test_client_that_speaks_for_others_loses_its_stream(at: At, claimed: str) -> None:
    with pytest.raises(StreamError) as error:
        at.takes(f"<message from='{claimed}' to='{BOB}'/>")
    assert error.value.condition == "invalid-from"


def test_element_that_is_no_stanza_ends_the_stream(at: At) -> None:
    with pytest.raises(StreamError) as error:
        at.takes("<letter/>")
    assert error.value.condition == "unsupported-stanza-type"


def test_stanzas_are_counted(at: At) -> None:
    at.takes(f"<message to='{BOB}'/>")
    at.takes("<presence/>")
    at.takes("<presence/>")
    assert at.inbound.counters == {"message": 1, "presence": 2, "iq": 0, "errors": 0}
