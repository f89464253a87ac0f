"""All processes of a local cluster: started in order, started again when they die, ended in order."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from typing import Any

from xcluster.tools.child import Child
from xcluster.tools.cluster_dir import ClusterDir
from xcluster.tools.console import Console

_START_LIMIT_S = 30.0
_STOP_LIMIT_S = 10.0
_TICK_S = 0.5  # between looks at pulses; a death wakes us at once
_START_TICK_S = 0.05  # between looks at the files that say "ready"
_END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_OPERATORS_MISTAKE = 2


class StartFailed(Exception):
    """A process did not come up; the exit code for it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Supervisor:
    """Looks after buses and nodes until it is told to end. `run` must be called by the main thread."""

    def __init__(
        self, domain: str, buses: list[Child], nodes: list[Child], directory: ClusterDir,
        console: Console, restart: bool = True,
    ) -> None:  # fmt: skip
        self._domain = domain
        self._buses = buses
        self._nodes = nodes
        self._children = [*buses, *nodes]
        self._directory = directory
        self._console = console
        self._restart = restart
        self._up = False  # everybody was ready once
        self._ending = False
        self._wake = -1

    def run(self) -> int:
        """Start, look after, end; returns the exit code."""
        with self._signals():
            try:
                self._start(self._buses)
                self._start(self._nodes)
                if not self._ending:
                    self._up = True
                    self._write()
                    self._say(f"ready: {self._domain}, {self._ports()}; Ctrl-C ends all")
                while not self._ending:
                    self._wait(_TICK_S if self._all_ready() else _START_TICK_S)
                    self._look_after()
                return 0
            except StartFailed as failed:
                return failed.code
            finally:
                self._end()

    def _start(self, children: list[Child]) -> None:
        """Start some and wait until they are ready; raises StartFailed."""
        now = time.monotonic()
        for child in children:
            if not self._ending:
                child.start(now)
        while not self._ending and any(child.state != "ready" for child in children):
            self._wait(_START_TICK_S)
            for child in self._children:
                if child.state == "waiting":
                    continue
                code = child.poll()
                if code is not None:
                    self._explain(child, f"ended with {exit_text(code)} while it started")
                    raise StartFailed(_OPERATORS_MISTAKE if code == _OPERATORS_MISTAKE else 1)
            if time.monotonic() - now > _START_LIMIT_S:
                for child in children:
                    if child.state != "ready":
                        self._explain(child, f"was not ready within {_START_LIMIT_S:g} s")
                raise StartFailed(1)

    def _look_after(self) -> None:
        now = time.monotonic()
        changed = False
        for child in self._children:
            before = child.state
            if before == "ended":
                continue
            if before == "waiting":
                if now >= child.start_at:
                    child.start(now)
            else:
                self._examine(child, now)
            changed = changed or child.state != before
        if changed:
            self._write()
        self._console.status(self._status())

    def _examine(self, child: Child, now: float) -> None:
        was_ready = child.state == "ready"
        code = child.poll()
        if code is not None:
            self._died(child, code, now)
        elif child.state == "ready" and not was_ready:
            self._say(f"{child.name} is ready again (process {child.pid})")
        elif not self._restart:
            return
        elif child.is_still(now):
            self._say(f"{child.name} stands still: it is killed (process {child.pid})")
            child.signal(signal.SIGKILL)
        elif child.state == "starting" and now - child.started_at > _START_LIMIT_S:
            self._say(f"{child.name} was not ready within {_START_LIMIT_S:g} s: it is killed")
            child.signal(signal.SIGKILL)

    def _died(self, child: Child, code: int, now: float) -> None:
        if not self._restart:
            self._say(f"{child.name} ended with {exit_text(code)}; it is not started again")
            return
        pause = child.backoff.after(now - child.started_at)
        child.state, child.start_at = "waiting", now + pause
        self._say(f"{child.name} ended with {exit_text(code)}; it is started again in {pause:g} s")

    def _end(self) -> None:
        """Nodes first: a node that ends says so over the bus."""
        self._console.status("ending")
        for children in (self._nodes, self._buses):
            for child in children:
                child.signal(signal.SIGTERM)
            limit = time.monotonic() + _STOP_LIMIT_S
            while any(child.is_running() for child in children) and time.monotonic() < limit:
                self._wait(_START_TICK_S)
            for child in children:
                if child.is_running():
                    self._say(f"{child.name} did not end within {_STOP_LIMIT_S:g} s: it is killed")
                    child.signal(signal.SIGKILL)
        for child in self._children:
            while child.is_running():
                self._wait(_START_TICK_S)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into bytes on a pipe; SIGCHLD only wakes us."""
        wake, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = {
            number: signal.signal(number, lambda *_: None) for number in (*_END_SIGNALS, signal.SIGCHLD)
        }
        fd_before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        self._wake = wake
        try:
            yield
        finally:
            signal.set_wakeup_fd(fd_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake)
            os.close(write_end)

    def _wait(self, seconds: float) -> None:
        if select.select([self._wake], [], [], seconds)[0]:
            numbers = os.read(self._wake, 512)
            self._ending = self._ending or any(number in _END_SIGNALS for number in numbers)

    def _write(self) -> None:
        """cluster.json: one entry for each process there is, from the time when all were ready once."""
        if not self._up:
            return
        us: dict[str, Any] = {
            "kind": "supervisor", "name": "up", "pid": os.getpid(), "ready": True, "ports": {},
        }  # fmt: skip
        there = [child.entry() for child in self._children if child.state in ("starting", "ready")]
        self._directory.write_cluster(self._domain, self._all_ready(), [us, *there])

    def _all_ready(self) -> bool:
        return all(child.state == "ready" for child in self._children)

    def _status(self) -> str:
        ready = sum(child.state == "ready" for child in self._nodes)
        buses = sum(child.state == "ready" for child in self._buses)
        sessions = {child.name: child.sessions for child in self._nodes if child.sessions is not None}
        words = [self._domain, f"{ready}/{len(self._nodes)} nodes", f"{buses}/{len(self._buses)} buses"]
        if sessions:
            each = " ".join(f"{name}={count}" for name, count in sessions.items())
            words.append(f"{sum(sessions.values())} sessions ({each})")
        return f" {' · '.join(words)} "

    def _ports(self) -> str:
        named = [f"{child.name} {child.entry()['ports'].get('c2s', '-')}" for child in self._nodes]
        return "client ports " + ", ".join(named)

    def _explain(self, child: Child, what: str) -> None:
        self._say(f"{child.name} {what}; its last lines:")
        for line in child.tail or ("(none)",):
            self._say(f"    {line}")

    def _say(self, text: str) -> None:
        self._console.show("up", text)


def exit_text(code: int) -> str:
    """An exit code, or the name of the signal that ended a process."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
