"""The command line of the bench."""

import os
import platform
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
import msgspec
from rich.console import Console

from xcluster.loadtest.bench import output
from xcluster.loadtest.bench.ejabberd import Ejabberd
from xcluster.loadtest.bench.generator import BenchError, Generator
from xcluster.loadtest.bench.harness import QUICK, Bench, Sizes
from xcluster.loadtest.bench.hold import main as hold
from xcluster.loadtest.bench.prosody import Prosody
from xcluster.loadtest.bench.results import Result, as_json
from xcluster.loadtest.bench.rows import ROWS, Row
from xcluster.loadtest.bench.schedule import Schedule
from xcluster.loadtest.bench.servers import Server
from xcluster.loadtest.bench.xcluster import Xcluster

SERVERS: list[Server] = [
    Xcluster(), Prosody(), Prosody("generational"), Ejabberd(), Ejabberd(shipped=True),
]  # fmt: skip
WIDTH = 190  # of the table in a file
RUNS = 3


@click.group(invoke_without_command=True, context_settings={"show_default": True})
@click.option("--server", "names", multiple=True, type=click.Choice([server.name for server in SERVERS]),
              help="Only these; may be given again. Default: all that are installed.")  # fmt: skip
@click.option("--rows", "wanted", multiple=True, metavar="WORD",
              help="Only rows whose name holds this; may be given again.")  # fmt: skip
@click.option("--list", "listing", is_flag=True, help="Name the rows and stop.")
@click.option("--runs", type=click.IntRange(min=1), help=f"Default: {RUNS}, with --quick 1.")
@click.option("--quick", is_flag=True, help="Small numbers: figures only roughly right.")
@click.option("--slow", is_flag=True, help="Also the rows that take minutes each.")
@click.option("--sessions", type=click.IntRange(min=10), help="Sessions held for the memory rows.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw bars (PNG or SVG) here.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Folder for the servers' files; else temporary."
)
@click.pass_context
def main(
    context: click.Context, names: tuple[str, ...], wanted: tuple[str, ...], listing: bool, runs: int | None,
    quick: bool, slow: bool, sessions: int | None, json_file: Path | None, picture: Path | None,
    keep: Path | None,
) -> None:  # fmt: skip
    """Measure what one message, log-in and session costs, for xcluster and its peers in the same run.

    \b
    python -m xcluster.loadtest.bench --quick
    python -m xcluster.loadtest.bench --server xcluster --rows message --json figures.json
    python -m xcluster.loadtest.bench --slow --sessions 19000 --json figures.json --picture bars.png

    The servers take turns, run after run. Medians are shown; a row in which anything was lost, doubled,
    reordered or spoilt in any run is void. Ended early (Ctrl-C), it shows what there is.
    """
    if context.invoked_subcommand is not None:
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    rows = _rows(wanted, slow)
    if listing:
        for row in rows:
            console.print(f"{row.name}, {row.unit}", markup=False)
        return
    servers = _servers(names, console)
    if not servers or not rows:
        raise click.UsageError("nothing to measure: no such server is installed, or no such row (see --list)")
    sizes = QUICK if quick else Sizes()
    if sessions is not None:
        sizes = msgspec.structs.replace(sizes, sessions=sessions, users=max(sizes.users, sessions))
    runs = runs or (1 if quick else RUNS)
    try:
        generator = Generator()
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if not generator.openssl:
        console.print("OpenSSL's headers are missing (libssl-dev): no TLS and no SCRAM rows")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    results = [Result(row) for row in rows]
    about = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}",
        "python": f"{platform.python_version()} ({platform.python_compiler()}, {platform.python_build()[1]})",
        "servers": {server.name: server.about for server in servers},
        "runs": runs,
        "sizes": msgspec.to_builtins(sizes),
    }

    def save() -> None:
        if json_file is not None:
            json_file.write_text(as_json(results, about), "utf-8")

    def tell(line: str) -> None:
        console.print(line, soft_wrap=True, markup=False)

    with tempfile.TemporaryDirectory(prefix="xcluster-bench-") as temporary:
        benches = [
            Bench(server, generator, sizes, (keep or Path(temporary)).absolute()) for server in servers
        ]
        try:
            Schedule(results, benches, runs).measure(tell, save)
        except KeyboardInterrupt:
            tell("ended early")
    save()
    shown = [server.name for server in servers]
    console.print(output.table(results, shown))
    for server in servers:
        tell(f"{server.name}: {server.about}")
    tell(f"Python {about['python']}")
    for result in results:
        for name, reasons in result.void.items():
            console.print(f"void: {result.row.name}, {name}: {reasons[0]}", style="red", markup=False)
    if picture is not None:
        output.draw(results, shown, picture)
    sys.exit(1 if any(result.void for result in results) else 0)


def _rows(wanted: tuple[str, ...], slow: bool) -> list[Row]:
    """Slow rows only with --slow, or when asked for by a word that no other row has."""
    chosen: set[str] = set()
    for word in wanted or ("",):
        rows = [row for row in ROWS if word in row.name]
        brief = [row for row in rows if not row.slow]
        chosen.update(row.name for row in (rows if slow or not brief else brief))
    return [row for row in ROWS if row.name in chosen]


def _servers(names: tuple[str, ...], console: Console) -> list[Server]:
    """Those that are wanted and installed; says which are not installed."""
    servers = [server for server in SERVERS if not names or server.name in names]
    for server in servers:
        if not server.installed():
            console.print(f"not installed, left out: {server.name} (apt-get install {server.package})")
    return [server for server in servers if server.installed()]


main.add_command(hold, "hold")
