"""xcluster config: what is set, and whether it can work."""

import json

import click

from xcluster.tools import toml
from xcluster.tools.options import config_options, json_option, resolve


@click.group()
def config() -> None:
    """What is set, and whether it can work."""


@config.command()
@click.option("--changed", is_flag=True, help="Only what differs from the defaults.")
@json_option
@config_options
def show(
    changed: bool, as_json: bool, data: str | None, config_file: str | None, settings: tuple[str, ...]
) -> int:
    """Print the configuration in force, as TOML.

    \b
      xcluster config show --changed --data xcluster-data
      xcluster config show --json --set early.window_ms=800
    """
    found = resolve(data, config_file, settings)
    tables = toml.changed(found) if changed else toml.tables(found)
    click.echo(json.dumps(tables, indent=2) if as_json else toml.dumps(tables), nl=as_json)
    return 0


@config.command()
@config_options
def check(data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """Check a configuration; a mistake is named with key, value and mend, and the exit code is 2.

    \b
      xcluster config check --config /etc/xcluster/xcluster.toml
    """
    found = resolve(data, config_file, settings)
    changed = sum(len(table) for table in toml.changed(found).values())
    click.echo(f"fine: {found.server.domain}, {changed} settings differ from the defaults")
    return 0
