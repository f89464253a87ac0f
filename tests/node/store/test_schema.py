"""Migrations: from nothing, once, by many at once; a newer schema is refused."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from xcluster.node.store.schema import migrations, statements
from xcluster.node.store.stores import migrate, open_store
from xcluster.shared.config import Config
from xcluster.shared.config import Store as Settings
from xcluster.shared.errors import ConfigError, StoreError

NEWEST = migrations()[-1][0]


def test_versions_have_no_gaps() -> None:
    assert [version for version, _ in migrations()] == list(range(1, NEWEST + 1))


def test_migration_from_nothing_and_again(url: str) -> None:
    assert migrate(url) == (0, NEWEST)
    assert migrate(url) == (NEWEST, NEWEST)


def test_newer_schema_is_refused(url: str) -> None:
    migrate(url)
    statement = f"insert into schema_version (version) values ({NEWEST + 1})"
    if url.startswith("sqlite:"):
        with sqlite3.connect(url.removeprefix("sqlite:")) as file:
            file.execute(statement)
        file.close()
    else:
        with psycopg.connect(url) as server:
            server.execute(statement)
    with pytest.raises(StoreError, match=f"schema {NEWEST + 1}"):
        migrate(url)
    with pytest.raises(StoreError, match="run the newer xcluster"):
        open_store(Config(store=Settings(url=url)))


def test_many_processes_open_a_new_store_at_once(url: str) -> None:
    program = "import sys; from xcluster.node.store.stores import migrate; print(migrate(sys.argv[1]))"
    command = [sys.executable, "-c", program, url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    answers = sorted(process.communicate(timeout=30.0)[0].strip() for process in processes)
    assert answers == [f"(0, {NEWEST})"] + [f"({NEWEST}, {NEWEST})"] * 3


def test_sqlite_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "new" / "xcluster.db"
    migrate(f"sqlite:{file}")
    assert file.stat().st_mode & 0o077 == 0


def test_words_of_the_schema_are_replaced() -> None:
    sql = "-- a; comment\ncreate table t (id $id);\n\ninsert into t values (1);\n"
    assert statements(sql, {"id": "integer"}) == ["create table t (id integer)", "insert into t values (1)"]


@pytest.mark.parametrize("url", ["mysql://x", "sqlite:", "nonsense"], indirect=False)
def test_unknown_url_is_the_operators_mistake(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        migrate(url)


def test_database_that_can_not_be_made_is_reported() -> None:
    with pytest.raises(StoreError, match="/proc/nowhere"):
        migrate("sqlite:/proc/nowhere/xcluster.db")
