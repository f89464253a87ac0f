"""XEP-0077 after log-in: what is registered, password changes, cancellation."""

import msgspec
import pytest

from tests.node.features.setting import (
    DOMAIN,
    STRANGERS,
    Setting,
    ask,
    canonical,
    derive,
    get,
    refusal,
    set_,
    stanza,
)
from xcluster.bus.messages import Invalidated
from xcluster.node.cache import ACCOUNT
from xcluster.node.features.registration import Registration
from xcluster.node.hooks import SERVER, Request
from xcluster.node.store.protocol import Notice
from xcluster.shared import ns
from xcluster.shared.errors import StanzaError
from xcluster.shared.stanza import error_reply


class At:
    """The feature on a node, and alice, over TLS."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.is_secure = True
        self.feature = Registration(
            DOMAIN, self.setting.store, derive, self.setting.announce, lambda session: self.is_secure
        )
        self.alice = self.setting.bind("alice")

    def refusal(self, fields: str, to: str = "") -> tuple[str, str]:
        return refusal(self.feature, self.alice, set_(query(fields), to))

    def stored_key(self) -> bytes:
        account = self.setting.store.account("alice")
        assert (account is not None and account.sha1 == account.sha256) or account is not None
        return account.sha1.stored_key


@pytest.fixture
def at() -> At:
    return At()


def query(fields: str) -> str:
    return f"<query xmlns='{ns.REGISTER}'>{fields}</query>"


@pytest.mark.parametrize("to", ["", DOMAIN])
def test_get_tells_that_and_as_whom_one_is_registered(at: At, to: str) -> None:
    fields = (
        "<registered/><instructions>You may change your password.</instructions>"
        "<username>alice</username><password/>"
    )
    assert canonical(ask(at.feature, at.alice, get(query(""), to))) == canonical(query(fields))


@pytest.mark.parametrize("to", ["", DOMAIN])
@pytest.mark.parametrize("username", ["alice", "ALICE", f"alice@{DOMAIN}"])
def test_password_is_changed_and_nothing_else(at: At, to: str, username: str) -> None:
    before = at.setting.store.account("alice")
    assert before is not None
    asked = set_(query(f"<username>{username}</username><password>new &amp; better</password>"), to)
    assert ask(at.feature, at.alice, asked) == b""
    sha1, sha256 = derive("new & better")
    assert at.setting.store.account("alice") == msgspec.structs.replace(before, sha1=sha1, sha256=sha256)


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ("", ("modify", "bad-request")),
        ("<username>alice</username>", ("modify", "bad-request")),
        ("<username>alice</username><password/>", ("modify", "bad-request")),
        ("<username>alice</username><password></password>", ("modify", "bad-request")),
        ("<password>new</password>", ("modify", "bad-request")),
        ("<username/><password>new</password>", ("modify", "bad-request")),
        ("<x xmlns='jabber:x:data' type='submit'/>", ("modify", "bad-request")),
        ("<username>bob</username><password>new</password>", ("auth", "forbidden")),
        ("<username>alice@other.example</username><password>new</password>", ("auth", "forbidden")),
        ("<username>a b</username><password>new</password>", ("auth", "forbidden")),
        ("<username>alice</username><password>impossible</password>", ("modify", "not-acceptable")),
    ],
)
def test_password_stays_when_the_request_is_no_good(at: At, fields: str, refused: tuple[str, str]) -> None:
    before = at.stored_key()
    assert at.refusal(fields) == refused
    assert at.stored_key() == before


def test_password_is_not_changed_over_a_channel_that_is_not_safe(at: At) -> None:
    at.is_secure = False
    before = at.stored_key()
    assert at.refusal("<username>alice</username><password>new</password>") == ("modify", "not-authorized")
    assert at.stored_key() == before


def test_password_is_not_repeated_in_errors(at: At) -> None:
    iq = stanza(set_(query("<username>bob</username><password>secret</password>"), DOMAIN))
    with pytest.raises(StanzaError) as caught:
        at.feature.change(Request(at.alice, iq, SERVER, ""))
    reply = error_reply(iq, caught.value.type, caught.value.condition)
    assert b"secret" not in reply and b"forbidden" in reply and b"id='1'" in reply


def test_removed_account_is_gone_with_its_sessions_and_places_in_rosters(at: At) -> None:
    at.setting.lets_see("bob", "alice", "both")
    at.setting.lets_see("mallory", "alice", "to")
    at.setting.store.set_vcard("alice", b"<vCard xmlns='vcard-temp'/>")
    assert ask(at.feature, at.alice, set_(query("<remove/>"))) == b""
    assert at.setting.store.account("alice") is None
    assert at.setting.store.roster("bob").items == ()
    notices = [(notice.kind, notice.subject) for notice in at.setting.store.notices(0)]
    assert notices == [("close", "alice"), ("roster", "bob"), ("roster", "mallory")]
    assert at.setting.announced == [Invalidated(ACCOUNT, "alice")]


@pytest.mark.parametrize("fields", ["<remove/><username>alice</username>", "<password>x</password><remove/>"])
def test_remove_that_is_not_alone_removes_nothing(at: At, fields: str) -> None:
    assert at.refusal(fields) == ("modify", "bad-request")
    assert at.setting.store.account("alice") is not None
    assert at.setting.store.notices(0) == []


def test_account_that_is_gone_already_is_no_registration(at: At) -> None:
    at.setting.store.remove_account("alice", DOMAIN)
    for fields in ("<remove/>", "<username>alice</username><password>new</password>"):
        assert at.refusal(fields) == ("auth", "registration-required")
    assert at.setting.store.notices(0) == list[Notice]()


@pytest.mark.parametrize("owner", [f"bob@{DOMAIN}", *STRANGERS])
def test_nobody_asks_or_changes_anothers_registration(at: At, owner: str) -> None:
    assert at.refusal("<remove/>", owner) == ("cancel", "service-unavailable")
    assert refusal(at.feature, at.alice, get(query(""), owner)) == ("cancel", "service-unavailable")
    assert at.setting.store.count_accounts() == 3
