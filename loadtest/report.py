"""What a run showed: counts that add up over processes, a table for people, a summary for scripts."""

from collections import Counter
from typing import Any

import msgspec
from rich.table import Table

from xcluster.loadtest.histogram import Histogram
from xcluster.loadtest.ledger import FAULTS, Tally
from xcluster.loadtest.sightings import Verdict


class Report(msgspec.Struct):
    """All that counts of one run, or of one process's part of it."""

    scenario: str
    domain: str
    seconds: float = 0.0  # during which clients arrived
    sessions: dict[str, int] = msgspec.field(default_factory=dict)  # log-ins that succeeded, by node
    login: Histogram = msgspec.field(default_factory=Histogram)
    failures: dict[str, int] = msgspec.field(default_factory=dict)  # log-ins and sessions, by what went wrong
    turned_away: int = 0  # arrivals when everybody was there already
    contacts: dict[int, int] = msgspec.field(default_factory=dict)  # roster sizes, and how often each
    tally: Tally = msgspec.field(default_factory=Tally)
    live: int = 0  # messages read by somebody who was online
    crossed: int = 0  # of those, read on another node than they were written on
    kept: int | None = None  # messages written to users who were away (classic)
    fetched: int = 0  # of those, read after the run
    seen: dict[str, Verdict] = msgspec.field(default_factory=dict)  # presence, by phase

    @property
    def logins(self) -> int:
        return sum(self.sessions.values())

    @property
    def logins_per_s(self) -> float:
        return self.logins / self.seconds if self.seconds else 0.0

    @property
    def cross_share(self) -> float | None:
        return self.crossed / self.live if self.live else None

    @property
    def clean(self) -> bool:
        """No failed log-in or session, no message lost, doubled, misrouted, reordered, spoilt or returned."""
        told = sum(verdict.faults for verdict in self.seen.values())
        return not (self.failures or self.tally.faults or told) and self.logins > 0

    def failed(self, step: str, error: BaseException) -> None:
        reason = f"{step}: {getattr(error, 'condition', '') or type(error).__name__}"
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def merge(self, other: "Report") -> None:
        """Add another process's part of the same run."""
        for name in ("sessions", "failures", "contacts"):
            setattr(self, name, dict(Counter(getattr(self, name)) + Counter(getattr(other, name))))
        self.seconds = max(self.seconds, other.seconds)
        self.login.merge(other.login)
        self.turned_away += other.turned_away
        self.tally.merge(other.tally)
        self.live += other.live
        self.crossed += other.crossed
        if other.kept is not None:
            self.kept = (self.kept or 0) + other.kept
        self.fetched += other.fetched
        for phase, verdict in other.seen.items():
            self.seen.setdefault(phase, Verdict()).merge(verdict)

    def summary(self) -> dict[str, Any]:
        """For scripts: flat where it can be; durations in milliseconds."""
        tally = self.tally
        return {
            "scenario": self.scenario,
            "domain": self.domain,
            "clean": self.clean,
            "seconds": round(self.seconds, 3),
            "sessions": self.sessions,
            "logins": self.logins,
            "logins_per_s": round(self.logins_per_s, 1),
            "login_p50_ms": _ms(self.login, 0.5),
            "login_p99_ms": _ms(self.login, 0.99),
            "failures": self.failures,
            "turned_away": self.turned_away,
            "contacts": {str(size): count for size, count in self.contacts.items()},
            "messages": tally.written,
            "delivered": tally.read,
            "cross_share": self.cross_share,
            "latency_p50_ms": _ms(tally.latency, 0.5),
            "latency_p99_ms": _ms(tally.latency, 0.99),
            **{name: getattr(tally, name) for name in FAULTS},
            "offline_kept": self.kept,
            "offline_fetched": self.fetched if self.kept is not None else None,
            "presence": {phase: msgspec.to_builtins(verdict) for phase, verdict in self.seen.items()},
            "examples": self.examples(),
        }

    def examples(self) -> list[str]:
        """Some of what went wrong, in words."""
        return self.tally.examples + [text for verdict in self.seen.values() for text in verdict.examples]

    def rows(self) -> list[tuple[str, str, bool]]:
        """What it is, what it was, and whether that is good."""
        tally = self.tally
        rows = [(f"sessions on {node}", f"{count:,}", True) for node, count in sorted(self.sessions.items())]
        rows.append(("log-ins", f"{self.logins:,} in {self.seconds:.1f} s, {self.logins_per_s:.0f}/s", True))
        rows.append(("log-in p50 / p99", _both(self.login), True))
        if self.contacts:
            sizes = sorted(self.contacts)
            span = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            rows.append(("contacts per roster", span, True))
        if self.turned_away:
            rows.append(("arrivals turned away (too few users)", f"{self.turned_away:,}", True))
        rows += [
            (f"failed: {reason}", f"{count:,}", False) for reason, count in sorted(self.failures.items())
        ]
        if tally.written:
            share = self.cross_share
            rows.append(("messages delivered", f"{tally.read:,} of {tally.written:,}", True))
            rows.append(("share that crossed nodes", "–" if share is None else f"{share:.0%}", True))
            rows.append(("latency p50 / p99", _both(tally.latency), True))
            for name in FAULTS:
                rows.append((name, f"{getattr(tally, name):,}", getattr(tally, name) == 0))
        if tally.older:
            rows.append(("messages of an earlier run", f"{tally.older:,}", True))
        if self.kept is not None:
            rows.append(
                ("offline kept / fetched", f"{self.kept:,} / {self.fetched:,}", self.kept == self.fetched)
            )
        for phase, verdict in self.seen.items():
            rows.append((f"{phase}: told / expected", f"{verdict.expected - verdict.missing:,} / "
                         f"{verdict.expected:,}", verdict.missing == 0))  # fmt: skip
            rows.append((f"{phase}: repeated, strange", f"{verdict.repeated:,}, {verdict.strange:,}",
                         verdict.repeated + verdict.strange == 0))  # fmt: skip
        return rows

    def table(self) -> Table:
        table = Table(title=f"{self.scenario} on {self.domain}", show_header=False)
        table.add_column(no_wrap=True)
        table.add_column(justify="right")
        for name, value, good in self.rows():
            table.add_row(name, value, style=None if good else "bold red")
        return table


def _ms(histogram: Histogram, share: float) -> float | None:
    seconds = histogram.percentile(share)
    return None if seconds is None else round(seconds * 1000, 3)


def _both(histogram: Histogram) -> str:
    low, high = _ms(histogram, 0.5), _ms(histogram, 0.99)
    return "–" if low is None or high is None else f"{low:.1f} / {high:.1f} ms"
