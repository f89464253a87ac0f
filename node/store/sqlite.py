"""SQLite: one file for all nodes of a machine, WAL, one writer at a time (I/O)."""

import contextlib
import os
import random
import sqlite3
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from xcluster.node.store.connection import Fault, Json
from xcluster.shared.errors import StoreError

ERRORS = (sqlite3.Error,)
_BUSY_MS = 50  # short: the worker tries again with jitter, which is fairer than SQLite's own waiting
_SWITCH_S = 20.0  # how long a start waits for others that start
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_LOST = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


class SqliteConnection:
    """One connection to the file at `path`, which is made when it is missing. Raises StoreError."""

    types = {
        "id": "integer primary key autoincrement",
        "text": "text",
        "bytes": "blob",
        "time": "real",
        "compact": " without rowid",
    }
    json = Json("json_array({})", "json_group_array({})", "json({})", "json(iif({}, 'true', 'false'))")

    def __init__(self, path: Path, synchronous: str, read_only: bool = False) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _create(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_MS / 1000, isolation_level=None, check_same_thread=False,
                cached_statements=256,
            )  # fmt: skip
            self._cursor = self._connection.cursor()
            self._prepare(synchronous, read_only)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {error}") from error

    def _prepare(self, synchronous: str, read_only: bool) -> None:
        self._switch_to_wal()
        self.run(f"pragma synchronous = {synchronous}")
        self.run("pragma cache_size = -16000")
        self.run("pragma temp_store = memory")
        self.run("pragma journal_size_limit = 67108864")  # what a burst left of the WAL is given back
        if read_only:
            self.run("pragma query_only = 1")

    def _switch_to_wal(self) -> None:
        """Once in the file's life. SQLite does not wait for others who do the same: it refuses at once."""
        deadline = time.monotonic() + _SWITCH_S
        while True:
            try:
                if self.one("pragma journal_mode = wal") == ("wal",):
                    return
            except sqlite3.OperationalError as error:
                if self.fault(error) != "busy":
                    raise
            if time.monotonic() > deadline:
                raise StoreError("another process holds the file and keeps it from write-ahead logging")
            time.sleep(random.uniform(0.005, 0.05))

    def all(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self._cursor.execute(sql, parameters).fetchall()

    def one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None:
        rows = self._cursor.execute(sql, parameters).fetchall()
        return rows[0] if rows else None

    def run(self, sql: str, *parameters: Any) -> int:
        return self._cursor.execute(sql, parameters).rowcount

    def among(self, column: str, values: Iterable[Any]) -> tuple[str, tuple[Any, ...]]:
        found = tuple(values)
        if not found:
            return "1 = 0", ()
        # Padded to a power of two, so that few different statements are prepared.
        size = 1 << (len(found) - 1).bit_length()
        return _condition(column, size), found + found[-1:] * (size - len(found))

    def insert(
        self, table: str, columns: dict[str, str], rows: Sequence[tuple[Any, ...]], conflict: str = ""
    ) -> None:
        if rows:
            places = ", ".join("?" * len(columns))
            sql = f"insert into {table} ({', '.join(columns)}) values ({places}) {conflict}"
            self._cursor.executemany(sql, rows)

    def bulk(self, table: str, columns: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
        self.insert(table, columns, rows)

    # Whoever has begun to write has locked everything.

    def lock_accounts(self, users: Iterable[str]) -> None:
        pass

    def lock_table(self, table: str) -> None:
        pass

    def begin_schema(self) -> None:
        self.run(f"pragma busy_timeout = {int(_SWITCH_S * 1000)}")
        self.run("begin immediate")
        self.run(f"pragma busy_timeout = {_BUSY_MS}")

    def mark(self) -> int:
        row = self.one("update marks set mark = mark + 1 returning mark")
        assert row is not None
        return int(row[0])

    def horizon(self) -> int:
        row = self.one("select mark from marks")
        assert row is not None
        return int(row[0]) + 1

    def begin(self) -> str:
        self.run("begin immediate")
        return ""

    def commit(self) -> None:
        self.run("commit")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            try:
                self.run("rollback")
            except sqlite3.Error:
                self.close()  # the next use finds it closed, and the worker connects again

    def committed(self, ticket: str) -> bool:
        return False  # SQLite says what became of a commit

    def fault(self, error: Exception) -> Fault:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            closed = isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error)
            return "lost" if closed else "bad"
        if code & 0xFF in _BUSY:
            return "busy"
        return "lost" if code & 0xFF in _LOST else "bad"

    def close(self) -> None:
        self._connection.close()


def _create(path: Path) -> None:
    """A new file is for this user alone: it holds everybody's keys.

    One that exists is not opened here: closing it again would drop the locks of every connection that this
    process has to it (POSIX's belong to the process), and the next other process to leave would believe
    itself the last and delete the WAL that we go on writing."""
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


@lru_cache(maxsize=256)
def _condition(column: str, size: int) -> str:
    return f"{column} in ({', '.join('?' * size)})"
