"""Accounts in SQL, and what goes with them: vCards and last activity."""

from collections.abc import Iterable
from typing import Any

import msgspec

from xcluster.node.store.connection import Connection, merged, single
from xcluster.node.store.protocol import Account, ScramKey

_COLUMNS = "localpart, sha1, sha256, disabled, created_at"
TYPES = {
    "localpart": "text",
    "sha1": "bytea",
    "sha256": "bytea",
    "disabled": "integer",
    "created_at": "double precision",
}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ScramKey).decode


def to_row(account: Account) -> tuple[Any, ...]:
    return (
        account.user,
        _encode(account.sha1),
        _encode(account.sha256),
        int(account.disabled),
        account.created_at,
    )


def _from_row(row: tuple[Any, ...]) -> Account:
    user, sha1, sha256, disabled, created_at = row
    return Account(user, _decode(sha1), _decode(sha256), bool(disabled), created_at)


@merged
def account(db: Connection, calls: list[tuple[str]]) -> list[Account | None]:
    condition, users = db.among("localpart", {user for (user,) in calls})
    rows = db.all(f"select {_COLUMNS} from accounts where {condition}", *users)
    found = {row[0]: _from_row(row) for row in rows}
    return [found.get(user) for (user,) in calls]


def _create_account(db: Connection, account: Account) -> bool:
    created = db.run(
        f"insert into accounts ({_COLUMNS}) values (?, ?, ?, ?, ?) on conflict do nothing", *to_row(account)
    )
    if created:
        # What a message sent while an earlier account of this name was removed may have left.
        _remove_belongings(db, account.user)
    return created == 1


def _update_account(db: Connection, account: Account) -> bool:
    user, sha1, sha256, disabled, _ = to_row(account)
    return db.run(
        "update accounts set sha1 = ?, sha256 = ?, disabled = ? where localpart = ?",
        sha1, sha256, disabled, user,
    ) == 1  # fmt: skip


def _remove_account(db: Connection, user: str, domain: str) -> list[str]:
    jid = f"{user}@{domain}"
    holders = sorted(_holders(db, jid) - {user})
    if holders:
        condition, users = db.among("localpart", holders)
        db.run(f"update accounts set roster_version = roster_version + 1 where {condition}", *users)
        db.run("delete from roster_items where contact = ? and listed = 0", jid)
        db.run(
            "update roster_items set subscription = 'remove', name = '', groups = '[]', ask = 0,"
            " approved = 0, pending_in = ?, version = (select roster_version from accounts"
            " where accounts.localpart = roster_items.localpart)"
            " where contact = ? and subscription <> 'remove'",
            b"", jid,
        )  # fmt: skip
    _remove_belongings(db, user)
    db.run("delete from accounts where localpart = ?", user)
    return holders


def _holders(db: Connection, jid: str) -> set[str]:
    rows = db.all("select localpart from roster_items where contact = ? and subscription <> 'remove'", jid)
    return {user for (user,) in rows}


def _users_of_removal(db: Connection, call: tuple[str, str]) -> Iterable[str]:
    user, domain = call
    return {user} | _holders(db, f"{user}@{domain}")


def _remove_belongings(db: Connection, user: str) -> None:
    for table in ("roster_items", "offline", "vcards", "last_activity"):
        db.run(f"delete from {table} where localpart = ?", user)


def _accounts(db: Connection, after: str, limit: int) -> list[Account]:
    rows = db.all(
        f"select {_COLUMNS} from accounts where localpart > ? order by localpart limit ?", after, limit
    )
    return [_from_row(row) for row in rows]


def _count_accounts(db: Connection) -> int:
    (count,) = db.one("select count(*) from accounts") or (0,)
    return int(count)


@merged
def vcard(db: Connection, calls: list[tuple[str]]) -> list[bytes | None]:
    condition, users = db.among("localpart", {user for (user,) in calls})
    found = dict(db.all(f"select localpart, vcard from vcards where {condition}", *users))
    return [found.get(user) for (user,) in calls]


def _set_vcard(db: Connection, user: str, vcard: bytes) -> None:
    db.run(
        "insert into vcards (localpart, vcard) values (?, ?)"
        " on conflict (localpart) do update set vcard = excluded.vcard",
        user, vcard,
    )  # fmt: skip


@merged
def last_activity(db: Connection, calls: list[tuple[str]]) -> list[tuple[float, str] | None]:
    condition, users = db.among("localpart", {user for (user,) in calls})
    rows = db.all(f"select localpart, ended_at, status from last_activity where {condition}", *users)
    found = {user: (ended_at, status) for user, ended_at, status in rows}
    return [found.get(user) for (user,) in calls]


@merged
def set_last_activity(db: Connection, calls: list[tuple[list[tuple[str, float, str]]]]) -> list[None]:
    latest = {row[0]: row for (rows,) in calls for row in rows}
    db.insert(
        "last_activity",
        {"localpart": "text", "ended_at": "double precision", "status": "text"},
        [latest[user] for user in sorted(latest)],
        "on conflict (localpart) do update set ended_at = excluded.ended_at, status = excluded.status",
    )
    return [None] * len(calls)


create_account = single(_create_account)
update_account = single(_update_account)
remove_account = single(_remove_account, users=_users_of_removal)
accounts = single(_accounts)
count_accounts = single(_count_accounts)
set_vcard = single(_set_vcard)
