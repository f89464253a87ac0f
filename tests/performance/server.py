"""Where a real server's microseconds go: a cluster of its own under load, seen by perf and py-spy.

    python -m tests.performance.server message users=200 window=1 time=8
    python -m tests.performance.server message users=200 window=1 time=8 nodes=2 cross=1
    python -m tests.performance.server login users=2000 mechanism=SCRAM-SHA-1 full=1 contacts=30

The mode and its options are those of loadtest/bench/generator.c. For each process it prints the CPU an operation
took, and how perf divides it: system calls by name, user code, the rest of the kernel (interrupts, switches). For
the first node it then prints what py-spy saw of the modules in user code. What is not installed is left out.
"""

import argparse
import linecache
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.cluster import RunningCluster
from xcluster.loadtest.bench import processes
from xcluster.loadtest.bench.generator import Generator

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0
PROFILE_S = 4
HERTZ = 2000
STARTED_S = 0.3  # a profiler needs to attach
_FRAME = re.compile(r"\S+ \((\S+\.py):(\d+)\)$")
_IN_KERNEL = re.compile(r"\.(send|recv)\(")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.performance.server",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("mode", choices=("message", "login", "classic"))
    parser.add_argument("options", nargs="*", metavar="KEY=VALUE", help="of the generator; and nodes=N")
    given = parser.parse_args()
    if wrong := [option for option in given.options if "=" not in option]:
        parser.error(f"not KEY=VALUE: {wrong[0]}")
    options: dict[str, object] = dict(option.split("=", 1) for option in given.options)
    nodes = int(str(options.pop("nodes", 1)))
    for program in ("perf", "py-spy"):
        if _program(program) is None:
            print(f"{program} is not installed: its part is left out", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        _run(Path(folder), given.mode, nodes, options)
    return 0


def _run(folder: Path, mode: str, nodes: int, options: dict[str, object]) -> None:
    cluster = RunningCluster(folder / "cluster", nodes=nodes, buses=1 if nodes > 1 else 0)
    try:
        cluster.provision(int(str(options.get("users", 400))))
        addresses = ",".join(f"127.0.0.1:{cluster.port(f'n{number + 1}')}" for number in range(nodes))
        pids = {one["name"]: one["pid"] for one in cluster.state()["processes"] if one["name"] != "up"}
        with Generator().run(
            mode, nodes=addresses, domain=cluster.domain, password="secret", **options
        ) as load:
            load.ready(LIMIT_S)
            before = {name: processes.cpu_s(pid) for name, pid in pids.items()}
            with ExitStack() as profiles:
                for name, pid in pids.items():
                    profiles.enter_context(_perf(pid, folder / f"{name}.perf"))
                load.go()
            done = load.done(LIMIT_S)
            spent = {name: processes.cpu_s(pid) - before[name] for name, pid in pids.items()}
            operations = done.get("delivered") or done.get("logins") or 1
        for name, seconds in spent.items():
            print(f"{name}: {seconds / operations * 1e6:.1f} µs an operation ({operations} of them)")
            _print_perf(folder / f"{name}.perf")
        with Generator().run(
            mode, nodes=addresses, domain=cluster.domain, password="secret", **options
        ) as load:
            load.ready(LIMIT_S)
            with _py_spy(pids["n1"], folder / "n1.spy"):
                load.go()
            load.done(LIMIT_S)
        _print_modules(folder / "n1.spy")
    finally:
        cluster.stop()


def _program(name: str) -> str | None:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name)


@contextmanager
def _perf(pid: int, file: Path) -> Iterator[None]:
    """Sample a process for PROFILE_S, from now on; at the end the file is there."""
    options = ["-e", "cpu-clock", "-F", str(HERTZ), "-g", "-o", str(file), "-p", str(pid)]
    with _running("perf", "record", *options, "--", "sleep", str(PROFILE_S)):
        yield


@contextmanager
def _py_spy(pid: int, file: Path) -> Iterator[None]:
    options = ["-d", str(PROFILE_S), "-r", "500", "-f", "raw", "-o", str(file), "--pid", str(pid)]
    with _running("py-spy", "record", *options):
        yield


@contextmanager
def _running(program: str, *arguments: str) -> Iterator[None]:
    """A profiler, if there is one, until it has finished by itself."""
    path = _program(program)
    if path is None:
        yield
        return
    profiler = subprocess.Popen([path, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(STARTED_S)
        yield
    finally:
        profiler.wait(PROFILE_S + 30)


def _print_perf(file: Path) -> None:
    program = _program("perf")
    if program is None or not file.exists():
        return
    script = subprocess.run(
        [program, "script", "-i", str(file), "-F", "comm,tid,ip,sym"], capture_output=True, text=True
    )
    counts: Counter[str] = Counter()
    for sample in script.stdout.split("\n\n"):
        head, _, stack = sample.strip().partition("\n")
        if stack:
            call = re.search(r"__(?:x64|arm64)_sys_(\w+)", stack)
            in_kernel = stack.split(maxsplit=1)[0].startswith("ffff")
            part = call[1] if call else "rest of the kernel" if in_kernel else "user code"
            counts[f"{head.rsplit(maxsplit=1)[0]}: {part}"] += 1
    _print_shares(counts)


def _print_modules(file: Path) -> None:
    """Samples by the module whose line was executed. System calls and the loop's sleep are not counted: py-spy
    sees them more often than they are."""
    counts: Counter[str] = Counter()
    for line in file.read_text().splitlines() if file.exists() else ():
        stack, _, count = line.rpartition(" ")
        frames = [match for frame in stack.split(";") if (match := _FRAME.search(frame))]
        ours = [match for match in frames if (ROOT / match[1]).exists()]
        if not frames or not ours or "gevent/hub.py" not in stack:
            continue
        leaf = frames[-1]
        if not _IN_KERNEL.search(linecache.getline(str(ROOT / leaf[1]), int(leaf[2]))):
            counts[ours[-1][1]] += int(count)
    if counts:
        print("n1, user code by module")
        _print_shares(counts)


def _print_shares(counts: Counter[str]) -> None:
    whole = counts.total()
    for name, count in counts.most_common():
        if count >= whole / 200:
            print(f"  {count / whole:6.1%} {name}")


if __name__ == "__main__":
    sys.exit(main())
