"""Rosters in SQL (RFC 6121 §2): reading, versions, and changes over both users' rows."""

from collections.abc import Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec

from xcluster.node.store import changes
from xcluster.node.store.connection import Connection, Json, merged, single
from xcluster.node.store.protocol import Roster, RosterChange, RosterItem, RosterOutcome

TYPES = {
    "localpart": "text",
    "contact": "text",
    "name": "text",
    "groups": "text",
    "subscription": "text",
    "ask": "integer",
    "approved": "integer",
    "pending_in": "bytea",
    "listed": "integer",
    "version": "bigint",
}
_COLUMNS = ", ".join(TYPES)
_ITEM = ", ".join(f"i.{name}" for name in list(TYPES)[1:])
_UPSERT = "on conflict (localpart, contact) do update set " + ", ".join(
    f"{name} = excluded.{name}" for name in list(TYPES)[2:]
)
_decoder = msgspec.json.Decoder(list[RosterItem])
_encode_groups = lru_cache(maxsize=1024)(lambda groups: msgspec.json.encode(groups).decode())


@lru_cache(maxsize=1024)
def _decode_groups(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])


def to_row(user: str, item: RosterItem) -> tuple[Any, ...]:
    return (
        user, item.contact, item.name, _encode_groups(item.groups), item.subscription,
        int(item.ask), int(item.approved), item.pending_in, int(item.listed), item.version,
    )  # fmt: skip


def _from_row(row: tuple[Any, ...]) -> RosterItem:
    contact, name, groups, subscription, ask, approved, pending_in, listed, version = row
    return RosterItem(
        contact, name, _decode_groups(groups) if groups != "[]" else (), subscription,
        bool(ask), bool(approved), pending_in, bool(listed), version,
    )  # fmt: skip


@merged
def roster(db: Connection, calls: list[tuple[str]]) -> list[Roster]:
    # One statement, so that version and items are of the same moment on either database.
    condition, users = db.among("a.localpart", {user for (user,) in calls})
    rows = db.all(
        f"select a.localpart, a.roster_version, {_gathered(db.json)}, sum(length(i.pending_in))"
        " from accounts a left join roster_items i"
        f" on i.localpart = a.localpart and i.subscription <> 'remove' where {condition}"
        " group by a.localpart, a.roster_version",
        *users,
    )
    found = {
        user: _row_by_row(db, user) if requested else Roster(version, _decode_items(items or "[]"))
        for user, version, items, requested in rows
    }
    return [found.get(user) or Roster() for (user,) in calls]


@lru_cache
def _gathered(json: Json) -> str:
    """A user's items as one JSON text, but for the requests in them, which are bytes."""
    flag = json.flag.format
    item = ", ".join(
        (
            "i.contact", "i.name", json.nested.format("i.groups"), "i.subscription", flag("i.ask"),
            flag("i.approved"), "''", flag("i.listed"), "i.version",
        )
    )  # fmt: skip
    items = json.gather.format(json.array.format(item))
    return f"cast({items} filter (where i.contact is not null) as text)"


def _decode_items(text: str) -> tuple[RosterItem, ...]:
    return tuple(sorted(_decoder.decode(text), key=attrgetter("contact")))


def _row_by_row(db: Connection, user: str) -> Roster:
    """Of somebody who has requests to answer: a few."""
    rows = db.all(
        f"select a.roster_version, {_ITEM} from accounts a left join roster_items i"
        " on i.localpart = a.localpart and i.subscription <> 'remove' where a.localpart = ?"
        " order by i.contact",
        user,
    )
    return (
        Roster(rows[0][0], tuple(_from_row(row[1:]) for row in rows if row[1] is not None))
        if rows
        else Roster()
    )


def _roster_since(db: Connection, user: str, version: int) -> Roster | None:
    rows = db.all(
        f"select a.roster_version, a.roster_floor, {_ITEM} from accounts a left join roster_items i"
        " on i.localpart = a.localpart and i.version > ? where a.localpart = ? order by i.version",
        version, user,
    )  # fmt: skip
    if not rows or not rows[0][1] <= version <= rows[0][0]:
        return None
    return Roster(rows[0][0], tuple(_from_row(row[2:]) for row in rows if row[2] is not None))


