"""A row's figures: a value per run and server, median and spread, and how ours compares (I/O: its imports)."""

import json
import statistics
from typing import Any

import msgspec

from xcluster.loadtest.bench.harness import Found
from xcluster.loadtest.bench.rows import Row

OURS = "xcluster"


class Result(msgspec.Struct):
    """A row as measured: what each run found, or why it found nothing, by server."""

    row: Row
    found: dict[str, list[Found]] = msgspec.field(default_factory=dict)
    void: dict[str, list[str]] = msgspec.field(default_factory=dict)

    def values(self, server: str) -> list[float]:
        """Empty when one of its runs was void: a server that sometimes loses messages has no figure."""
        return [] if server in self.void else [each.value for each in self.found.get(server, [])]

    def median(self, server: str) -> float | None:
        values = self.values(server)
        return statistics.median(values) if values else None

    def spread(self, server: str) -> tuple[float, float] | None:
        values = self.values(server)
        return (min(values), max(values)) if values else None

    def best_peer(self) -> tuple[str, float] | None:
        """The peer, at whichever setting, that does it best."""
        medians = [(name, self.median(name)) for name in self.found if name != OURS]
        known = [(name, value) for name, value in medians if value is not None]
        best = max if self.row.upward else min
        return best(known, key=lambda peer: peer[1]) if known else None

    def ratio(self) -> float | None:
        """Ours as a multiple of the best peer's, in the same run."""
        ours, best = self.median(OURS), self.best_peer()
        return ours / best[1] if ours is not None and best and best[1] > 0 else None

    def reaches_goal(self) -> bool | None:
        ours, goals = self.median(OURS), self.row.goals
        if ours is None or goals is None:
            return None
        return ours >= goals[0] if self.row.upward else ours <= goals[0]

    def reaches_share(self) -> bool | None:
        """Whether ours is at most the wanted share of the best peer's."""
        ratio = self.ratio()
        return None if ratio is None or self.row.share is None else ratio <= self.row.share


def as_json(results: list[Result], about: dict[str, Any]) -> str:
    rows = [
        {
            "name": result.row.name,
            "unit": result.row.unit,
            "servers": {
                name: {
                    "median": result.median(name),
                    "spread": result.spread(name),
                    "runs": msgspec.to_builtins(runs),
                }
                for name, runs in result.found.items()
            },
            "void": result.void,
            "best_peer": result.best_peer(),
            "ours_to_best_peer": result.ratio(),
            "share_wanted": result.row.share,
            "reaches_share": result.reaches_share(),
            "goals": result.row.goals,
            "reaches_goal": result.reaches_goal(),
            "reference": result.row.reference,
        }
        for result in results
    ]
    return json.dumps({**about, "rows": rows}, indent=2, ensure_ascii=False) + "\n"
