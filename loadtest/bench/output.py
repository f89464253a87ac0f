"""The bench's results for people: table and picture (I/O)."""

from pathlib import Path

from rich.table import Table

from xcluster.loadtest.bench.results import OURS, Result

REACHED, MISSED = "✓", "✗"
SHORTEST = 0.02  # bar, so that a figure near nothing is seen


def table(results: list[Result], servers: list[str]) -> Table:
    """Medians with the lowest and highest of several runs; ours against the best peer and the goals."""
    shown = Table(title="What an operation costs (medians; lowest and highest run)")
    shown.add_column("operation", no_wrap=True)
    for name in servers:
        shown.add_column(name, justify="right")
    for name in ("ours / best", "wanted", "goal", "then"):
        shown.add_column(name, justify="right")
    for result in results:
        if not result.found and not result.void:
            continue
        row, ratio, reached = result.row, result.ratio(), [result.reaches_goal(), result.reaches_share()]
        shown.add_row(
            f"{row.name}, {row.unit}",
            *(_cell(result, name) for name in servers),
            f"{ratio:.2f}{_mark(reached[1])}" if ratio is not None else "",
            f"{row.share:g}" if row.share is not None else "",
            f"{short(row.goals[0])}{_mark(reached[0])}" if row.goals else "",
            short(row.goals[1]) if row.goals else "",
            style="red" if False in reached else "green" if True in reached else None,
        )
    return shown


def _mark(reached: bool | None) -> str:
    return "" if reached is None else f" {REACHED if reached else MISSED}"


def _cell(result: Result, name: str) -> str:
    median, spread = result.median(name), result.spread(name)
    if median is None or spread is None:
        return "void" if name in result.void else "–"
    if len(result.values(name)) == 1:
        return short(median)
    return f"{short(median)} ({short(spread[0])}–{short(spread[1])})"


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def draw(results: list[Result], servers: list[str], file: Path) -> None:
    """A bar for each server and row, whiskers from the lowest to the highest run.

    In multiples of the best peer's median, where one was measured, so that the wanted half is one line; else
    of the goal.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [(result, unit) for result in results if (unit := _unit(result))]
    if not rows:
        return
    figure, axes = pyplot.subplots(figsize=(10, 1.2 + 0.14 * len(rows) * (len(servers) + 1)))
    height = 0.8 / len(servers)
    for index, name in enumerate(servers):
        places, lengths, below, above = [], [], [], []
        for line, (result, unit) in enumerate(rows):
            median, spread = result.median(name), result.spread(name)
            if median is None or spread is None:
                continue
            low, middle, high = (max(value / unit, SHORTEST) for value in (spread[0], median, spread[1]))
            places.append(line + index * height)
            lengths.append(middle)
            below.append(middle - low)
            above.append(high - middle)
        axes.barh(
            places, lengths, height, xerr=(below, above), label=name,
            color="tab:red" if name == OURS else None, error_kw={"elinewidth": 0.8, "capsize": 1.5},
        )  # fmt: skip
    axes.axvline(1.0, color="black", linewidth=1)
    axes.axvline(0.5, color="black", linewidth=1, linestyle=":")
    axes.set_yticks(
        [line + 0.4 - height / 2 for line in range(len(rows))], [_label(each) for each, _ in rows]
    )
    axes.set_xscale("log")
    axes.set_xlim(left=SHORTEST / 2)
    axes.set_xlabel("times the best peer's median (less is better; *: no peer, times the goal)")
    axes.set_ylim(len(rows) - 0.2, -height)  # the first row on top
    axes.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def _unit(result: Result) -> float | None:
    """What is 1 in the picture."""
    best = result.best_peer()
    if best and best[1] > 0:
        return best[1]
    return result.row.goals[0] if result.found and result.row.goals else None


def _label(result: Result) -> str:
    best = result.best_peer()
    label = f"{result.row.name}{' (more is better)' if result.row.upward else ''}"
    return label if best and best[1] > 0 else f"{label} *"
