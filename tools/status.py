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
from xcluster.tools.report import all_answer, cluster_tables, is_well, memory_tables


@click.command()
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--memory", is_flag=True, help="What each node's memory is spent on, by kind.")
@click.option("--interval", default=1.0, show_default=True, type=click.FloatRange(0.1, 3600), metavar="S")
@json_option
@config_options
def status(
    watch: bool, memory: bool, interval: float, as_json: bool,
    data: str | None, config_file: str | None, settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Show members, sessions, positions and lag, digests, early tasks.

    Exit code 0 when every node answers, is ready and holds all others alive; else 1.
    With --memory: bytes by kind, estimated from samples of the objects; 0 when every node answers.

    \b
      xcluster status --data xcluster-data --watch
      xcluster status --data xcluster-data --json
      xcluster status --data xcluster-data --memory
    """
    config = resolve(data, config_file, settings)

    target, tables, verdict = (
        ("/api/memory", memory_tables, all_answer) if memory else ("/api/cluster", cluster_tables, is_well)
    )

    def ask() -> dict[str, Any]:
        answer: dict[str, Any] = any_node(config).get(target)
        return answer

    def show() -> dict[str, Any]:
        cluster = ask()
        if as_json:
            click.echo(json.dumps(cluster))
        else:
            Console().print(*tables(cluster), sep="\n")
        return cluster

    if not watch:
        return 0 if verdict(show()) else 1
    console = Console()
    if as_json or not console.is_terminal:
        while True:
            show()
            time.sleep(interval)
    with Live(console=console, auto_refresh=False, screen=False) as live:
        while True:
            try:
                shown = Group(*tables(ask()))
            except XclusterError as error:
                shown = Group(str(error))
            live.update(shown, refresh=True)
            time.sleep(interval)
