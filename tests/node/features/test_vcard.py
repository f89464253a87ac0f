"""XEP-0054: own and others' vCards, and their cache."""

import pytest

from tests.node.features.setting import DOMAIN, OTHER, Setting, as_seen_by, ask, canonical, get, refusal, set_
from xcluster.bus.messages import Invalidated
from xcluster.node.cache import ACCOUNT, Cache
from xcluster.node.features.vcard import CACHE, Vcard, vcard_cache
from xcluster.node.session import Session
from xcluster.shared.config import Config
from xcluster.shared.errors import StoreError

EMPTY = "<vCard xmlns='vcard-temp'/>"
VCARD = "<vCard xmlns='vcard-temp'><FN>Alice Ä &amp; &lt;co&gt;</FN><N><GIVEN>Alice</GIVEN></N></vCard>"
OLD = b"<vCard xmlns='vcard-temp'><FN>Old</FN></vCard>"
BOB = f"bob@{DOMAIN}"


class At:
    """The feature on a node, with sessions of alice and bob."""

    def __init__(self) -> None:
        self.setting = Setting()
        self.config = Config()
        self.cache: Cache[str, bytes] = vcard_cache(1_000_000)
        self.vcards = Vcard(self.config, self.setting.store, self.cache, self.setting.announce)
        self.setting.features = [self.vcards]
        self.alice, self.bob = self.setting.bind("alice"), self.setting.bind("bob")

    def ask(self, session: Session, raw: str) -> bytes:
        return ask(self.vcards, session, raw)

    def refusal(self, session: Session, raw: str) -> tuple[str, str]:
        return refusal(self.vcards, session, raw)


@pytest.fixture
def at() -> At:
    return At()


@pytest.mark.parametrize(
    "vcard",
    [VCARD, EMPTY, "<v:vCard xmlns:v='vcard-temp'><v:FN>A</v:FN><x xmlns='other'/></v:vCard>"],
)
def test_vcard_that_was_set_is_what_everybody_gets(at: At, vcard: str) -> None:
    assert at.ask(at.bob, set_(vcard)) == b""
    for session, to in ((at.bob, ""), (at.bob, BOB), (at.alice, BOB)):
        answer = at.ask(session, get(EMPTY, to))
        assert canonical(answer) == canonical(vcard)


@pytest.mark.parametrize(
    ("start", "inside"),
    [
        (" xmlns:v='vcard-temp'", "<v:vCard><v:FN>A</v:FN></v:vCard>"),
        ("", " \n<vCard xmlns='vcard-temp'><FN>A</FN></vCard>\n > "),
        ("", "<![CDATA[ ]]><vCard xmlns='vcard-temp'><FN>A</FN></vCard>"),
        (" a='&lt;'", "<vCard xmlns='vcard-temp'><FN>A</FN></vCard>"),
    ],
)
def test_vcard_is_kept_so_that_it_means_the_same_elsewhere(at: At, start: str, inside: str) -> None:
    at.ask(at.bob, f"<iq type='set' id='1'{start}>{inside}</iq>")
    expected = canonical("<vCard xmlns='vcard-temp'><FN>A</FN></vCard>")
    assert canonical(at.ask(at.alice, get(EMPTY, BOB))) == expected


def test_vcard_replaces_the_one_before(at: At) -> None:
    at.setting.store.set_vcard("bob", OLD)
    assert at.ask(at.alice, get(EMPTY, BOB)) == OLD
    at.ask(at.bob, set_(VCARD, BOB))
    assert canonical(at.ask(at.alice, get(EMPTY, BOB))) == canonical(VCARD)
    assert at.setting.announced == [Invalidated(CACHE, "bob")]


def test_without_a_vcard_the_owner_is_told_and_others_learn_nothing(at: At) -> None:
    assert at.refusal(at.bob, get(EMPTY)) == ("cancel", "item-not-found")
    for owner in (BOB, f"nobody@{DOMAIN}"):
        assert at.refusal(at.alice, get(EMPTY, owner)) == ("cancel", "service-unavailable")


