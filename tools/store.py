"""xcluster store: the database's schema."""

import click

from xcluster.node.store.stores import migrate as migrate_store
from xcluster.tools.options import config_options, resolve


@click.group()
def store() -> None:
    """The database's schema."""


@store.command()
@config_options
def migrate(data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """Bring the schema up to this version. Nodes do the same when they start.

    \b
      xcluster store migrate --config /etc/xcluster/xcluster.toml
      xcluster store migrate --set store.url=postgresql://xcluster@db/xcluster
    """
    config = resolve(data, config_file, settings)
    if not config.store.url:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    before, after = migrate_store(config.store_url)
    done = (
        f"migrated from version {before} to {after}" if before != after else f"is at version {after} already"
    )
    click.echo(f"{without_password(config.store_url)} {done}")
    return 0


def without_password(url: str) -> str:
    """A database URL that may be shown."""
    scheme, mark, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    user = credentials.partition(":")[0]
    return f"{scheme}{mark}{user}{at}{place}" if mark else url
