"""What a running cluster uses: memory and CPU of its nodes, of its buses, of what looks after them (I/O)."""

import contextlib
from pathlib import Path

from xcluster.loadtest.bench import processes
from xcluster.loadtest.bench.crew import Crew
from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.outcome import Cpu, Memory
from xcluster.loadtest.bench.servers import Running


class Meter:
    """Reads /proc for one cluster and its load."""

    def __init__(self, running: Running, crew: Crew) -> None:
        self._roots = running.roots
        self._nodes = running.node_pids
        of_nodes = set(processes.tree(*self._nodes))
        others = [pid for pid in processes.tree(*self._roots) if pid not in of_nodes]
        self._supervisors = [pid for pid in others if pid in self._roots]
        self._buses = [pid for pid in others if pid not in self._roots]
        self._crew = crew

    def check(self) -> None:
        """Raises BenchError when a process of the cluster has ended; it may have been started again since."""
        for name, pids in (("node", self._nodes), ("bus", self._buses), ("supervisor", self._supervisors)):
            for number, pid in enumerate(pids, 1):
                if not Path(f"/proc/{pid}").exists():
                    raise BenchError(f"{name} {number} ended (process {pid}); see bench.log in its folder")

    def cpu(self) -> Cpu:
        nodes, buses = processes.cpu_s(*self._nodes), processes.cpu_s(*self._buses)
        whole = processes.cpu_s(*self._roots)
        return Cpu(nodes, buses, max(0.0, whole - nodes - buses), self._crew.cpu_s(), _waited_s(self._nodes))

    def memory(self) -> Memory:
        """A reading takes some milliseconds of the measured process's time: not every second."""
        sizes = processes.pss_kib([*self._nodes, *self._buses, *self._supervisors])
        return Memory(
            [sizes.get(pid, 0) for pid in self._nodes],
            sum(sizes.get(pid, 0) for pid in self._buses),
            sum(sizes.get(pid, 0) for pid in self._supervisors),
        )


def _waited_s(pids: list[int]) -> float:
    """How long their threads have been ready to run while others ran (schedstat: run, wait, slices)."""
    waited = 0
    for pid in pids:
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # the thread ended meanwhile
                waited += int(file.read_text().split()[1])
    return waited / 1e9