@pytest.mark.parametrize("to", [BOB, f"nobody@{DOMAIN}", DOMAIN])
def test_setting_anothers_vcard_is_forbidden(at: At, to: str) -> None:
    at.setting.store.set_vcard("bob", OLD)
    assert at.refusal(at.alice, set_(VCARD, to)) == ("auth", "forbidden")
    assert at.setting.store.vcard("bob") == OLD


def test_vcard_over_the_limit_is_refused_and_the_old_one_stays(at: At) -> None:
    at.ask(at.bob, set_(VCARD))
    kept = at.setting.store.vcard("bob")
    assert kept is not None
    at.config.vcard.max_bytes = len(kept)
    at.ask(at.bob, set_(VCARD))
    at.config.vcard.max_bytes -= 1
    assert at.refusal(at.bob, set_(VCARD)) == ("modify", "policy-violation")
    assert at.setting.store.vcard("bob") == kept


def test_vcard_is_read_once(at: At) -> None:
    at.setting.store.set_vcard("bob", OLD)
    assert at.refusal(at.bob, get(EMPTY, f"alice@{DOMAIN}")) == ("cancel", "service-unavailable")
    at.ask(at.alice, get(EMPTY, BOB))
    at.setting.store.fail_with(StoreError("down"))
    assert at.ask(at.alice, get(EMPTY, BOB)) == OLD
    assert at.refusal(at.bob, get(EMPTY, f"alice@{DOMAIN}")) == ("cancel", "service-unavailable")
    assert (at.cache.hits, at.cache.misses) == (2, 2)


@pytest.mark.parametrize("cache", [CACHE, ACCOUNT])
def test_change_on_another_node_is_seen(at: At, cache: str) -> None:
    at.setting.store.set_vcard("bob", OLD)
    at.ask(at.alice, get(EMPTY, BOB))
    at.setting.store.set_vcard("bob", VCARD.encode())
    as_seen_by([at.vcards], Invalidated(cache, "alice"))
    as_seen_by([at.vcards], Invalidated("roster", "bob"))
    assert at.ask(at.alice, get(EMPTY, BOB)) == OLD
    as_seen_by([at.vcards], Invalidated(cache, "bob"))
    assert at.ask(at.alice, get(EMPTY, BOB)) == VCARD.encode()


def test_after_missed_events_everything_is_read_again(at: At) -> None:
    at.setting.store.set_vcard("bob", OLD)
    at.ask(at.alice, get(EMPTY, BOB))
    at.setting.store.set_vcard("bob", VCARD.encode())
    at.vcards.missed(OTHER)
    assert at.ask(at.alice, get(EMPTY, BOB)) == VCARD.encode()


def test_change_while_the_store_is_asked_is_not_cached(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    read = at.setting.store.vcard

    def slow(user: str) -> bytes | None:
        old = read(user)
        at.setting.store.set_vcard(user, VCARD.encode())
        as_seen_by([at.vcards], Invalidated(CACHE, user))
        return old

    at.setting.store.set_vcard("bob", OLD)
    monkeypatch.setattr(at.setting.store, "vcard", slow)
    assert at.ask(at.alice, get(EMPTY, BOB)) == OLD
    monkeypatch.undo()
    assert at.ask(at.alice, get(EMPTY, BOB)) == VCARD.encode()


def test_store_that_is_down_is_told_and_nothing_is_cached(at: At) -> None:
    at.setting.store.set_vcard("bob", OLD)
    at.setting.store.fail_with(StoreError("down"))
    for asked in (get(EMPTY), set_(VCARD)):
        with pytest.raises(StoreError):
            at.ask(at.bob, asked)
    assert at.setting.announced == []
    at.setting.store.fail_with(None)
    assert at.ask(at.bob, get(EMPTY)) == OLD
