"""Somebody else holds SQLite's lock; PostgreSQL goes away: nothing is lost, and the loop goes on."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import psycopg
import pytest

from tests.node.store.rows import account, row
from tests.support.postgres import Postgres
from xcluster.node.store.engine import Engine
from xcluster.node.store.postgres import ERRORS, PostgresConnection
from xcluster.node.store.sql import SqlStore
from xcluster.node.store.stores import open_store
from xcluster.shared.config import Config, Server
from xcluster.shared.config import Store as Settings
from xcluster.shared.errors import StoreError

Open = Callable[..., SqlStore]
on_sqlite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
on_postgres = pytest.mark.parametrize(
    "url", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)
_LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin immediate")
print("held", flush=True)
sys.stdin.readline()
connection.execute("rollback")
"""


@contextmanager
def foreign_lock(url: str) -> Iterator[None]:
    """Another process holds SQLite's write lock."""
    command = [sys.executable, "-c", _LOCKER, url.removeprefix("sqlite:")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"held\n"
        yield
    finally:
        process.communicate(b"\n", timeout=10.0)


class Pulse:
    """How long the loop was ever kept from a timer of 10 ms."""

    def __init__(self) -> None:
        self.worst_s = 0.0
        self._last = time.monotonic()
        self._timer = gevent.get_hub().loop.timer(0.01, 0.01)
        self._timer.start(self._beat)

    def _beat(self) -> None:
        now = time.monotonic()
        self.worst_s = max(self.worst_s, now - self._last)
        self._last = now

    def stop(self) -> None:
        self._timer.close()


def eventually(claim: Callable[[], bool], limit_s: float = 10.0) -> None:
    end = time.monotonic() + limit_s
    while not claim():
        assert time.monotonic() < end
        gevent.sleep(0.01)


@on_sqlite
def test_foreign_write_lock_stops_neither_the_loop_nor_reads_and_loses_nothing(
    opened: Open, url: str
) -> None:
    store = opened()
    store.create_account(account("alice"))
    with foreign_lock(url):
        pulse = Pulse()
        added = [gevent.spawn(store.add_offline, [row(number)], 1000) for number in range(100)]
        end = time.monotonic() + 2.0
        while time.monotonic() < end:
            assert store.account("alice") is not None
            gevent.sleep(0.01)
        pulse.stop()
        assert not any(one.ready() for one in added)
    gevent.joinall(added, raise_error=True)
    assert store.count_offline("alice") == 100
    assert pulse.worst_s < 0.2  # a hub that waits for the lock shows 2 s


@on_sqlite
def test_operation_fails_when_its_time_is_over(opened: Open, url: str) -> None:
    store = opened(timeout_s=0.5)
    store.create_account(account("alice"))
    with foreign_lock(url):
        began = time.monotonic()
        with pytest.raises(StoreError):
            store.add_offline([row(1)], 10)
        assert 0.4 < time.monotonic() - began < 2.0
        assert not store.healthy
    assert store.add_offline([row(2)], 10) == ["stored"]
    assert store.healthy
    assert store.count_offline("alice") == 1


@on_postgres
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "crashed"])
def test_database_that_comes_back_has_everything(
    opened: Open, postgres: Postgres, how: signal.Signals
) -> None:
    store = opened(retry_s=0.05)
    store.create_account(account("alice"))
    claimed: list[int] = []
    answers: list[str] = []
    going = True

    def add(greenlet: int) -> None:
        number = 0
        while going:
            answers.extend(store.add_offline([row(greenlet * 100_000 + number)], 1_000_000))
            number += 1

    def claim() -> None:
        while going:
            claimed.append(store.claim_incarnation("a", 1))

    def read() -> None:
        while going:
            assert store.account("alice") is not None

    busy = [gevent.spawn(add, number) for number in range(20)]
    busy += [gevent.spawn(claim), gevent.spawn(read)]
    eventually(lambda: len(answers) > 500)
    pulse = Pulse()
    try:
        gevent.get_hub().threadpool.apply(postgres.stop, (how,))
        eventually(lambda: not store.healthy)
    finally:
        gevent.get_hub().threadpool.apply(postgres.start)
    before = len(answers)
    eventually(lambda: store.healthy and len(answers) > before + 500)
    going = False
    gevent.joinall(busy, raise_error=True)
    pulse.stop()
    assert set(answers) == {"stored"}
    assert store.count_offline("alice") == len(answers)
    assert claimed == list(range(1, len(claimed) + 1))  # each once: none was committed and done again
    assert pulse.worst_s < 0.25


