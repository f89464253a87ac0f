"""xcluster keys: CURVE keys for the bus (RFC ZMTP-CURVE), one line of Z85 a file.

NAME.secret stays with the process that is called NAME (bus.secret_key). NAME.public goes to the others: a
bus's to every node (bus.public_key), a node's into the bus's folder of those who may connect
(bus.authorized_keys).
"""

import os
from pathlib import Path

import click
import zmq

from xcluster.shared.errors import ConfigError


@click.group()
def keys() -> None:
    """Keys that encrypt and authenticate the bus (CURVE)."""


@keys.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--out", metavar="DIR", default="keys", show_default=True,
              type=click.Path(file_okay=False, path_type=Path), help="Folder for the files.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that are there.")
def generate(names: tuple[str, ...], out: Path, force: bool) -> int:
    """Make NAME.public and NAME.secret for every NAME.

    \b
    A bus and three nodes:
      xcluster keys generate --out /etc/xcluster/keys bus n1 n2 n3
    Then, on the bus:           on node n1:
      [bus]                       [bus]
      secret_key = "bus.secret"   secret_key = "n1.secret"
      authorized_keys = "keys"    public_key = "bus.public"
    """
    for name in names:
        public, secret = write_keys(out, name, force)
        click.echo(f"{name}: {public} {secret}")
    return 0


def write_keys(folder: Path, name: str, force: bool = False) -> tuple[Path, Path]:
    """Make one pair; the secret is for its owner's eyes only. Refuses to replace files unless `force`."""
    if not name or "/" in name or name.startswith("."):
        raise ConfigError("NAME", name, "is no file name")
    public, secret = folder / f"{name}.public", folder / f"{name}.secret"
    for path in (public, secret):
        if path.exists():
            if not force:
                raise ConfigError("--out", str(path), "is there already; --force replaces it")
            path.unlink()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    public_key, secret_key = zmq.curve_keypair()
    _write(secret, secret_key, 0o600)
    _write(public, public_key, 0o644)
    return public, secret


def _write(path: Path, key: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(key + b"\n")
