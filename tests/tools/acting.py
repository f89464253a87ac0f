"""Stand-ins for nodes and buses, and a supervisor over them, as real processes.

acting.py process RUN_DIR NAME [MODE]   say "ready", answer /live on RUN_DIR/NAME.sock, end at SIGTERM;
                                        MODE: mistake (exit 2), silent (never ready), deaf (ignores SIGTERM)
acting.py supervise DIR [--no-restart] NAME=MODE...
                                        a Supervisor over such processes: names with b are buses
"""

import contextlib
import json
import os
import signal
import socket
import sys
from pathlib import Path

from xcluster.tools.serve import follow


def process(run_dir: Path, name: str, mode: str = "") -> int:
    print(f"{name} starts", flush=True)
    if mode == "mistake":
        print("xcluster: early.window = 1: is not a key", file=sys.stderr)
        return 2
    follow(os.getppid())
    signal.signal(signal.SIGTERM, signal.SIG_IGN if mode == "deaf" else signal.default_int_handler)
    path = run_dir / f"{name}.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener, contextlib.suppress(KeyboardInterrupt):
        listener.bind(str(path))
        listener.listen()
        if mode != "silent":
            ready = run_dir / f"{name}.json"
            fresh = ready.with_suffix(".fresh")
            fresh.write_text(
                json.dumps({"kind": "node", "name": name, "pid": os.getpid(), "ports": {"admin": 9}})
            )
            fresh.replace(ready)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
    return 0


def supervise(folder: Path, options: list[str]) -> int:
    from xcluster.tools import child, pulse, supervisor
    from xcluster.tools.cluster_dir import ClusterDir
    from xcluster.tools.console import Console

    pulse._EVERY_S, pulse.PULSE_TIMEOUT_S, pulse._STILL_S = 0.05, 0.2, 0.5
    child.PULSE_TIMEOUT_S = 0.2
    supervisor._START_LIMIT_S, supervisor._STOP_LIMIT_S, supervisor._TICK_S = 5.0, 1.0, 0.05
    if "--impatient" in options:
        supervisor._START_LIMIT_S = 0.5
    console = Console()
    try:
        with ClusterDir(folder) as directory:
            run_dir = directory.make_run_dir()

            def make(name: str, mode: str) -> child.Child:
                command = [sys.executable, __file__, "process", str(run_dir), name, mode]
                kind = "bus" if name.startswith("b") else "node"
                return child.Child(kind, name, command, run_dir, {"c2s": 5222}, console.show)

            children = [make(*option.split("=")) for option in options if "=" in option]
            return supervisor.Supervisor(
                "example.org",
                [one for one in children if one.kind == "bus"],
                [one for one in children if one.kind == "node"],
                directory,
                console,
                "--no-restart" not in options,
            ).run()
    finally:
        console.close()


if __name__ == "__main__":
    role, folder, *rest = sys.argv[1:]
    sys.exit(process(Path(folder), *rest) if role == "process" else supervise(Path(folder), rest))
