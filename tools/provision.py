"""xcluster provision: many accounts, each with its neighbours on a ring as contacts."""

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import click

from xcluster.node.store.protocol import Account, Notice, Roster, RosterItem
from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError
from xcluster.shared.jid import parse
from xcluster.tools.accounts import localpart, new_account, opened
from xcluster.tools.options import config_options, resolve
from xcluster.tools.progress import Progress
from xcluster.tools.user import password_given

_BATCH = 250  # users whose keys one thread derives, and that one call writes
_AHEAD = 4  # batches derived and not yet written


@click.command()
@click.option("--users", required=True, type=click.IntRange(1, 10_000_000), help="How many.")
@click.option("--roster", default=30, show_default=True, type=click.IntRange(0, 10_000),
              help="Contacts of each: half of them on either side of the ring.")  # fmt: skip
@click.option("--password", help="Of all of them. Default: asked for, or read from standard input.")
@click.option("--prefix", default="user", show_default=True, help="They are PREFIX0, PREFIX1 ...")
@config_options
def provision(
    users: int, roster: int, password: str | None, prefix: str,
    data: str | None, config_file: str | None, settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Create (or replace) many accounts with rosters, for load tests; works on a running cluster.

    \b
      xcluster provision --data xcluster-data --users 20000 --roster 30 --password secret
    """
    config = resolve(data, config_file, settings)
    check_ring(users, roster)
    prefix = localpart(f"{prefix}0", config.server.domain)[:-1]
    domain = parse(config.server.domain).domain
    secret = password_given(password)
    started = time.monotonic()
    made = 0
    with opened(config) as store, Progress("users", users, sys.stderr) as progress:
        for first, accounts in _derived(config, users, prefix, secret):
            rosters = (
                (account.user, ring_roster(number, users, roster, prefix, domain))
                for number, account in enumerate(accounts, first)
            )
            made += store.provision(accounts, rosters)
            progress.advance(len(accounts))
        store.add_notices([Notice("forget", "")])
    seconds = time.monotonic() - started
    click.echo(f"{made} users, {prefix}0 to {prefix}{users - 1}, in {seconds:.1f} s")
    return 0


def check_ring(users: int, roster: int) -> None:
    """Refuse a ring on which somebody would be the contact of a stranger."""
    if roster % 2 and users - 1 > roster:
        raise ConfigError("--roster", roster, "must be even: half of the contacts are on either side")


def ring(number: int, users: int, roster: int) -> list[int]:
    """The neighbours of user `number`: roster/2 on either side modulo `users`, or all others if fewer."""
    if users - 1 <= roster:
        return [other for other in range(users) if other != number]
    half = roster // 2
    return [(number + step) % users for step in range(-half, half + 1) if step]


def ring_roster(number: int, users: int, roster: int, prefix: str, domain: str) -> Roster:
    """The roster of user `number`: subscription both with each neighbour."""
    names = [f"{prefix}{other}" for other in ring(number, users, roster)]
    items = (RosterItem(f"{name}@{domain}", name, subscription="both", version=1) for name in names)
    return Roster(1, tuple(items))


def _derived(config: Config, users: int, prefix: str, password: str) -> Iterator[tuple[int, list[Account]]]:
    """Batches of accounts in order, derived ahead in threads: PBKDF2 runs outside the interpreter's lock."""
    now = time.time()

    def derive_batch(first: int) -> list[Account]:
        numbers = range(first, min(first + _BATCH, users))
        return [new_account(f"{prefix}{n}", password, config.sasl.iterations, now) for n in numbers]

    waiting: deque[tuple[int, Future[list[Account]]]] = deque()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for first in range(0, users, _BATCH):
            waiting.append((first, pool.submit(derive_batch, first)))
            if len(waiting) > _AHEAD:
                start, batch = waiting.popleft()
                yield start, batch.result()
        while waiting:
            start, batch = waiting.popleft()
            yield start, batch.result()
