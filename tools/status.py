"""xcluster status: what the nodes say about themselves and about each other."""

import json
import time
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live

from xcluster.shared.errors import XclusterError
from xcluster.tools.admin_client import any_node
from xcluster.tools.options import config_options, json_option, resolve
from xcluster.tools.report import cluster_tables, is_well


@click.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600), metavar="S")
@json_option
@config_options
def status(
    watch: bool, interval: float, as_json: bool,
    data: str | None, config_file: str | None, settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Show members, sessions, positions and lag, digests, early tasks.

    Exit code 0 when every node answers, is ready and holds all others alive; else 1.

    \b
      xcluster status --data xcluster-data --watch
      xcluster status --data xcluster-data --json
    """
    config = resolve(data, config_file, settings)

    def ask() -> dict[str, Any]:
        answer: dict[str, Any] = any_node(config).get("/api/cluster")
        return answer

    if not watch:
        cluster = ask()
        _print(cluster, as_json)
        return 0 if is_well(cluster) else 1
    console = Console()
    if as_json or not console.is_terminal:
        while True:
            _print(ask(), as_json)
            time.sleep(interval)
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            try:
                shown = Group(*cluster_tables(ask()))
            except XclusterError as error:
                shown = Group(str(error))
            live.update(shown, refresh=True)
            time.sleep(interval)


def _print(cluster: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(cluster))
    else:
        Console().print(*cluster_tables(cluster), sep="\n")
