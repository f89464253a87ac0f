"""Fixtures for all tests."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import Postgres


def pytest_itemcollected(item: pytest.Item) -> None:
    """Tests with real clusters run one after the other: two at once would measure each other's load.

    Here and not in pytest_collection_modifyitems: xdist has read the groups by then."""
    if "conversations" in item.path.parts:
        item.add_marker(pytest.mark.cluster)
    if item.get_closest_marker("cluster") is not None:
        item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL, one for each xdist worker; leave it running."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()
