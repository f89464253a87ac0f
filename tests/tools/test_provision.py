"""The ring of provisioned users, and accounts from the command line."""

import json

import pytest

from xcluster.node.store.stores import open_store
from xcluster.shared.config import load
from xcluster.tools.main import run
from xcluster.tools.provision import ring, ring_roster


@pytest.mark.parametrize(
    ("users", "roster"), [(100, 30), (32, 30), (31, 30), (12, 30), (100, 2), (2, 30), (1, 30)]
)
def test_ring_is_symmetric_and_full(users, roster):
    contacts = {number: ring(number, users, roster) for number in range(users)}
    for number, others in contacts.items():
        assert len(set(others)) == len(others) == min(roster, users - 1)
        assert number not in others
        assert all(number in contacts[other] for other in others)


def test_neighbours_are_on_either_side_modulo_users():
    assert ring(0, 1000, 30) == [*range(985, 1000), *range(1, 16)]
    assert ring(999, 1000, 4) == [997, 998, 0, 1]


def test_roster_holds_both_subscriptions_by_name():
    roster = ring_roster(1, 3, 30, "user", "example.org")
    assert [(item.contact, item.name, item.subscription) for item in roster.items] == [
        ("user0@example.org", "user0", "both"), ("user2@example.org", "user2", "both"),
    ]  # fmt: skip
    assert {item.version for item in roster.items} == {roster.version}


@pytest.fixture
def place(tmp_path):
    """Options of a cluster that is not running, on SQLite."""
    return ["--set", f"server.data_dir={tmp_path}/data", "--set", "server.domain=example.org"]


@pytest.fixture
def look(place):
    """Open its store, and close it afterwards."""
    opened = []

    def open_it():
        opened.append(open_store(load(None, place[1::2])))
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


def users(place, capsys):
    capsys.readouterr()
    assert run(["user", "list", "--json", *place]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_provisioned_users_are_there_each_with_a_salt_of_its_own(place, look, capsys):
    assert run(["provision", "--users", "600", "--roster", "4", "--password", "secret", *place]) == 0
    assert capsys.readouterr().out.startswith("600 users, user0 to user599, in ")
    store = look()
    assert store.count_accounts() == 600
    accounts = store.accounts("", 1000)
    assert len({key.salt for account in accounts for key in (account.sha1, account.sha256)}) == 1200
    assert {account.sha1.iterations for account in accounts} == {4096}
    assert sorted(item.name for item in store.roster("user0").items) == [
        "user1",
        "user2",
        "user598",
        "user599",
    ]
    assert [notice.kind for notice in store.notices(0)] == ["forget"]


def test_users_are_added_listed_disabled_enabled_removed(place, capsys):
    assert run(["user", "add", "Alice", "--password", "a", *place]) == 0
    assert run(["user", "add", "bob@example.org", "--password", "b", *place]) == 0
    assert run(["user", "disable", "alice", *place]) == 0
    assert [(user["user"], user["disabled"]) for user in users(place, capsys)] == [
        ("alice", True),
        ("bob", False),
    ]
    assert run(["user", "enable", "alice", *place]) == 0
    assert run(["user", "remove", "bob", *place]) == 0
    assert [(user["user"], user["disabled"]) for user in users(place, capsys)] == [("alice", False)]


def test_user_that_exists_is_not_added_and_one_that_does_not_is_not_changed(place, capsys):
    assert run(["user", "add", "alice", "--password", "a", *place]) == 0
    assert run(["user", "add", "alice", "--password", "b", *place]) == 1
    assert capsys.readouterr().err.startswith("xcluster: alice exists already")
    for command in (
        ["passwd", "bob", "--password", "x"],
        ["disable", "bob"],
        ["enable", "bob"],
        ["remove", "bob"],
    ):
        assert run(["user", *command, *place]) == 1
        assert capsys.readouterr().err == "xcluster: there is no user bob\n"


def test_new_password_replaces_the_keys_and_keeps_the_rest(place, look):
    assert run(["user", "add", "alice", "--password", "a", *place]) == 0
    assert run(["user", "disable", "alice", *place]) == 0
    before = look().account("alice")
    assert run(["user", "passwd", "alice", "--password", "b", *place]) == 0
    after = look().account("alice")
    assert (after.disabled, after.created_at) == (True, before.created_at)
    assert after.sha1.stored_key != before.sha1.stored_key
    assert after.sha256.stored_key != before.sha256.stored_key


def test_changes_that_end_sessions_are_announced(place, look):
    assert run(["provision", "--users", "3", "--password", "x", *place]) == 0
    first = look().last_notice()
    assert run(["user", "passwd", "user0", "--password", "b", *place]) == 0
    assert run(["user", "disable", "user1", *place]) == 0
    assert run(["user", "enable", "user1", *place]) == 0
    assert run(["user", "remove", "user2", *place]) == 0
    notices = [(notice.kind, notice.subject) for notice in look().notices(first)]
    assert notices[:3] == [("close", "user0"), ("close", "user1"), ("close", "user2")]
    assert sorted(notices[3:]) == [("roster", "user0"), ("roster", "user1")]


def test_password_comes_from_standard_input(place, capsys, monkeypatch, tmp_path):
    file = tmp_path / "password"
    file.write_text("from a file\n")
    with open(file) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run(["user", "add", "alice", *place]) == 0
    with open("/dev/null") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run(["user", "add", "bob", *place]) == 2
    assert "--password" in capsys.readouterr().err


def test_schema_is_migrated_once(place, tmp_path, capsys):
    assert run(["store", "migrate", *place]) == 0
    assert f"sqlite:{tmp_path}/data/xcluster.db migrated from version 0 to " in capsys.readouterr().out
    assert run(["store", "migrate", *place]) == 0
    assert "already" in capsys.readouterr().out
