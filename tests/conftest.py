"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "conversations" in item.path.parts:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL, one for each xdist worker; leave it running."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()
