"""The first command of the README: a cluster, users, half a minute of load, and what was seen.

`tools/quickstart` makes the virtual environment and then runs this.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from xcluster.shared.config import load
from xcluster.shared.errors import ConfigError, XclusterError
from xcluster.tools.admin_client import any_node
from xcluster.tools.ports import KeptPorts
from xcluster.tools.report import early_rows, table

DEFAULT_PORT = 5222
_START_LIMIT_S = 60.0
_LOOK_EVERY_S = 0.1
_STOP_LIMIT_S = 30.0
_LOG_LINES = 20
_PASSWORD = "secret"
_XCLUSTER = [sys.executable, "-P", "-m", "xcluster.tools.main"]

console = Console(highlight=False, soft_wrap=True)


@click.command(context_settings={"show_default": True, "help_option_names": ["-h", "--help"]})
@click.option("--data", default="xcluster-data", metavar="DIR", help="The cluster's folder.")
@click.option("--domain", default="localhost", help="The XMPP domain.")
@click.option("--nodes", default=3, type=click.IntRange(1, 16))
@click.option("--users", default=2000, type=click.IntRange(4), help="Accounts, 30 contacts each.")
@click.option("--rate", default=100.0, type=click.FloatRange(0.1), help="Clients that arrive per second.")
@click.option("--time", "time_s", default=30.0, type=click.FloatRange(1), help="Seconds of load.")
@click.option("--keep", is_flag=True, help="Leave the cluster running afterwards, until Ctrl-C.")
def main(data: str, domain: str, nodes: int, users: int, rate: float, time_s: float, keep: bool) -> None:
    """Start a bus and some nodes on this machine, put load on them, show what was seen, stop.

    Exit code 0: nothing was lost and all nodes agree; 1: something was, or did not start.
    """
    folder = Path(data)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with cluster(folder, domain, nodes) as port:
            say(f"{users} users with 30 contacts each")
            run("provision", "--data", data, "--users", str(users), "--roster", "30", "--password", _PASSWORD)
            say(f"the classic scenario: {rate:g} clients per second for {time_s:g} s")
            loaded = subprocess.call(
                [
                    sys.executable, "-P", "-m", "xcluster.loadtest", "classic", "--data", data,
                    "--users", str(users), "--password", _PASSWORD,
                    "--rate", str(rate), "--time", str(time_s), "--html", str(folder / "loadtest-report"),
                ]
            )  # fmt: skip
            show_early(folder)
            verified = subprocess.call([*_XCLUSTER, "verify", "--data", data])
            how_to_go_on(data, domain, nodes, users, port, keep)
            if keep:
                with contextlib.suppress(KeyboardInterrupt):
                    while True:
                        time.sleep(3600)
            say("stopping")
    except XclusterError as error:
        print(f"quickstart: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    well = loaded == 0 and verified == 0
    say("nothing lost, all nodes agree" if well else "something went wrong: see above")
    sys.exit(0 if well else 1)


@contextlib.contextmanager
def cluster(folder: Path, domain: str, nodes: int) -> Iterator[int]:
    """A running `xcluster up`, its output in a file; gives the shared client port."""
    port, tls_port = free_or_any(DEFAULT_PORT), free_or_any(DEFAULT_PORT + 1)
    command = [
        *_XCLUSTER, "up", "--nodes", str(nodes), "--data", str(folder), "--domain", domain, "--own-ports",
        "--port", str(port), "--tls-port", str(tls_port),
        "--set", "limits.enabled=false",  # all of the load comes from one address
    ]  # fmt: skip
    log = folder / "up.log"
    say(f"a bus and {nodes} nodes, on SQLite, in {folder} (log: {log})")
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        started = wait_until_ready(process, folder, log)
        for entry in started["processes"]:
            ports = " ".join(f"{name}={number}" for name, number in entry["ports"].items())
            console.print(f"   {entry['kind']:<10} {entry['name']:<3} process {entry['pid']:<8} {ports}")
        yield port or int(load(folder / "xcluster.toml").c2s.listen[0].rpartition(":")[2])
    finally:
        process.terminate()
        try:
            process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(process: "subprocess.Popen[bytes]", folder: Path, log: Path) -> dict[str, Any]:
    """The content of cluster.json once everybody is ready; raises XclusterError with the log's last lines."""
    end = time.monotonic() + _START_LIMIT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            started: dict[str, Any] = json.loads((folder / "cluster.json").read_text("utf-8"))
        except (OSError, ValueError):
            started = {}  # not there yet
        supervisors = [entry for entry in started.get("processes", ()) if entry["kind"] == "supervisor"]
        if started.get("ready") and supervisors[0]["pid"] == process.pid:
            return started
        time.sleep(_LOOK_EVERY_S)
    last = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
    raise XclusterError("the cluster did not start:\n" + "\n".join(last))


def free_or_any(port: int) -> int:
    """The port, or 0 when somebody has it already."""
    ports = KeptPorts()
    try:
        ports.keep("--port", f"0.0.0.0:{port}")
        return port
    except ConfigError:
        return 0
    finally:
        ports.close()


def run(*arguments: str) -> None:
    """An xcluster command, its output for all to see; raises XclusterError when it fails."""
    code = subprocess.call([*_XCLUSTER, *arguments])
    if code != 0:
        raise XclusterError(f"`xcluster {arguments[0]}` ended with exit code {code}")


def show_early(folder: Path) -> None:
    """How many stanzas arrived before the state that they needed."""
    seen = any_node(load(folder / "xcluster.toml")).get("/api/cluster")
    console.print(table(early_rows(seen), "early tasks (arrived before the state they need)"))


def how_to_go_on(data: str, domain: str, nodes: int, users: int, port: int, keep: bool) -> None:
    program = os.path.join(os.path.dirname(sys.executable), "xcluster")
    options = f"--nodes {nodes} --data {data} --own-ports --set limits.enabled=false"
    if port != DEFAULT_PORT:
        options += f" --port {port} --tls-port 0"
    again = "" if keep else f"  the same again:  {program} up {options}\n"
    console.print(
        f"""
How to go on
{again}  your own client: server 127.0.0.1, port {port}, address user0@{domain} to user{users - 1}@{domain},
                   password {_PASSWORD} (the certificate is self-signed)
  what goes on:    {program} status --data {data} --watch
  locust's page:   {sys.executable} -m xcluster.loadtest classic --data {data} --users {users} --web
  all commands:    {program} --help
""",
        markup=False,
    )


def say(text: str) -> None:
    console.print(f"[bold]==[/bold] {text}")


if __name__ == "__main__":
    main()
