"""The command line: `python -m xcluster.loadtest classic|chat|presence`."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
from rich.console import Console

from xcluster.loadtest.nodes import Nodes, Tls, parse_places, read_cluster
from xcluster.loadtest.scram import MECHANISMS
from xcluster.shared.errors import ConfigError


def _positive(minimum: int = 1) -> click.IntRange:
    return click.IntRange(min=minimum)


@click.command(
    context_settings={"show_default": True},
    epilog="Exit code 0: clean. 1: a log-in or session failed, or a message was lost, doubled, misrouted, "
    "reordered, spoilt or returned. 2: it could not start.",
)
@click.argument("scenario", type=click.Choice(["classic", "chat", "presence"]))
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of a running `xcluster up --own-ports`."
)
@click.option("--nodes", help="host:port,... instead of --data, with --domain.")
@click.option("--domain", help="The XMPP domain, with --nodes.")
@click.option("--users", type=_positive(4), default=3000, help="Accounts there are (`xcluster provision`).")
@click.option("--prefix", default="user", help="Accounts are PREFIX0, PREFIX1, ...")
@click.option("--password", default="secret", help="Their password.")
@click.option("--mechanism", type=click.Choice(MECHANISMS), help="SASL; else the best that is offered.")
@click.option("--tls", type=click.Choice(get_args(Tls)), default="none", help="Of the client connections.")
@click.option("--rate", type=click.FloatRange(min=0.1), default=100.0,
              help="Arrivals per second (classic, presence); messages per second (chat).")  # fmt: skip
@click.option("--time", "time_s", type=click.FloatRange(min=0.5), default=60.0,
              help="Seconds; for presence the limit of the storm.")  # fmt: skip
@click.option(
    "--stay", "stay_s", type=click.FloatRange(min=0), default=1.0, help="Seconds a classic client stays."
)
@click.option("--limit", "limit_s", type=click.FloatRange(min=0.1), default=10.0,
              help="Seconds that anything may take to arrive.")  # fmt: skip
@click.option("--clients", type=_positive(2), help="Users that log in (presence); else all.")
@click.option("--pairs", type=_positive(), default=100, help="Pairs of chat.")
@click.option("--placement", type=click.Choice(["same", "different", "mixed"]), default="mixed",
              help="Nodes of a chat pair; mixed is one pair of three on the same.")  # fmt: skip
@click.option("--processes", type=_positive(), default=1, help="Processes that share classic or chat.")
@click.option("--html", type=click.Path(path_type=Path), default=Path("loadtest-report"),
              help="Folder of locust's HTML report.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--web", is_flag=True, help="Serve locust's page; start and stop there.")
@click.option("--web-address", default="127.0.0.1:8089", help="Where the page is.")
@click.option("--part", type=int, default=0, hidden=True)
@click.option("--share", type=click.Path(path_type=Path), hidden=True)
def main(
    scenario: str, data: Path | None, nodes: str | None, domain: str | None, tls: Tls, time_s: float,
    pairs: int, users: int, processes: int, html: Path, json_file: Path | None, web: bool, web_address: str,
    part: int, share: Path | None, **more: Any,
) -> None:  # fmt: skip
    """Put load on an XMPP server and check every message.

    \b
    classic   clients arrive, log in, write to somebody online and somebody offline, leave;
              then the offline ones log in on another node and fetch what was kept
    chat      pairs exchange numbered messages
    presence  a storm of log-ins, then half leave; what each is told of its contacts is checked

    \b
    python -m xcluster.loadtest classic --data DIR --users 3000 --rate 100 --time 60
    python -m xcluster.loadtest chat --nodes 127.0.0.1:5222 --domain localhost --users 200
    """
    console = Console(highlight=False)
    try:
        place = _nodes(data, nodes, domain, tls)
        if scenario == "chat" and users < 2 * pairs:
            raise ConfigError("--users", users, f"{pairs} pairs need {2 * pairs} users")
        if scenario == "presence" and processes > 1:
            raise ConfigError("--processes", processes, "presence is judged by one process")
        if scenario == "presence" and users < 32:
            raise ConfigError("--users", users, "a ring of 30 contacts needs 32 users or more")
    except ConfigError as error:
        raise click.UsageError(str(error)) from error

    # From here on the standard library is patched: locust does so when it is imported.
    from xcluster.loadtest import run
    from xcluster.loadtest.user import Options

    options = Options(
        nodes=place, time_s=time_s, pairs=pairs, users=users, part=part, parts=processes, **more
    )
    if web:
        sys.exit(_serve(console, scenario, options, web_address))
    helpers = None
    try:
        if share is None and processes > 1:
            helpers = run.Helpers(sys.argv[1:], processes)
        say = partial(console.print, soft_wrap=True) if share is None else _silent
        report, environment = run.run(scenario, options, say)
        if share is not None:
            run.write_share(share, report, environment)
            return
        if helpers is not None:
            helpers.add_up(report, environment)
        page = run.write_html(environment, html, scenario)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    finally:
        if helpers is not None:
            helpers.close()
    console.print(report.table())
    for example in report.examples():
        console.print(f"  {example}", markup=False)
    console.print(f"locust's report: {page}")
    if json_file is not None:
        json_file.write_text(json.dumps(report.summary(), indent=2) + "\n", "utf-8")
    sys.exit(0 if report.clean else 1)


def _nodes(data: Path | None, nodes: str | None, domain: str | None, tls: Tls) -> Nodes:
    if data is not None:
        return read_cluster(data, tls)
    if nodes is None or domain is None:
        raise ConfigError("--data", "", "give --data, or --nodes and --domain")
    return Nodes(domain, parse_places(nodes), tls)


def _serve(console: Console, scenario: str, options: Any, address: str) -> int:
    from xcluster.loadtest.web import Page

    host, _, port = address.rpartition(":")
    clean = True

    def done(report: Any) -> None:
        nonlocal clean
        clean = clean and report.clean
        console.print(report.table())

    def ready(url: str) -> None:
        console.print(f"locust's page: {url}  (Ctrl-C ends)")

    Page(scenario, options, done).serve(host or "127.0.0.1", int(port), ready)
    return 0 if clean else 1


def _silent(text: str) -> None:
    pass
