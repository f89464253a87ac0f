"""xcluster session: who is connected, and to end it."""

import json

import click
from rich.console import Console

from xcluster.shared.errors import XclusterError
from xcluster.tools.admin_client import any_node
from xcluster.tools.options import config_options, json_option, resolve
from xcluster.tools.report import table


@click.group()
def session() -> None:
    """Sessions (connected resources) of a running cluster."""


@session.command("list")
@click.option("--user", help="Only this user's.")
@json_option
@config_options
def list_sessions(
    user: str | None, as_json: bool, data: str | None, config_file: str | None, settings: tuple[str, ...]
) -> int:
    """List sessions on all nodes.

    \b
      xcluster session list --data xcluster-data --user alice
    """
    node = any_node(resolve(data, config_file, settings))
    sessions = node.get("/api/sessions", **({"user": user} if user else {}))
    if as_json:
        click.echo(json.dumps(sessions, indent=2))
    else:
        Console().print(table(sessions))
    return 0


@session.command()
@click.argument("jid")
@config_options
def kick(jid: str, data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """End a session (full JID), or all sessions of a user (bare JID), wherever they are.

    \b
      xcluster session kick --data xcluster-data alice@example.org/phone
    """
    answer = any_node(resolve(data, config_file, settings)).post("/api/sessions/kick", {"jid": jid})
    if not answer["kicked"]:
        raise XclusterError(f"{jid} has no session")
    click.echo(f"ended {answer['kicked']} of {jid}")
    return 0
