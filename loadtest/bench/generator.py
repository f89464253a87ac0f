"""Builds generator.c when it is first needed, and drives it (I/O)."""

import hashlib
import json
import os
import selectors
import subprocess
import time
from pathlib import Path
from typing import Any

from xcluster.shared.errors import XclusterError

SOURCE = Path(__file__).with_name("generator.c")
FAULTS = ("failures", "lost", "doubled", "reordered", "corrupt", "misrouted")


class BenchError(XclusterError):
    """A measurement that could not be made, or is void; the text says why."""


class Generator:
    """The compiled program."""

    def __init__(self, cache: Path | None = None) -> None:
        """Compile unless it was before; without OpenSSL's headers there is no TLS and no SCRAM."""
        cache = cache or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "xcluster"
        cache.mkdir(parents=True, exist_ok=True)
        name = f"generator-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}"
        self.openssl = True
        for suffix, extra in (("", ["-DWITH_OPENSSL", "-lssl", "-lcrypto"]), ("-plain", [])):
            self.binary = cache / (name + suffix)
            if self.binary.exists() or self._compile(extra):
                return
            self.openssl = False
        raise BenchError("the generator needs a C compiler: apt-get install gcc libc6-dev libssl-dev")

    def _compile(self, extra: list[str]) -> bool:
        made = self.binary.with_suffix(f".{os.getpid()}")
        defines = [flag for flag in extra if flag.startswith("-D")]
        libraries = [flag for flag in extra if flag.startswith("-l")]
        command = ["cc", "-O2", *defines, "-o", str(made), str(SOURCE), *libraries]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        made.rename(self.binary)
        return True

    def run(self, mode: str, **options: object) -> "Load":
        return Load([str(self.binary), mode, *(f"{key}={value}" for key, value in options.items())])


class Load:
    """One run: `ready`, `go`, `done`; a context, so that it ends with whoever started it."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._selector = selectors.DefaultSelector()
        assert self._process.stdout is not None
        self._selector.register(self._process.stdout, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *error: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._selector.close()
        for file in (self._process.stdin, self._process.stdout):
            assert file is not None
            file.close()

    def ready(self, limit_s: float) -> dict[str, Any]:
        return self._event("ready", limit_s)

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def done(self, limit_s: float) -> dict[str, Any]:
        return self._event("done", limit_s)

    def _event(self, name: str, limit_s: float) -> dict[str, Any]:
        """Wait for it; raises BenchError when it does not come or says that something was wrong."""
        assert self._process.stdout is not None
        until = time.monotonic() + limit_s
        if not self._selector.select(max(0.0, until - time.monotonic())):
            raise BenchError(f"not {name} within {limit_s:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the generator ended (exit code {self._process.wait()})")
        event: dict[str, Any] = json.loads(line)
        wrong = [f"{event[fault]} {fault}" for fault in FAULTS if event[fault]]
        if wrong:
            raise BenchError(", ".join([*wrong, event["first_failure"]]).rstrip(", "))
        return event
