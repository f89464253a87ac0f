"""The command line of the bench."""

import os
import platform
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
from xcluster.loadtest.bench.output import Result
from xcluster.loadtest.bench.prosody import Prosody
from xcluster.loadtest.bench.rows import CLUSTER, QUICK, ROWS, Bench, Sizes
from xcluster.loadtest.bench.servers import Server
from xcluster.loadtest.bench.xcluster import Xcluster

SERVERS: list[Server] = [Xcluster(), Prosody(), Prosody("generational"), Ejabberd()]
WIDTH = 150  # of the table in a file


@click.command(context_settings={"show_default": True})
@click.option("--server", "names", multiple=True, type=click.Choice([server.name for server in SERVERS]),
              help="Only these; may be given again. Default: all that are installed.")  # fmt: skip
@click.option("--rows", "wanted", multiple=True, metavar="WORD", help="Only rows whose name holds this word.")
@click.option("--quick", is_flag=True, help="Small numbers: some minutes in all, figures only roughly right.")
@click.option("--sessions", type=click.IntRange(min=10), help="Sessions held for the memory rows.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw bars (PNG or SVG) here.")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Folder for the servers' files; else temporary."
)
def main(
    names: tuple[str, ...], wanted: tuple[str, ...], quick: bool, sessions: int | None,
    json_file: Path | None, picture: Path | None, keep: Path | None,
) -> None:  # fmt: skip
    """Measure what one message, log-in and session costs, for xcluster and its peers in the same run.

    \b
    python -m xcluster.loadtest.bench --quick
    python -m xcluster.loadtest.bench --server xcluster --rows message --json figures.json
    """
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    sizes = QUICK if quick else Sizes()
    if sessions is not None:
        sizes = msgspec.structs.replace(sizes, sessions=sessions, users=max(sizes.users, sessions))
    servers = [server for server in SERVERS if server.installed() and (not names or server.name in names)]
    rows = [row for row in ROWS if not wanted or any(word in row.name for word in wanted)]
    if not servers or not rows:
        raise click.UsageError("nothing to measure: no such server is installed, or no such row")
    results = [Result(row) for row in rows]
    try:
        generator = Generator()
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    if not generator.openssl:
        console.print("OpenSSL's headers are missing (libssl-dev): no TLS and no SCRAM rows")
    with tempfile.TemporaryDirectory(prefix="xcluster-bench-") as temporary:
        for server in servers:
            bench = Bench(server, generator, sizes, keep or Path(temporary))
            try:
                for result in results:
                    measure(bench, result, console)
            finally:
                bench.stop()
    shown = [server.name for server in servers]
    console.print(output.table(results, shown))
    for result in results:
        for name, reason in result.void.items():
            console.print(f"void: {result.row.name}, {name}: {reason}", style="red", markup=False)
    about = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.release()}",
        "python": platform.python_version(),
        "sizes": msgspec.to_builtins(sizes),
    }
    if json_file is not None:
        json_file.write_text(output.as_json(results, about), "utf-8")
    if picture is not None:
        output.draw(results, shown, picture)
    sys.exit(1 if any(result.void for result in results) else 0)


def measure(bench: Bench, result: Result, console: Console) -> None:
    """One row of one server; what does not apply is left out."""
    row, name = result.row, bench.server.name
    if (row.cluster and not bench.server.can(CLUSTER)) or (row.openssl and not bench.generator.openssl):
        return
    try:
        found = result.found[name] = row.measure(bench)
    except BenchError as error:
        result.void[name] = str(error)
        bench.stop()
        console.print(f"{name}: {row.name}: void: {error}", soft_wrap=True, markup=False)
        return
    more = ", ".join(f"{key} {value:,.3g}" for key, value in found.more.items())
    console.print(f"{name}: {row.name}: {found.value:.3g} {row.unit}  {more}", soft_wrap=True, markup=False)
