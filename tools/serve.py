"""xcluster bus and xcluster start-node: one process each, until SIGTERM or Ctrl-C."""

import ctypes
import os
import re
import signal
import socket

import click

from xcluster.shared import log
from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError, XclusterError
from xcluster.tools import certificate
from xcluster.tools.options import config_options, resolve

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_PR_SET_PDEATHSIG = 1  # prctl(2)

parent_option = click.option(
    "--parent", type=int, hidden=True, help="End (SIGTERM) when this process, which started us, ends."
)


@click.command()
@click.option("--name", default="b1", show_default=True, help="Of this bus.")
@parent_option
@config_options
def bus(
    name: str, parent: int | None, data: str | None, config_file: str | None, settings: tuple[str, ...]
) -> int:
    """Run a bus: it relays what nodes say to each other, and keeps nothing.

    \b
      xcluster bus
      xcluster bus --set bus.listen=tcp://10.0.0.5:5400 --config /etc/xcluster/xcluster.toml
    """
    config = prepared(resolve(data, config_file, settings), name, parent)
    from xcluster.broker.server import run  # here, not above: a node does not carry the broker

    return run(config, name)


@click.command("start-node")
@click.option("--name", help="Of this node, one of its kind in the cluster. Default: this host's name.")
@parent_option
@config_options
def start_node(
    name: str | None, parent: int | None,
    data: str | None, config_file: str | None, settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Run a node: it holds client connections and does all XMPP work.

    Without bus.endpoints it is a complete server by itself. More than one on a machine: give each a --name;
    they share the client ports.

    \b
      xcluster start-node
      xcluster start-node --name n2 --config /etc/xcluster/xcluster.toml
    """
    name = name or re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname().partition(".")[0])[:32]
    config = prepared(resolve(data, config_file, settings), name, parent)
    certificate.ensure(config)
    from xcluster.node.server import run  # here, not above: a bus does not carry the node

    return run(config, name)


def prepared(config: Config, name: str, parent: int | None) -> Config:
    """What both kinds of process do first: check the name, follow the parent, log."""
    if not _NAME.fullmatch(name):
        raise ConfigError("--name", name, "use 1 to 32 letters, digits, - and _, a letter or digit first")
    if parent is not None:
        follow(parent)
    log.setup(config.log.level, config.log.format, name)
    return config


def follow(parent: int) -> None:
    """Get SIGTERM when the parent dies, whatever killed it: nobody else would end this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) != 0:
        raise XclusterError(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before we asked
        raise XclusterError(f"the process {parent} that started this one is gone")
