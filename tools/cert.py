"""xcluster cert: certificates for the client ports."""

from pathlib import Path

import click

from xcluster.shared.errors import ConfigError
from xcluster.tools.certificate import CERTIFICATE_NAME, DAYS, write_pair
from xcluster.tools.options import config_options, resolve


@click.group()
def cert() -> None:
    """Certificates for the client ports."""


@cert.command()
@click.option("--domain", help="Domain that it names; default: server.domain.")
@click.option("--out", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for cert.pem and key.pem; default: the data folder.")  # fmt: skip
@click.option("--days", default=DAYS, show_default=True, type=click.IntRange(1, 36_500))
@click.option("--force", is_flag=True, help="Replace files that are there.")
@config_options
def generate(
    domain: str | None, out: Path | None, days: int, force: bool,
    data: str | None, config_file: str | None, settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Make a self-signed certificate (ECDSA P-256).

    \b
      xcluster cert generate --domain example.org --out /etc/xcluster
    """
    config = resolve(data, config_file, settings)
    folder = out or config.data_dir
    if not force and (folder / CERTIFICATE_NAME).exists():
        raise ConfigError("--out", str(folder), f"there is a {CERTIFICATE_NAME}; --force replaces it")
    certificate, key = write_pair(folder, domain or config.server.domain, days)
    click.echo(f"certificate = {certificate}\nkey = {key}")
    return 0
