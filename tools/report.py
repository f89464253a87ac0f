"""What the nodes' answers look like to a person."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

_ALIVE = "alive"


def table(rows: Sequence[Mapping[str, Any]], title: str = "") -> Table:
    """One row a mapping; the columns are the keys, in the order in which they first appear."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for column in columns:
        is_number = any(isinstance(row.get(column), int | float) for row in rows)
        drawn.add_column(column, justify="right" if is_number else "left")
    for row in rows:
        drawn.add_row(*(cell(row.get(column, "")) for column in columns))
    return drawn


def cell(value: object) -> str:
    """A value in a table: floats short, truth as a word, nothing as nothing."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.1f}"
        case dict():
            return " ".join(f"{key}={cell(item)}" for key, item in value.items())
        case list() | tuple():
            return ", ".join(cell(item) for item in value)
        case _:
            return str(value)


def node_rows(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a node of /api/cluster."""
    rows = []
    for name, node in sorted(cluster["nodes"].items()):
        if "error" in node:
            rows.append({"node": name, "error": node["error"]})
            continue
        bus = node.get("bus", [])
        rows.append(
            {
                "node": name,
                "incarnation": str(node["incarnation"]),
                "ready": node["ready"],
                "sessions": node["sessions"],
                "users_online": node["users_online"],
                "uptime_s": node["uptime_s"],
                "seq": node["seq"],
                "bus": f"{sum(1 for path in bus if path['up'])}/{len(bus)}" if bus else "none",
                "store": "ok" if node["store"]["healthy"] else "DOWN",
            }
        )
    return rows


def member_rows(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Who sees whom: one row for each member that a node knows."""
    return [
        {"seen by": name, **{key: _plain(key, value) for key, value in member.items()}}
        for name, node in sorted(cluster["nodes"].items())
        for member in node.get("members", [])
    ]


def early_rows(cluster: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"node": name, **node["early"]} for name, node in sorted(cluster["nodes"].items()) if "early" in node
    ]


def memory_tables(cluster: Mapping[str, Any]) -> Iterable[Table | str]:
    """All of `xcluster status --memory`: what each node has grown by since its start, by kind."""
    for number, (name, node) in enumerate(sorted(cluster["nodes"].items())):
        gap = "\n" if number else ""
        if "error" in node:
            yield f"{gap}{name}: {node['error']}"
            continue
        yield gap + memory_line(name, node)
        yield table(memory_rows(node))


def memory_line(name: str, node: Mapping[str, Any]) -> str:
    """In MiB; short, so that a terminal does not wrap it."""
    return (
        f"{name}: {_mib(node['pss'])} MiB, {_mib(node['grown'])} since the start; {node['sessions']} sessions; "
        f"malloc {_mib(node['malloc_in_use'])}, free {_mib(node['malloc_free'])}"
    )


def memory_rows(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row a kind; what rounds to nothing is left out."""
    rows = [
        {
            "kind": row["kind"],
            "count": row["count"] or None,
            "KiB": round(row["bytes"] / 1024),
            "bytes/session": row["per_session"] if node["sessions"] else None,
        }
        for row in node["kinds"]
        if abs(row["bytes"]) >= 512
    ]
    total = {"kind": "grown since the start", "KiB": round(node["grown"] / 1024)}
    if node["sessions"]:
        total["bytes/session"] = round(node["grown"] / node["sessions"])
    return [*rows, total]


def _mib(size: int) -> str:
    return f"{size / 1048576:.1f}"


def digest_line(cluster: Mapping[str, Any]) -> str:
    """Whether the digests agree among the nodes that stand at the same positions."""
    digests = [node["digests"] for node in cluster["nodes"].values() if "digests" in node]
    alike = all(digest == digests[0] for digest in digests)
    return f"digests: {'equal' if alike else 'differ (on their way, or see `xcluster verify`)'}"


def cluster_tables(cluster: Mapping[str, Any]) -> Iterable[Table | str]:
    """All of `xcluster status`."""
    yield table(node_rows(cluster), "nodes")
    if members := member_rows(cluster):
        yield table(members, "\nmembers")
    if early := early_rows(cluster):
        yield table(early, "\nearly tasks")
    yield "\n" + digest_line(cluster)


def is_well(cluster: Mapping[str, Any]) -> bool:
    """Every node answers and is ready, and holds every member alive."""
    return all(
        "error" not in node
        and node["ready"]
        and all(member["state"] == _ALIVE for member in node.get("members", []))
        for node in cluster["nodes"].values()
    )


def all_answer(cluster: Mapping[str, Any]) -> bool:
    return all("error" not in node for node in cluster["nodes"].values())


def _plain(key: str, value: Any) -> Any:
    return str(value) if key == "incarnation" else value  # a name, not an amount
