"""xcluster verify: whether all nodes have the same directory, computed from the rows themselves."""

import json

import click

from xcluster.tools.admin_client import any_node
from xcluster.tools.options import config_options, json_option, resolve

_TIMEOUT_S = 60.0


@click.command()
@json_option
@config_options
def verify(as_json: bool, data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """Compare the nodes' rows: exit code 0 when equal; 1, and what differs, when not.

    \b
      xcluster verify --data xcluster-data && echo equal
    """
    answer = any_node(resolve(data, config_file, settings), _TIMEOUT_S).get("/api/verify")
    if as_json:
        click.echo(json.dumps(answer, indent=2))
    else:
        for difference in answer["differences"]:
            click.echo(difference_line(difference))
        for node, error in sorted(answer["errors"].items()):
            click.echo(f"{node}: {error}")
        names = ", ".join(str(name) for name in answer["nodes"])
        click.echo(f"{'equal' if answer['equal'] else 'NOT equal'}: {names}")
    return 0 if answer["equal"] else 1


def difference_line(difference: dict[str, object]) -> str:
    """Node, table and key of one difference, with what is there and what the owner says."""
    place = f"{difference['node']}: {difference['table']} of {difference['origin']}"
    return f"{place}: {difference['key']}: have {difference['have']}, want {difference['want']}"
