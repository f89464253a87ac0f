"""Offline messages in SQL (design.md §8): rows are free, held, or tombstones.

Adding and dropping commute: a drop leaves its tombstone even where there is no row yet, so that an insert
that was overtaken by its own acknowledgement does nothing.
"""

from collections import Counter
from typing import Any

from xcluster.node.store.connection import Connection, merged, single
from xcluster.node.store.protocol import OfflineRow

_TYPES = {
    "localpart": "text",
    "identity": "bytea",
    "stanza": "bytea",
    "stored_at": "double precision",
    "holder": "text",
    "deleted_at": "double precision",
    "mark": "bigint",
}
_COLUMNS = "localpart, identity, stanza, stored_at, holder, id"
_SWEPT = 2000  # rows deleted in one transaction


@merged
def add_offline(db: Connection, calls: list[tuple[list[OfflineRow], int]]) -> list[list[str]]:
    incoming = Counter(row.user for rows, _ in calls for row in rows)
    condition, users = db.among("a.localpart", incoming)
    counts: dict[str, int] = dict(
        db.all(
            "select a.localpart, (select count(*) from offline o"
            " where o.localpart = a.localpart and o.deleted_at is null)"
            f" from accounts a where {condition}",
            *users,
        )
    )
    # Only who might get too many is looked at more closely: a row that is there already always fits.
    lowest = min((limit for _, limit in calls), default=0)
    known = _keys(db, [user for user, count in counts.items() if count + incoming[user] > lowest])
    answers: list[list[str]] = []
    fresh: list[tuple[Any, ...]] = []
    mark = db.mark()
    for rows, limit in calls:
        answer = []
        for row in rows:
            key = (row.user, row.identity)
            if row.user not in counts:
                answer.append("unknown")
            elif key in known:
                answer.append("stored")
            elif counts[row.user] >= limit:
                answer.append("full")
            else:
                counts[row.user] += 1
                known.add(key)
                fresh.append((*key, row.stanza, row.stored_at, row.holder, None, mark))
                answer.append("stored")
        answers.append(answer)
    db.insert("offline", _TYPES, fresh, "on conflict (localpart, identity) do nothing")
    return answers


def _keys(db: Connection, users: list[str]) -> set[tuple[str, bytes]]:
    if not users:
        return set()
    condition, names = db.among("localpart", users)
    rows = db.all(f"select localpart, identity from offline where {condition}", *names)
    return {(user, identity) for user, identity in rows}


@merged
def take_offline(db: Connection, calls: list[tuple[str, str, list[str]]]) -> list[list[OfflineRow]]:
    # Most people who log in have none: one look for all of them.
    condition, users = db.among("localpart", {user for user, _, _ in calls})
    rows = db.all(f"select distinct localpart from offline where {condition} and deleted_at is null", *users)
    some = {user for (user,) in rows}
    return [_take(db, *call) if call[0] in some else [] for call in calls]


def _take(db: Connection, user: str, holder: str, live: list[str]) -> list[OfflineRow]:
    condition, holders = db.among("holder", live)
    rows = db.all(
        f"update offline set holder = ? where localpart = ? and deleted_at is null and not ({condition})"
        f" returning {_COLUMNS}",
        holder, user, *holders,
    )  # fmt: skip
    taken = [
        OfflineRow(user, identity, stanza, float(stored_at), holder, row)  # SQLite returns 1.0 as 1
        for user, identity, stanza, stored_at, holder, row in rows
    ]
    return sorted(taken, key=lambda row: row.row)


def _free_offline(db: Connection, holder: str) -> list[str]:
    held = "select 1 from offline where holder = ? and holder <> '' and deleted_at is null limit 1"
    if db.one(held, holder) is None:
        return []  # most sessions hold none: no mark, nothing written
    rows = db.all(
        "update offline set holder = '', mark = ? where holder = ? and holder <> '' and deleted_at is null"
        " returning localpart",
        db.mark(), holder,
    )  # fmt: skip
    return sorted({user for (user,) in rows})


@merged
def drop_offline(db: Connection, calls: list[tuple[str, list[bytes], float]]) -> list[None]:
    keys = {(user, identity): now for user, identities, now in calls for identity in identities}
    db.insert(
        "offline",
        _TYPES,
        [(*key, b"", keys[key], "", keys[key], 0) for key in sorted(keys)],
        "on conflict (localpart, identity) do update set stanza = excluded.stanza, holder = excluded.holder,"
        " deleted_at = excluded.deleted_at where offline.deleted_at is null",
    )
    return [None] * len(calls)


def _waiting_offline(db: Connection, after: int) -> tuple[int, list[str]]:
    # The horizon first: what becomes visible between the two statements is then told twice, not never.
    horizon = db.horizon()
    rows = db.all(
        "select distinct localpart from offline where deleted_at is null and holder = '' and mark >= ?",
        min(after, horizon),
    )
    return horizon, sorted(user for (user,) in rows)


@merged
def count_offline(db: Connection, calls: list[tuple[str]]) -> list[int]:
    condition, users = db.among("localpart", {user for (user,) in calls})
    counts = dict(
        db.all(
            f"select localpart, count(*) from offline where {condition} and deleted_at is null group by localpart",
            *users,
        )
    )
    return [counts.get(user, 0) for (user,) in calls]


def _sweep_offline(db: Connection, before: float) -> bool:
    """Forget some tombstones; returns whether there may be more."""
    return db.run(
        "delete from offline where id in (select id from offline where deleted_at < ? limit ?)",
        before, _SWEPT,
    ) == _SWEPT  # fmt: skip


free_offline = single(_free_offline)
waiting_offline = single(_waiting_offline)
sweep_offline = single(_sweep_offline)
