"""What a cluster that held a large load has to show: figures, and the conditions that it met or did not."""

import msgspec

LOGINS_PER_S = 100.0  # at least, to the last one (issue 3)
P99_MS = 100.0
WINDOW = 1_000  # log-ins whose rate is looked at
LAST = 5_000


class Cpu(msgspec.Struct, frozen=True):
    """CPU seconds: since the processes' starts, or a second (cores), or an operation."""

    nodes_s: float
    buses_s: float
    supervisor_s: float
    generators_s: float  # they share the machine with the cluster
    waited_s: float = 0.0  # for a core: what the nodes would have run if others had not; it makes latency

    def since(self, before: "Cpu", share: float = 1.0) -> "Cpu":
        """What was spent from there to here, times `share`."""
        return Cpu(
            (self.nodes_s - before.nodes_s) * share,
            (self.buses_s - before.buses_s) * share,
            (self.supervisor_s - before.supervisor_s) * share,
            (self.generators_s - before.generators_s) * share,
            (self.waited_s - before.waited_s) * share,
        )


class Memory(msgspec.Struct, frozen=True):
    """PSS."""

    nodes_kib: list[int]  # in their order
    buses_kib: int
    supervisor_kib: int

    @property
    def total_kib(self) -> int:
        return sum(self.nodes_kib) + self.buses_kib


class Plan(msgspec.Struct, frozen=True):
    """What is asked for."""

    sessions: int
    nodes: int
    tls: bool = False
    minutes: float = 10.0
    active: float = 0.01  # share of the sessions that exchange messages
    messages_per_s: float = 200.0
    logins_per_s: float = 0.0  # 0: as fast as they are taken
    parallel: int = 64  # log-ins under way
    mechanism: str = "SCRAM-SHA-1"


class Moment(msgspec.Struct, frozen=True):
    """One line of the course: what was seen since the line before it."""

    at_s: float
    phase: str
    sessions: int
    logins_per_s: float
    messages: int
    p99_ms: float | None
    memory: Memory
    cpu: Cpu  # a second


class Outcome(msgspec.Struct):
    """Everything that was measured; what was not reached is None."""

    plan: Plan
    contacts: int
    course: list[Moment] = msgspec.field(default_factory=list)
    counts: dict[str, int] = msgspec.field(default_factory=dict)
    first_failure: str = ""
    error: str = ""  # why it ended early
    rates: list[float] = msgspec.field(default_factory=list)  # log-ins/s, by windows in their order
    last_rate: float = 0.0
    login_seconds: float = 0.0
    empty: Memory | None = None
    full: Memory | None = None  # all there, nothing said yet
    after: Memory | None = None
    login_cpu: Cpu | None = None  # of one log-in
    idle_cpu: Cpu | None = None  # a second
    hold_cpu: Cpu | None = None  # a second
    p50_ms: float | None = None
    p99_ms: float | None = None
    longest_ms: float | None = None
    beyond: int | None = None  # connections tried beyond the limit, and how many were refused
    refused: int = 0

    def arrived(self, arrivals: list[float], began: float) -> None:
        """Rates from the times at which sessions were there."""
        arrivals = sorted(arrivals)
        if not arrivals:
            return
        self.login_seconds = arrivals[-1] - began
        window = min(WINDOW, max(1, self.plan.sessions // 4))
        self.rates = rates(arrivals, began, window)
        last = min(LAST, len(arrivals) // 2 or 1)
        before = arrivals[-last - 1] if len(arrivals) > last else began
        self.last_rate = last / max(1e-3, arrivals[-1] - before)

    def conditions(self) -> list[tuple[str, bool]]:
        """What must hold (issue 3), and whether it did."""
        plan, get = self.plan, self.counts.get
        sampled = f"{get('sampled', 0):,} sessions"
        seen = (
            f"presence as seen by {sampled}: {get('missing', 0)} missing, {get('repeated', 0)} doubled, "
            f"{get('strange', 0)} strange; in all {get('presences', 0):,} of {plan.sessions * self.contacts:,}"
        )
        wrong = {name: get(name, 0) for name in ("lost", "doubled", "reordered", "corrupt", "misrouted")}
        checked = ", ".join(f"{count} {name}" for name, count in wrong.items())
        slowest = min(self.rates, default=0.0)
        found = [
            (f"{get('logins', 0):,} of {plan.sessions:,} logged in, {get('failures', 0)} failures",
             get("logins") == plan.sessions and not get("failures")),
            (f"at least {LOGINS_PER_S:.0f} log-ins/s: slowest {slowest:,.0f}, at the end {self.last_rate:,.0f}",
             min(slowest, self.last_rate) >= LOGINS_PER_S),
            (seen, bool(get("sampled")) and get("presences") == plan.sessions * self.contacts
             and not any(get(name) for name in ("missing", "repeated", "strange", "departures"))),
            (f"{get('dropped', 0)} dropped, {get('open', 0):,} there at the end",
             not get("dropped") and get("open") == plan.sessions),
            (f"{get('delivered', 0):,} of {get('written', 0):,} messages delivered: {checked}",
             bool(get("written")) and get("delivered") == get("written") and not any(wrong.values())),
            (f"p99 below {P99_MS:.0f} ms: " + (f"{self.p99_ms:.1f}" if self.p99_ms is not None else "none"),
             self.p99_ms is not None and self.p99_ms < P99_MS),
        ]  # fmt: skip
        if self.beyond is not None:
            found.append((f"{self.refused} of {self.beyond} connections beyond the limit refused",
                          self.refused == self.beyond))  # fmt: skip
        return [*found, (self.error, False)] if self.error else found

    @property
    def is_good(self) -> bool:
        return all(holds for _, holds in self.conditions())


def rates(arrivals: list[float], began: float, window: int) -> list[float]:
    """Log-ins per second, for each `window` of them in turn; a remainder belongs to the last."""
    result = []
    before = began
    for start in range(0, max(1, len(arrivals) - window + 1), window):
        end = start + window if start + 2 * window <= len(arrivals) else len(arrivals)
        result.append((end - start) / max(1e-3, arrivals[end - 1] - before))
        before = arrivals[end - 1]
    return result
