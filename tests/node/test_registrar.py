"""XEP-0077 before log-in: who may create which account, and how many."""

import pytest

from tests.node.features.setting import DOMAIN, NOW, Clock, canonical, derive, get, set_, stanza
from tests.node.store.rows import account
from xcluster.node import registrar
from xcluster.node.registrar import HOUR_S, TAKEN_NAMES, Allowance, Registrar
from xcluster.node.store.memory import MemoryStore
from xcluster.node.store.protocol import Account
from xcluster.shared import ns
from xcluster.shared.config import Config
from xcluster.shared.errors import StoreError
from xcluster.shared.stanza import tree

ADDRESS = "192.0.2.1"
OK = ("result", "")
TOO_MANY = ("wait", "policy-violation")


class At:
    """A registrar that lets two accounts an hour come from an address; bob has an account."""

    def __init__(self) -> None:
        self.clock = Clock(5.0)
        self.store = MemoryStore()
        self.store.create_account(account("bob"))
        self.config = Config()
        self.config.registration.enabled = True
        self.config.registration.per_hour = 2
        self.registrar = Registrar(self.config, DOMAIN, self.store, derive, self.clock, Clock(NOW))

    def register(self, user: str, password: str = "secret", address: str = ADDRESS) -> tuple[str, str]:
        return self.send(f"<username>{user}</username><password>{password}</password>", address)

    def send(self, fields: str, address: str = ADDRESS) -> tuple[str, str]:
        """OK, or type and condition of the error."""
        reply = self.registrar.answer(stanza(set_(query(fields))), address)
        assert b"secret" not in reply
        return outcome(reply)


@pytest.fixture
def at() -> At:
    return At()


def query(fields: str) -> str:
    return f"<query xmlns='{ns.REGISTER}'>{fields}</query>"


def outcome(reply: bytes) -> tuple[str, str]:
    iq = tree(reply)
    assert (iq.get("id"), iq.get("from"), iq.get("to")) == ("1", DOMAIN, None)
    if iq.get("type") == "result":
        assert len(iq) == 0
        return OK
    (error,) = iq
    return error.get("type"), error[0].tag.partition("}")[2]


@pytest.mark.parametrize("to", ["", DOMAIN])
def test_get_tells_the_fields(at: At, to: str) -> None:
    reply = at.registrar.answer(stanza(get(query(""), to)), ADDRESS)
    fields = "<instructions>Choose a username and password.</instructions><username/><password/>"
    expected = f"<iq from='{DOMAIN}' type='result' id='1'>{query(fields)}</iq>"
    assert canonical(reply) == canonical(expected)


def test_set_creates_the_account_under_its_prepared_name(at: At) -> None:
    assert at.register("Carol", "se&amp;cret") == OK
    assert at.store.account("carol") == Account("carol", *derive("se&cret"), created_at=NOW)


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ("", ("modify", "not-acceptable")),
        ("<username>carol</username>", ("modify", "not-acceptable")),
        ("<username>carol</username><password/>", ("modify", "not-acceptable")),
        ("<username>carol</username><password></password>", ("modify", "not-acceptable")),
        ("<password>secret</password>", ("modify", "not-acceptable")),
        ("<username/><password>secret</password>", ("modify", "not-acceptable")),
        ("<username>a b</username><password>secret</password>", ("modify", "not-acceptable")),
        ("<username>carol@example.org</username><password>secret</password>", ("modify", "not-acceptable")),
        (f"<username>{'x' * 1024}</username><password>secret</password>", ("modify", "not-acceptable")),
        ("<username>carol</username><password>impossible</password>", ("modify", "not-acceptable")),
        ("<username>bob</username><password>secret</password>", ("cancel", "conflict")),
        ("<username>BOB</username><password>secret</password>", ("cancel", "conflict")),
        ("<remove/>", ("wait", "unexpected-request")),
        ("<username>bob</username><password>secret</password><remove/>", ("wait", "unexpected-request")),
        ("<x xmlns='jabber:x:data' type='submit'/>", ("modify", "not-acceptable")),
    ],
)
def test_what_is_refused_creates_nothing_and_costs_nothing(
    at: At, fields: str, refused: tuple[str, str]
) -> None:
    kept = at.store.account("bob")
    assert at.send(fields) == refused
    assert at.store.accounts() == [kept]
    assert [at.register(user) for user in ("c", "d", "e")] == [OK, OK, TOO_MANY]


def test_nobody_registers_where_it_is_off(at: At) -> None:
    at.config.registration.enabled = False
    assert at.register("carol") == ("cancel", "service-unavailable")
    assert outcome(at.registrar.answer(stanza(get(query(""))), ADDRESS)) == ("cancel", "service-unavailable")
    at.config.registration.enabled = True
    assert at.register("carol") == OK


def test_so_many_an_hour_from_an_address(at: At) -> None:
    assert [at.register(user) for user in ("c", "d", "e")] == [OK, OK, TOO_MANY]
    assert at.register("e", address="192.0.2.2") == OK
    at.clock.now += HOUR_S - 1
    assert at.register("f") == TOO_MANY
    at.clock.now += 1
    assert [at.register(user) for user in ("f", "g", "h")] == [OK, OK, TOO_MANY]


def test_limit_that_grows_counts_at_once(at: At) -> None:
    assert [at.register(user) for user in ("c", "d", "e")] == [OK, OK, TOO_MANY]
    at.config.registration.per_hour = 3
    assert at.register("e") == OK


def test_names_are_not_harvested(at: At) -> None:
    tries = [at.register("bob") for _ in range(2 * TAKEN_NAMES + 1)]
    assert tries == [("cancel", "conflict")] * 2 * TAKEN_NAMES + [TOO_MANY]
    assert at.register("carol") == OK


def test_no_key_is_derived_for_a_name_that_is_taken(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[str] = []
    monkeypatch.setattr(at.registrar, "_derive", derived.append)
    assert at.register("bob") == ("cancel", "conflict")
    assert derived == []


def test_those_who_come_at_once_are_counted_before_anything_waits(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[tuple[str, str]] = []

    def slow(password: str) -> object:
        if len(others) < 2:
            others.append(TOO_MANY)
            others[-1] = at.register(f"other{len(others)}")
        return derive(password)

    monkeypatch.setattr(at.registrar, "_derive", slow)
    assert at.register("carol") == OK
    assert sorted([*others, OK]) == sorted([OK, OK, TOO_MANY])
    assert at.store.count_accounts() == 3


def test_name_that_is_taken_meanwhile_is_a_conflict(at: At, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(password: str) -> object:
        at.store.create_account(account("carol"))
        return derive(password)

    monkeypatch.setattr(at.registrar, "_derive", slow)
    assert at.register("carol") == ("cancel", "conflict")
    assert at.store.account("carol") == account("carol")


def test_store_that_is_down_is_an_error_to_wait_for_and_costs_nothing(at: At) -> None:
    at.store.fail_with(StoreError("down"))
    assert [at.register("carol") for _ in range(3)] == [("wait", "internal-server-error")] * 3
    at.store.fail_with(None)
    assert at.register("carol") == OK


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "", True),
    ],
)
def test_addresses_of_one_network_share_an_allowance(one: str, other: str, same: bool) -> None:
    allowance = Allowance()
    assert allowance.spend(one, 1, 0.0)
    assert allowance.spend(other, 1, 0.0) is not same


def test_allowances_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registrar, "MAX_ADDRESSES", 2)
    allowance = Allowance()
    for address in ("a", "b", "c"):
        allowance.spend(address, 1, 0.0)
    assert [allowance.spend(address, 1, 0.0) for address in ("c", "b", "a")] == [False, False, True]
