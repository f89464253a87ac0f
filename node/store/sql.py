"""The Store over SQL: every method is one verb, handed to the engine (I/O)."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import gevent

from xcluster.node.store import sql_accounts, sql_bulk, sql_cluster, sql_offline, sql_rosters
from xcluster.node.store.connection import Verb
from xcluster.node.store.engine import Engine
from xcluster.node.store.protocol import (
    Account,
    NodeRow,
    Notice,
    OfflineRow,
    Roster,
    RosterChange,
    RosterOutcome,
    Then,
)

_CHUNK_S = 0.04  # how long provision may keep others from writing at a time
_PAUSE_S = 0.02  # and how long it leaves them: who waits for SQLite's lock looks for it every 5 to 20 ms
_FIRST_ACCOUNTS = 100
_FIRST_ROSTERS = 10


class SqlStore:
    """SQLite or PostgreSQL, whichever the engine is connected to."""

    def __init__(self, engine: Engine, dedupe_s: float, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self._dedupe_s = dedupe_s
        self._clock = clock

    def open(self) -> None:
        self.engine.open()

    def close(self) -> None:
        self.engine.close()

    @property
    def healthy(self) -> bool:
        return self.engine.healthy

    # accounts

    def account(self, user: str) -> Account | None:
        return self.engine.read(sql_accounts.account, user)

    def ask_account(self, user: str, then: Then[Account | None]) -> None:
        self.engine.ask(sql_accounts.account, user, then=then)

    def create_account(self, account: Account) -> bool:
        return self.engine.write(sql_accounts.create_account, account)

    def update_account(self, account: Account) -> bool:
        return self.engine.write(sql_accounts.update_account, account)

    def remove_account(self, user: str, domain: str) -> list[str]:
        return self.engine.write(sql_accounts.remove_account, user, domain)

    def accounts(self, after: str = "", limit: int = 1000) -> list[Account]:
        return self.engine.read(sql_accounts.accounts, after, limit)

    def count_accounts(self) -> int:
        return self.engine.read(sql_accounts.count_accounts)

    def provision(
        self,
        accounts: Iterable[Account],
        rosters: Iterable[tuple[str, Roster]],
        progress: Callable[[int], None] | None = None,
    ) -> int:
        count = done = 0
        for chunk in self._put(sql_bulk.put_accounts, iter(accounts), _FIRST_ACCOUNTS):
            count += chunk
            if progress is not None:
                progress(count)
        for chunk in self._put(sql_bulk.put_rosters, iter(rosters), _FIRST_ROSTERS):
            done += chunk
            if progress is not None:
                progress(count + done)
        return count

    def _put(self, verb: Verb[None], rows: Iterator[Any], size: int) -> Iterator[int]:
        """Write chunk by chunk, each a transaction of about _CHUNK_S; yields how many it wrote."""
        while chunk := list(islice(rows, size)):
            began = time.monotonic()
            self.engine.write(verb, chunk, rows=len(chunk))
            took = time.monotonic() - began
            size = max(1, min(size * 2, int(size * _CHUNK_S / max(took, 0.001))))
            yield len(chunk)
            gevent.sleep(_PAUSE_S)

    # rosters

    def roster(self, user: str) -> Roster:
        return self.engine.read(sql_rosters.roster, user)

    def ask_roster(self, user: str, then: Then[Roster]) -> None:
        self.engine.ask(sql_rosters.roster, user, then=then)

    def roster_since(self, user: str, version: int) -> Roster | None:
        return self.engine.read(sql_rosters.roster_since, user, version)

    def roster_versions(self, users: list[str]) -> dict[str, int]:
        return self.engine.read(sql_rosters.roster_versions, users)

    def change_rosters(
        self, user: str, contact: str, contact_user: str | None, change: RosterChange, max_items: int
    ) -> RosterOutcome:
        return self.engine.write(sql_rosters.change_rosters, user, contact, contact_user, change, max_items)

    # offline messages

    def add_offline(self, rows: list[OfflineRow], limit: int) -> list[str]:
        return self.engine.write(sql_offline.add_offline, rows, limit, rows=len(rows))

    def take_offline(self, user: str, holder: str, live: list[str]) -> list[OfflineRow]:
        return self.engine.write(sql_offline.take_offline, user, holder, live)

    def free_offline(self, holder: str) -> list[str]:
        return self.engine.write(sql_offline.free_offline, holder)

    def drop_offline(self, user: str, identities: list[bytes]) -> None:
        self.engine.write(sql_offline.drop_offline, user, identities, self._clock(), rows=len(identities))

    def waiting_offline(self, after: int) -> tuple[int, list[str]]:
        return self.engine.read(sql_offline.waiting_offline, after)

    def count_offline(self, user: str) -> int:
        return self.engine.read(sql_offline.count_offline, user)

    def ask_offline(self, user: str, then: Then[int]) -> None:
        self.engine.ask(sql_offline.count_offline, user, then=then)

    def sweep(self, now: float) -> None:
        while self.engine.write(sql_offline.sweep_offline, now - self._dedupe_s):
            pass  # a chunk at a time: others write in between
        self.engine.write(sql_cluster.sweep_cluster, now)

    # small things

    def vcard(self, user: str) -> bytes | None:
        return self.engine.read(sql_accounts.vcard, user)

    def set_vcard(self, user: str, vcard: bytes) -> None:
        self.engine.write(sql_accounts.set_vcard, user, vcard)

    def last_activity(self, user: str) -> tuple[float, str] | None:
        return self.engine.read(sql_accounts.last_activity, user)

    def set_last_activity(self, rows: list[tuple[str, float, str]]) -> None:
        self.engine.write(sql_accounts.set_last_activity, rows, rows=len(rows))

    # the cluster

    def beat(self, row: NodeRow) -> list[NodeRow]:
        return self.engine.write(sql_cluster.beat, row)

    def nodes(self) -> list[NodeRow]:
        return self.engine.read(sql_cluster.nodes)

    def claim_incarnation(self, name: str, at_least: int) -> int:
        return self.engine.write(sql_cluster.claim_incarnation, name, at_least)

    def settings(self) -> dict[str, str]:
        return self.engine.read(sql_cluster.settings)

    def set_setting(self, key: str, value: str) -> None:
        self.engine.write(sql_cluster.set_setting, key, value)

    def notices(self, after: int) -> list[Notice]:
        return self.engine.read(sql_cluster.notices, after)

    def add_notices(self, notices: list[Notice]) -> None:
        self.engine.write(sql_cluster.add_notices, notices, self._clock())

    def last_notice(self) -> int:
        return self.engine.read(sql_cluster.last_notice)
