"""Options that many commands share: which cluster, which settings, for whom the answer is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from xcluster.shared.config import Config, load
from xcluster.shared.errors import ConfigError

DEFAULT_DATA = "xcluster-data"
CONFIG_NAME = "xcluster.toml"

Command = Callable[..., Any]


def config_options(command: Command) -> Command:
    """--data, --config and --set; the command gets `data`, `config_file` and `settings` (see `resolve`)."""
    for option in (
        click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE",
                     help="One setting over the file's; may be repeated."),
        click.option("--config", "config_file", metavar="FILE", help="Configuration file (TOML)."),
        click.option("--data", metavar="DIR", help="Folder of a cluster made by `xcluster up`."),
    ):  # fmt: skip
        command = option(command)
    return command


def json_option(command: Command) -> Command:
    """--json; the command gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")(command)


def resolve(data: str | None, config_file: str | None, settings: tuple[str, ...]) -> Config:
    """The configuration that a command works with; raises ConfigError."""
    if data and config_file:
        raise ConfigError("--data", data, "give either --data or --config, not both")
    if config_file:
        return load(config_file, settings)
    if data:
        file = Path(data) / CONFIG_NAME
        if not file.is_file():
            raise ConfigError("--data", data, f"there is no {CONFIG_NAME}; `xcluster up --data` writes one")
        return load(file, settings)
    file = Path(DEFAULT_DATA) / CONFIG_NAME
    return load(file if file.is_file() else None, settings)
