"""The cluster's own rows in SQL: heartbeats, incarnations, settings, notices."""

from xcluster.node.store.connection import Connection, single
from xcluster.node.store.protocol import NodeRow, Notice

NODE_KEPT_S = 86_400.0
NOTICE_KEPT_S = 3_600.0


def _beat(db: Connection, row: NodeRow) -> list[NodeRow]:
    # An incarnation that was superseded must not hide the one that took its place.
    db.run(
        "insert into nodes (name, incarnation, host, pid, clustered, seen_at, beats)"
        " values (?, ?, ?, ?, ?, ?, 1) on conflict (name) do update set incarnation = excluded.incarnation,"
        " host = excluded.host, pid = excluded.pid, clustered = excluded.clustered,"
        " seen_at = excluded.seen_at, beats = nodes.beats + 1"
        " where excluded.incarnation >= nodes.incarnation",
        row.name, row.incarnation, row.host, row.pid, int(row.clustered), row.seen_at,
    )  # fmt: skip
    return _nodes(db)


def _nodes(db: Connection) -> list[NodeRow]:
    rows = db.all("select name, incarnation, host, pid, clustered, seen_at, beats from nodes order by name")
    return [
        NodeRow(name, incarnation, host, pid, bool(clustered), seen_at, beats)
        for name, incarnation, host, pid, clustered, seen_at, beats in rows
    ]


def _claim_incarnation(db: Connection, name: str, at_least: int) -> int:
    row = db.one(
        "insert into incarnations (name, incarnation) values (?, ?) on conflict (name) do update"
        " set incarnation = case when incarnations.incarnation >= excluded.incarnation"
        " then incarnations.incarnation + 1 else excluded.incarnation end returning incarnation",
        name, max(at_least, 1),
    )  # fmt: skip
    assert row is not None
    return int(row[0])


def _settings(db: Connection) -> dict[str, str]:
    return dict(db.all("select name, setting from settings order by name"))


def _set_setting(db: Connection, key: str, value: str) -> None:
    db.run(
        "insert into settings (name, setting) values (?, ?)"
        " on conflict (name) do update set setting = excluded.setting",
        key, value,
    )  # fmt: skip


def _notices(db: Connection, after: int) -> list[Notice]:
    rows = db.all("select kind, subject, id from notices where id > ? order by id", after)
    return [Notice(*row) for row in rows]


def _add_notices(db: Connection, notices: list[Notice], now: float) -> None:
    # Nodes ask for what is above the highest they saw: a lower one must not appear later.
    db.lock_table("notices")
    db.insert(
        "notices",
        {"kind": "text", "subject": "text", "created_at": "double precision"},
        [(notice.kind, notice.subject, now) for notice in notices],
    )


def _last_notice(db: Connection) -> int:
    row = db.one("select max(id) from notices")
    return int(row[0] or 0) if row else 0


def _sweep_cluster(db: Connection, now: float) -> None:
    # The newest notice stays: `last_notice` must not go back.
    db.run(
        "delete from notices where created_at < ? and id < (select max(id) from notices)",
        now - NOTICE_KEPT_S,
    )
    db.run("delete from nodes where seen_at < ?", now - NODE_KEPT_S)


beat = single(_beat)
nodes = single(_nodes)
claim_incarnation = single(_claim_incarnation)
settings = single(_settings)
set_setting = single(_set_setting)
notices = single(_notices)
add_notices = single(_add_notices)
last_notice = single(_last_notice)
sweep_cluster = single(_sweep_cluster)
