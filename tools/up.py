"""xcluster up: a whole cluster on this machine."""

import os
from pathlib import Path

import click

from xcluster.shared.config import Config, load
from xcluster.shared.errors import ConfigError
from xcluster.tools import certificate
from xcluster.tools.child import Child, xcluster_command
from xcluster.tools.cluster_dir import ClusterDir
from xcluster.tools.console import Console
from xcluster.tools.options import DEFAULT_DATA
from xcluster.tools.ports import KeptPorts, host_of, port_of
from xcluster.tools.supervisor import Supervisor
from xcluster.tools.toml import value_text

_LISTENERS = {"listen": "c2s", "listen_tls": "c2s_tls"}  # key in [c2s], name in cluster.json


@click.command()
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 64), help="How many.")
@click.option("--buses", type=click.IntRange(0, 8), help="How many; 0 with one node only. [default: 1]")
@click.option("--data", default=DEFAULT_DATA, show_default=True, metavar="DIR",
              help="The cluster's folder; made when missing.")  # fmt: skip
@click.option("--domain", help="Served domain. [default: the file's, else as last time, else localhost]")
@click.option("--port", type=click.IntRange(0, 65_535),
              help="Client port that all nodes share; 0: a free one. [default: 5222]")  # fmt: skip
@click.option("--tls-port", type=click.IntRange(0, 65_535),
              help="The same for direct TLS. [default: 5223]")  # fmt: skip
@click.option("--own-ports", is_flag=True, help="Each node listens on ports of its own, too.")
@click.option("--store", "store_url", metavar="URL", help="postgresql://... [default: SQLite in DIR]")
@click.option("--no-restart", is_flag=True, help="Leave dead what died.")
@click.option("--config", "config_file", metavar="FILE", help="Settings for all processes (TOML).")
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE",
              help="One setting over the file's; may be repeated.")  # fmt: skip
def up(
    nodes: int, buses: int | None, data: str, domain: str | None, port: int | None, tls_port: int | None,
    own_ports: bool, store_url: str | None, no_restart: bool, config_file: str | None,
    settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Run a whole cluster on this machine: buses, nodes, store, certificate. Ctrl-C ends all of it.

    A process that dies, or whose loop stands still for 5 s, is started again. DIR/cluster.json lists the
    processes and their ports as soon as all are ready; other commands find the cluster with --data DIR.

    \b
      xcluster up --nodes 3 --data DIR --domain example.org
      xcluster up --nodes 2 --buses 2 --own-ports --port 0 --tls-port 0 --set log.level=debug
    """
    count = buses if buses is not None else 1
    if count == 0 and nodes > 1:
        raise ConfigError("--buses", 0, "several nodes need a bus")
    ports = KeptPorts()
    console: Console | None = None
    try:
        with ClusterDir(Path(data)) as directory:
            given: dict[str, object] = {
                "server.domain": domain, "store.url": store_url,
                "c2s.listen": None if port is None else [f"0.0.0.0:{port}"],
                "c2s.listen_tls": None if tls_port is None else [f"0.0.0.0:{tls_port}"],
            }  # fmt: skip
            config = cluster_config(directory, config_file, given, settings, count)
            keep_shared(config, ports)
            certificate.ensure(config)
            directory.write_config(config)
            console = Console()
            bus_children = [
                bus_child(directory, config, number, console)
                for number in range(1, len(config.bus.endpoints) + 1)
            ]
            node_children = [
                node_child(directory, config, number, console, *node_ports(config, ports, own_ports))
                for number in range(1, nodes + 1)
            ]
            return Supervisor(
                config.server.domain, bus_children, node_children, directory, console, not no_restart
            ).run()
    finally:
        ports.close()
        if console is not None:
            console.close()


def cluster_config(
    directory: ClusterDir, config_file: str | None, given: dict[str, object], settings: tuple[str, ...],
    buses: int,
) -> Config:  # fmt: skip
    """Everything that a process of this cluster needs: the file, what is `given` by options, --set over both.

    Without a file, domain and store stay as they were the last time. Paths become absolute. Without endpoints
    in the file there are as many as `buses`, in the run folder.
    """
    if config_file is None:
        before = directory.previous()
        for section, key in (("server", "domain"), ("store", "url")):
            given[f"{section}.{key}"] = given[f"{section}.{key}"] or before.get(section, {}).get(key)
    options = [f"{key}={value_text(value)}" for key, value in given.items() if value is not None]
    config = load(config_file, [*options, *settings])
    config.server.data_dir = str(directory.path)
    config.server.run_dir = str(directory.make_run_dir())
    if not config.bus.endpoints:
        config.bus.endpoints = [f"ipc://{config.run_dir}/b{number}.bus" for number in range(1, buses + 1)]
    for section, key in (
        ("tls", "certificate"), ("tls", "key"),
        ("bus", "public_key"), ("bus", "secret_key"), ("bus", "authorized_keys"),
    ):  # fmt: skip
        table = getattr(config, section)
        if getattr(table, key):
            setattr(table, key, os.path.abspath(getattr(table, key)))
    return config


def keep_shared(config: Config, ports: KeptPorts) -> None:
    """Keep the ports that all nodes share; port 0 becomes a real one."""
    for key in _LISTENERS:
        addresses = getattr(config.c2s, key)
        setattr(config.c2s, key, [ports.keep(f"c2s.{key}", address) for address in addresses])


def node_ports(config: Config, ports: KeptPorts, own_ports: bool) -> tuple[list[str], dict[str, int]]:
    """One node's --set options for its listeners, and the ports that cluster.json shall name."""
    options: list[str] = []
    named: dict[str, int] = {}
    for key, name in _LISTENERS.items():
        addresses = getattr(config.c2s, key)
        if own_ports and addresses:
            own = ports.keep(f"c2s.{key}", f"{host_of(addresses[0])}:0")
            addresses = [*addresses, own]  # the last one is what a node says about itself
            options += ["--set", f"c2s.{key}={value_text(addresses)}"]
        if addresses:
            named[name] = port_of(addresses[-1])
    return options, named


def bus_child(directory: ClusterDir, config: Config, number: int, console: Console) -> Child:
    name = f"b{number}"
    endpoint = config.bus.endpoints[number - 1]
    command = xcluster_command(
        "bus", "--name", name, "--config", str(directory.config_file), "--set", f"bus.listen={endpoint}"
    )
    return Child("bus", name, command, config.run_dir, {}, console.show)


def node_child(
    directory: ClusterDir, config: Config, number: int, console: Console, listeners: list[str],
    ports: dict[str, int],
) -> Child:  # fmt: skip
    name = f"n{number}"
    command = xcluster_command(
        "start-node", "--name", name, "--config", str(directory.config_file), *listeners
    )
    return Child("node", name, command, config.run_dir, ports, console.show, console.is_terminal)
