"""Many accounts and rosters at bulk speed, a chunk per transaction."""

from typing import Any

from xcluster.node.store import sql_accounts, sql_rosters
from xcluster.node.store.connection import Connection, single
from xcluster.node.store.protocol import Account, Roster


def _put_accounts(db: Connection, accounts: list[Account]) -> None:
    db.insert(
        "accounts",
        sql_accounts.TYPES,
        [sql_accounts.to_row(account) for account in accounts],
        "on conflict (localpart) do update set sha1 = excluded.sha1, sha256 = excluded.sha256,"
        " disabled = excluded.disabled, created_at = excluded.created_at",
    )


def _put_rosters(db: Connection, rosters: list[tuple[str, Roster]]) -> None:
    """Replace whole rosters; what a client knows of the old ones is then worth nothing (the floor)."""
    latest = dict(rosters)
    condition, users = db.among("localpart", latest)
    versions = dict(db.all(f"select localpart, roster_version from accounts where {condition}", *users))
    db.run(f"delete from roster_items where {condition}", *users)
    raised: dict[int, list[str]] = {}
    rows: list[tuple[Any, ...]] = []
    for user, old in versions.items():
        roster = latest[user]
        highest = max((item.version for item in roster.items), default=0)
        raised.setdefault(max(roster.version, highest, old + 1), []).append(user)
        rows.extend(sql_rosters.to_row(user, item) for item in roster.items)
    rows.sort(key=lambda row: row[:2])
    db.bulk("roster_items", sql_rosters.TYPES, rows)
    for version, names in raised.items():
        condition, users = db.among("localpart", names)
        db.run(
            f"update accounts set roster_version = ?, roster_floor = ? where {condition}",
            version, version, *users,
        )  # fmt: skip


put_accounts = single(_put_accounts)
put_rosters = single(_put_rosters, users=lambda db, call: [user for user, _ in call[0]])
