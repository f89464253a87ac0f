"""The bench's results: table, JSON, picture."""

import json
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from xcluster.loadtest.bench.rows import Found, Row

OURS = "xcluster"
PEERS = ("ejabberd", "prosody")


class Result(msgspec.Struct):
    """A row as measured: a value or a reason why there is none, by server."""

    row: Row
    found: dict[str, Found] = msgspec.field(default_factory=dict)
    void: dict[str, str] = msgspec.field(default_factory=dict)

    def best_peer(self) -> float | None:
        return min((found.value for name, found in self.found.items() if name != OURS), default=None)

    def ratio(self) -> float | None:
        """How many times as much the best peer of this run costs."""
        ours, best = self.found.get(OURS), self.best_peer()
        return best / ours.value if ours and best and ours.value > 0 else None


def table(results: list[Result], servers: list[str]) -> Table:
    shown = Table(title="What an operation costs (design.md §9)")
    shown.add_column("operation", no_wrap=True)
    for name in servers:
        shown.add_column(name, justify="right")
    for name in ("peer/ours", "goal", "then", *(f"{peer} in design.md" for peer in PEERS)):
        shown.add_column(name, justify="right")
    for result in results:
        ours, goals, ratio = result.found.get(OURS), result.row.goals, result.ratio()
        cells = [_cell(result, name) for name in servers]
        shown.add_row(
            f"{result.row.name}, {result.row.unit}",
            *cells,
            f"{ratio:.1f}x" if ratio else "",
            *(map(_short, goals) if goals else ("", "")),
            *(_short(result.row.reference[peer]) if peer in result.row.reference else "" for peer in PEERS),
            style="green" if ours and goals and ours.value <= goals[0] else None,
        )
    return shown


def _cell(result: Result, name: str) -> str:
    if name in result.found:
        return _short(result.found[name].value)
    return "void" if name in result.void else "–"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def as_json(results: list[Result], about: dict[str, Any]) -> str:
    rows = [
        {
            "name": result.row.name,
            "unit": result.row.unit,
            "found": msgspec.to_builtins(result.found),
            "void": result.void,
            "peer_to_ours": result.ratio(),
            "goals": result.row.goals,
            "reference": result.row.reference,
        }
        for result in results
    ]
    return json.dumps({**about, "rows": rows}, indent=2, ensure_ascii=False) + "\n"


def draw(results: list[Result], servers: list[str], file: Path) -> None:
    """A bar for each server and row, as multiples of the row's first goal (the line at 1)."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [result for result in results if result.found and result.row.goals]
    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.5 * len(rows)), layout="constrained")
    height = 0.8 / len(servers)
    for index, name in enumerate(servers):
        bars = [
            (line + index * height, max(result.found[name].value, 1e-3) / result.row.goals[0])
            for line, result in enumerate(rows)
            if name in result.found and result.row.goals
        ]
        axes.barh([y for y, _ in bars], [x for _, x in bars], height, label=name)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_yticks(
        [line + 0.4 - height / 2 for line in range(len(rows))], [result.row.name for result in rows]
    )
    axes.set_xscale("log")
    axes.set_xlabel("times the first goal of design.md §9 (less is better)")
    axes.invert_yaxis()
    axes.legend()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)