@on_postgres
def test_commit_whose_answer_was_lost_is_not_done_again(url: str) -> None:
    class Cut(PostgresConnection):
        """Loses the connection after, or before, the server has committed."""

        after = before = False

        def commit(self) -> None:
            if Cut.before:
                Cut.before = False
                self.close()
            super().commit()
            if Cut.after:
                Cut.after = False
                self.close()
                raise psycopg.OperationalError("server closed the connection unexpectedly")

    settings = Settings(retry_s=0.01)
    store = SqlStore(Engine(lambda reads: Cut(url, 10.0, reads), ERRORS, 1, settings), 60.0)
    store.open()
    try:
        Cut.after = True
        assert store.create_account(account("alice"))
        Cut.before = True
        assert store.create_account(account("bob"))
        assert store.account("bob") == account("bob")
        Cut.after = True
        assert store.claim_incarnation("a", 1) == 1
        Cut.before = True
        assert store.claim_incarnation("a", 1) == 2
        assert store.claim_incarnation("a", 1) == 3
        assert store.add_offline([row(1)], 10) == ["stored"]
        Cut.after = True
        assert [one.identity for one in store.take_offline("alice", "a/1/1", [])] == [row(1).identity]
        assert store.healthy
    finally:
        store.close()


@on_postgres
def test_database_that_does_not_come_back_fails_in_time(opened: Open, postgres: Postgres) -> None:
    store = opened(retry_s=0.05, timeout_s=0.5)
    store.create_account(account("alice"))
    postgres.stop()
    try:
        began = time.monotonic()
        asked = [gevent.spawn(store.account, "alice"), gevent.spawn(store.add_offline, [row(1)], 10)]
        gevent.joinall(asked)
        assert time.monotonic() - began < 3.0
        assert all(isinstance(one.exception, StoreError) for one in asked)
        assert not store.healthy
        with pytest.raises(StoreError, match="PostgreSQL"):
            open_store(Config(store=Settings(url=f"postgresql://postgres@127.0.0.1:{postgres.port}/x")))
    finally:
        postgres.start()
    eventually(lambda: _works(store))


def _works(store: SqlStore) -> bool:
    try:
        return store.account("alice") is not None
    except StoreError:
        return False


def test_processes_that_start_together_on_a_new_file_all_start(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from xcluster.node.store.stores import open_store\n"
        "from xcluster.shared.config import Config, Server\n"
        "store = open_store(Config(server=Server(data_dir=sys.argv[1])))\n"
        "assert store.count_accounts() == 0\n"
        "store.close()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    complaints = [process.communicate(timeout=60)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 6, complaints


def test_command_waits_for_a_foreign_lock(tmp_path: Path) -> None:
    store = open_store(Config(server=Server(data_dir=str(tmp_path))))
    foreign = sqlite3.connect(tmp_path / "xcluster.db", isolation_level=None)
    try:
        foreign.execute("begin immediate")
        command = [sys.executable, "-m", "xcluster.tools.main", "user", "list"]
        command += ["--set", f"server.data_dir={tmp_path}"]
        starter = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        with pytest.raises(subprocess.TimeoutExpired):
            starter.wait(2.0)
        foreign.execute("rollback")
        assert starter.communicate(timeout=30)[1] == ""
        assert starter.returncode == 0
    finally:
        foreign.close()
        store.close()
