"""What `hold` shows: a line as it goes, then a table, JSON, a picture of the course."""

import json
import os
import platform
import time
from pathlib import Path

import msgspec
from rich.table import Table

from xcluster.loadtest.bench.outcome import LOGINS_PER_S, P99_MS, Cpu, Memory, Moment, Outcome

MIB = 1024


def line(moment: Moment) -> str:
    """A moment in one line."""
    memory, cpu = moment.memory, moment.cpu
    p99 = f"{moment.p99_ms:.1f} ms" if moment.p99_ms is not None else "–"
    return (
        f"{moment.at_s:6.0f} s  {moment.phase:<9} {moment.sessions:>7,} sessions  "
        f"{moment.logins_per_s:6.0f} log-ins/s  {moment.messages:>6,} messages  p99 {p99:>9}  "
        f"nodes {sum(memory.nodes_kib) / MIB:,.0f} MiB  buses {memory.buses_kib / MIB:.0f} MiB  CPU "
        f"nodes {100 * cpu.nodes_s:.0f} %  buses {100 * cpu.buses_s:.0f} %  load {100 * cpu.generators_s:.0f} %"
    )


def table(outcome: Outcome) -> Table:
    plan = outcome.plan
    shown = Table(
        title=f"{plan.sessions:,} sessions on {plan.nodes} nodes, {'TLS' if plan.tls else 'no TLS'}, "
        f"{plan.mechanism}, {outcome.contacts} contacts each"
    )
    for name in ("figure", "value", "apart"):
        shown.add_column(name, justify="left" if name != "value" else "right")
    for row in _memory(outcome) + _cpu(outcome) + _times(outcome):
        shown.add_row(*row)
    return shown


def _memory(outcome: Outcome) -> list[tuple[str, str, str]]:
    rows, plan, empty = [], outcome.plan, outcome.empty
    for name, memory in (("all there", outcome.full), ("at the end", outcome.after)):
        if empty is None or memory is None:
            continue
        grown = [(here - there) for here, there in zip(memory.nodes_kib, empty.nodes_kib, strict=True)]
        each = ", ".join(f"{kib * len(grown) / plan.sessions:.1f}" for kib in grown)
        rows += [
            (f"memory per session, {name}", f"{sum(grown) / plan.sessions:.1f} KiB", f"by node: {each}"),
            (
                f"memory of a node, {name}",
                f"{sum(memory.nodes_kib) / len(grown) / MIB:,.0f} MiB",
                _parts(memory),
            ),
        ]
    if empty is not None:
        mean = sum(empty.nodes_kib) / len(empty.nodes_kib) / MIB
        rows.append(("memory of a node, empty", f"{mean:,.0f} MiB", _parts(empty)))
    return rows


def _parts(memory: Memory) -> str:
    nodes = ", ".join(f"{kib / MIB:,.0f}" for kib in memory.nodes_kib)
    return (
        f"nodes {nodes}; buses {memory.buses_kib / MIB:,.0f}; supervisor {memory.supervisor_kib / MIB:,.0f}"
    )


def _cpu(outcome: Outcome) -> list[tuple[str, str, str]]:
    rows = []
    for name, cpu, unit, scale in (
        ("CPU per log-in", outcome.login_cpu, "ms", 1e3),
        ("CPU while idle, of a core", outcome.idle_cpu, "%", 100),
        ("CPU with messages, of a core", outcome.hold_cpu, "%", 100),
    ):
        if cpu is not None:
            rows.append((name, f"{(cpu.nodes_s + cpu.buses_s) * scale:.3g} {unit}", _shares(cpu, scale)))
    return rows


def _shares(cpu: Cpu, scale: float) -> str:
    return (
        f"nodes {cpu.nodes_s * scale:.3g}, buses {cpu.buses_s * scale:.3g}; not counted: supervisor "
        f"{cpu.supervisor_s * scale:.3g}, generators {cpu.generators_s * scale:.3g}; nodes waited for a core "
        f"{cpu.waited_s * scale:.3g}"
    )


def _times(outcome: Outcome) -> list[tuple[str, str, str]]:
    rows = []
    if outcome.rates:
        mean = outcome.counts.get("logins", 0) / max(1e-3, outcome.login_seconds)
        rows.append((
            "log-ins per second", f"{mean:,.0f}",
            f"slowest {min(outcome.rates):,.0f}, fastest {max(outcome.rates):,.0f}, last {outcome.last_rate:,.0f}; "
            f"{outcome.login_seconds:,.0f} s",
        ))  # fmt: skip
    if outcome.p50_ms is not None:
        spread = f"p99 {outcome.p99_ms:.1f}, longest {outcome.longest_ms:.1f}"
        rows.append(("message, p50", f"{outcome.p50_ms:.1f} ms", spread))
    return rows


def as_json(outcome: Outcome) -> str:
    about = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}",
        "python": platform.python_version(),
        "conditions": [{"text": text, "holds": holds} for text, holds in outcome.conditions()],
    }
    return json.dumps(about | msgspec.to_builtins(outcome), indent=1, ensure_ascii=False) + "\n"


def draw(outcome: Outcome, file: Path) -> None:
    """The course over time: sessions, log-ins, memory, CPU, p99."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    course = outcome.course
    if not course:
        return
    at = [moment.at_s for moment in course]
    sessions, logins, memory, cpu, p99 = range(5)
    figure, axes = pyplot.subplots(5, 1, figsize=(10, 11), sharex=True, layout="constrained")
    axes[sessions].plot(at, [moment.sessions for moment in course])
    axes[sessions].set_ylabel("sessions")
    axes[logins].plot(at, [moment.logins_per_s for moment in course])
    axes[logins].axhline(LOGINS_PER_S, color="grey", linewidth=0.8)
    axes[logins].set_ylabel("log-ins/s")
    for node in range(len(course[0].memory.nodes_kib)):
        sizes = [moment.memory.nodes_kib[node] / MIB for moment in course]
        axes[memory].plot(at, sizes, label=f"node {node + 1}")
    axes[memory].plot(at, [moment.memory.buses_kib / MIB for moment in course], label="buses", linestyle="--")
    axes[memory].set_ylabel("PSS, MiB")
    for name, label in (
        ("nodes_s", "nodes"),
        ("buses_s", "buses"),
        ("generators_s", "generators"),
        ("waited_s", "nodes waiting for a core"),
    ):
        axes[cpu].plot(at, [getattr(moment.cpu, name) for moment in course], label=label)
    axes[cpu].set_ylabel("CPU, cores")
    said = [moment for moment in course if moment.p99_ms is not None]
    axes[p99].plot([moment.at_s for moment in said], [moment.p99_ms for moment in said])
    axes[p99].axhline(P99_MS, color="grey", linewidth=0.8)
    axes[p99].set_ylabel("p99, ms")
    axes[p99].set_xlabel("seconds")
    for each in axes:
        each.set_ylim(bottom=0)
        each.grid(alpha=0.3)
    for each in (axes[memory], axes[cpu]):
        each.legend(loc="center right", fontsize="small")
    plan = outcome.plan
    figure.suptitle(f"{plan.sessions:,} sessions, {plan.nodes} nodes{', TLS' if plan.tls else ''}")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)
