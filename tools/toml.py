"""Settings as TOML text. (Python reads TOML and does not write it.)"""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from xcluster.shared.config import Config


def dumps(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of plain values; no table within a table."""
    blocks = []
    for name, table in tables.items():
        lines = [f"[{name}]", *(f"{key} = {value_text(value)}" for key, value in table.items())]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def value_text(value: Any) -> str:
    """One value as TOML writes it: JSON's strings, numbers, booleans and arrays are TOML's too."""
    return json.dumps(value)


def tables(config: Config) -> dict[str, dict[str, Any]]:
    """All sections and keys with the values in force."""
    converted: dict[str, dict[str, Any]] = msgspec.to_builtins(config)
    return converted


def changed(config: Config) -> dict[str, dict[str, Any]]:
    """The sections and keys whose values are not the defaults."""
    default = tables(Config())
    found = {
        section: {key: value for key, value in table.items() if value != default[section][key]}
        for section, table in tables(config).items()
    }
    return {section: table for section, table in found.items() if table}
