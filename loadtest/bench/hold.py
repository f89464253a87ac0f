"""`hold`: very many clients on one cluster, each with roster and presence, some of them talking (I/O).

command -> holding: start, log in, wait for presence, idle, messages, end
              |-> crew (generators)   meter (memory, CPU)   outcome (figures, conditions) -> hold_output
"""

import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import click
import msgspec
from rich.console import Console

from xcluster.loadtest.bench import hold_output
from xcluster.loadtest.bench.capacity import most_sessions
from xcluster.loadtest.bench.generator import BenchError, Generator
from xcluster.loadtest.bench.holding import Holding
from xcluster.loadtest.bench.outcome import Plan
from xcluster.loadtest.bench.xcluster import Xcluster

LEAST = 64  # sessions: fewer than that, and the ring of contacts is no ring
WIDTH = 150  # of the table in a file


class Sessions(click.ParamType[int]):
    """A number, or `max` (0)."""

    name = "number|max"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if str(value) == "max":
            return 0
        try:
            number = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is neither a number nor max", param, ctx)
        return number if number >= LEAST else self.fail(f"at least {LEAST}, or max", param, ctx)


class Share(click.ParamType[float]):
    """`1%` or `0.01`."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"write {value!r} as 1% or 0.01", param, ctx)
        return share if 0 < share <= 1 else self.fail("between 0 and 100%", param, ctx)


@click.command(context_settings={"show_default": True})
@click.option("--sessions", type=Sessions(), default="63000",
              help="How many; max: as many as the nodes say they may take, and some beyond.")  # fmt: skip
@click.option("--nodes", type=click.IntRange(1, 16), default=4, help="How many, on one bus.")
@click.option("--tls", is_flag=True, help="All with STARTTLS.")
@click.option("--minutes", type=click.FloatRange(min=0.01), default=10.0, help="Of messages.")
@click.option("--active", type=Share(), default="1%", help="How many of the sessions exchange messages.")
@click.option("--messages", type=click.FloatRange(min=0.1), default=200.0, help="A second, in all.")
@click.option("--rate", type=click.FloatRange(min=0), default=0.0,
              help="Log-ins a second, in all; 0: as fast as they are taken.")  # fmt: skip
@click.option("--parallel", type=click.IntRange(min=1), default=64, help="Log-ins under way, in all.")
@click.option("--mechanism", type=click.Choice(["SCRAM-SHA-1", "PLAIN"]), help="[default: SCRAM-SHA-1]")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the figures here.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw the course (PNG or SVG) here.")
@click.option("--keep", type=click.Path(path_type=Path),
              help="Folder for the cluster's files and accounts; else temporary.")  # fmt: skip
def main(
    sessions: int, nodes: int, tls: bool, minutes: float, active: float, messages: float, rate: float,
    parallel: int, mechanism: Literal["SCRAM-SHA-1", "PLAIN"] | None, json_file: Path | None,
    picture: Path | None, keep: Path | None,
) -> None:  # fmt: skip
    """Hold very many sessions on one xcluster, each with a 30-contact roster and presence.

    They log in in any order; then some of them exchange messages, and all that arrives is checked. Exit code 0
    says that all of issue 3's conditions held: everybody logged in, at 100 a second to the last, presence seen
    once by each contact, nobody dropped, no message lost, doubled, reordered or spoilt, p99 below 100 ms.

    \b
    python -m xcluster.loadtest.bench hold --sessions 63000 --nodes 4 --picture hold.png
    python -m xcluster.loadtest.bench hold --sessions max --nodes 3 --tls --minutes 1 --json hold.json
    """
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDTH
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        generator = Generator()
        mechanism = mechanism or ("SCRAM-SHA-1" if generator.openssl else "PLAIN")
        if not generator.openssl and (tls or mechanism != "PLAIN"):
            raise BenchError("TLS and SCRAM need OpenSSL's headers: apt-get install libssl-dev")
        plan = Plan(sessions, nodes, tls, minutes, active, messages, rate, parallel, mechanism)
        with tempfile.TemporaryDirectory(prefix="xcluster-hold-") as temporary:
            folder = (keep or Path(temporary)).absolute()
            to_the_limit = not sessions
            if to_the_limit:
                plan = msgspec.structs.replace(plan, sessions=most_sessions(Xcluster(), nodes, folder))
                console.print(f"{nodes} nodes may take {plan.sessions:,} sessions")
            began = time.monotonic()
            console.print(
                f"starting {nodes} nodes, making {plan.sessions:,} accounts unless {folder} has them"
            )
            outcome = Holding(plan, Xcluster(), generator, console).run(folder, to_the_limit)
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    console.print(hold_output.table(outcome))
    for text, holds in outcome.conditions():
        console.print(
            f"{'holds' if holds else 'FAILS'}: {text}", style=None if holds else "red", markup=False
        )
    if outcome.first_failure:
        console.print(f"first failure: {outcome.first_failure}", style="red", markup=False)
    console.print(f"{time.monotonic() - began:.0f} s in all")
    if json_file is not None:
        json_file.write_text(hold_output.as_json(outcome), "utf-8")
    if picture is not None:
        hold_output.draw(outcome, picture)
    sys.exit(0 if outcome.is_good else 1)
