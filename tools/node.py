"""xcluster node: which nodes there are."""

import json

import click
from rich.console import Console

from xcluster.tools.admin_client import any_node
from xcluster.tools.options import config_options, json_option, resolve
from xcluster.tools.report import node_rows, table


@click.group()
def node() -> None:
    """Nodes of a running cluster."""


@node.command("list")
@json_option
@config_options
def list_nodes(as_json: bool, data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """List the nodes that are alive: name, incarnation, sessions.

    \b
      xcluster node list --data xcluster-data
    """
    cluster = any_node(resolve(data, config_file, settings)).get("/api/cluster")
    rows = node_rows(cluster)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        Console().print(table(rows))
    return 0
