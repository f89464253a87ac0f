"""CPU time and memory of a process and all its descendants, from /proc (I/O, Linux)."""

import os
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields after the command name, which may itself hold spaces: state, ppid, ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(*roots: int) -> list[int]:
    """The processes and their descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(_stat(int(name))[1]), []).append(int(name))
            except OSError:
                continue  # it ended meanwhile
    found = list(roots)
    for pid in found:
        found.extend(children.get(pid, []))
    return found


def cpu_s(*roots: int) -> float:
    """User and system time of the trees, and of children that ended and were waited for."""
    ticks = 0
    for pid in tree(*roots):
        try:
            ticks += sum(map(int, _stat(pid)[11:15]))
        except OSError:
            continue
    return ticks * _TICK_S


def pss_kib(pids: list[int]) -> dict[int, int]:
    """Proportional set size of each process."""
    sizes = {}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        sizes[pid] = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
    return sizes