@merged
def roster_versions(db: Connection, calls: list[tuple[list[str]]]) -> list[dict[str, int]]:
    condition, users = db.among("localpart", {user for (users,) in calls for user in users})
    found = dict(db.all(f"select localpart, roster_version from accounts where {condition}", *users))
    return [{user: found[user] for user in users if user in found} for (users,) in calls]


def _change_rosters(
    db: Connection, user: str, contact: str, contact_user: str | None, change: RosterChange, max_items: int
) -> RosterOutcome:
    if contact_user == user:
        contact_user = None  # one's own JID as a contact has one row, not two
    condition, names = db.among("localpart", [user] if contact_user is None else [user, contact_user])
    versions = dict(db.all(f"select localpart, roster_version from accounts where {condition}", *names))
    if user not in versions:
        raise changes.no_such_user()
    mine = _item(db, user, contact)
    theirs = None
    if contact_user is not None and contact_user in versions:
        theirs = _item(db, contact_user, changes.own_jid(user, contact))
    else:
        contact_user = None
    my_new, their_new = change(mine, theirs)
    if contact_user is None:
        their_new = None
    if changes.becomes_listed(mine, my_new):
        _check_room(db, user, max_items)
    if contact_user is not None and changes.becomes_listed(theirs, their_new):
        _check_room(db, contact_user, max_items)
    my_new, my_version = _write(db, user, versions[user], mine, my_new)
    their_version = 0
    if contact_user is not None:
        their_new, their_version = _write(db, contact_user, versions[contact_user], theirs, their_new)
    return RosterOutcome((mine, theirs), (my_new, their_new), my_version, their_version)


def _item(db: Connection, user: str, contact: str) -> RosterItem | None:
    row = db.one(
        f"select {_ITEM} from roster_items i"
        " where localpart = ? and contact = ? and subscription <> 'remove'",
        user, contact,
    )  # fmt: skip
    return _from_row(row) if row else None


def _check_room(db: Connection, user: str, max_items: int) -> None:
    row = db.one(
        "select count(*) from roster_items where localpart = ? and listed = 1 and subscription <> 'remove'",
        user,
    )
    if row and row[0] >= max_items:
        raise changes.too_many(max_items)


def _write(
    db: Connection, user: str, version: int, before: RosterItem | None, after: RosterItem | None
) -> tuple[RosterItem | None, int]:
    """Write one side; returns its item and the roster's new version (0: no change)."""
    if after == before:
        return before, 0
    version += 1
    row = changes.row_after(before, after, version)
    if row is not None:
        db.insert("roster_items", TYPES, [to_row(user, row)], _UPSERT)
    elif before is not None:
        db.run("delete from roster_items where localpart = ? and contact = ?", user, before.contact)
    db.run("update accounts set roster_version = ? where localpart = ?", version, user)
    if after is None:
        _trim(db, user)
        return None, version
    return row, version


def _trim(db: Connection, user: str) -> None:
    """Forget the oldest tombstones, and remember that we did."""
    oldest = db.one(
        "select version from roster_items where localpart = ? and subscription = 'remove'"
        " order by version desc limit 1 offset ?",
        user, changes.MAX_TOMBSTONES,
    )  # fmt: skip
    if oldest:
        db.run(
            "delete from roster_items where localpart = ? and subscription = 'remove' and version <= ?",
            user, oldest[0],
        )  # fmt: skip
        db.run("update accounts set roster_floor = ? where localpart = ?", oldest[0], user)


def _both_users(db: Connection, call: tuple[str, str, str | None, RosterChange, int]) -> Iterable[str]:
    user, _, contact_user, _, _ = call
    return (user,) if contact_user is None else (user, contact_user)


roster_since = single(_roster_since)
change_rosters = single(_change_rosters, users=_both_users)
