"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL, one for each xdist worker; leave it running."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()
