"""One cluster for all conversations with a store, and fresh people for each of them."""

from collections.abc import Generator, Iterator
from itertools import count
from typing import Any

import pytest

from tests.support.cluster import RunningCluster, eventually
from tests.support.postgres import Postgres
from tests.support.slix import Client, Person, Stage

PEOPLE = 400
PASSWORD = "secret"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """A failure shows what the cluster had to say."""
    outcome = yield
    report = outcome.get_result()
    running = getattr(item, "funcargs", {}).get("running")
    if report.failed and running is not None:
        report.sections.append(("cluster", running.cluster.log()))


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


class Running:
    """A cluster and the people who have not been on stage yet."""

    def __init__(self, cluster: RunningCluster, store_url: str) -> None:
        self.cluster = cluster
        self.store_url = store_url
        self.numbers = count()
        self._ports: dict[tuple[str, str], int] = {}

    def port(self, node: str, kind: str) -> int:
        if (node, kind) not in self._ports:
            self._ports[node, kind] = self.cluster.port(node, kind)
        return self._ports[node, kind]


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Two nodes on SQLite, then on PostgreSQL."""
    url = ""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create_database("conversations")
    folder = tmp_path_factory.mktemp("conversations") / "cluster"
    cluster = RunningCluster(folder, nodes=2, store=url, settings=("c2s.max_resources=4",))
    try:
        cluster.provision(PEOPLE, roster=0, password=PASSWORD)
        yield Running(cluster, url or f"sqlite:{next(folder.glob('*.db'))}")
    finally:
        cluster.stop()


@pytest.fixture(params=[("n1", "n1"), ("n1", "n2")], ids=["same-node", "two-nodes"])
def nodes(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Where the two sides of a conversation log in."""
    pair: tuple[str, str] = request.param
    return pair


class Cast:
    """Hands out people whom no other test has used, and friends among them."""

    def __init__(self, running: Running, stage: Stage, nodes: tuple[str, str]) -> None:
        self.here, self.there = nodes
        self.domain = running.cluster.domain
        self.cluster = running.cluster
        self._running = running
        self._stage = stage
        self.people: list[Person] = []

    def person(self) -> Person:
        user = f"user{next(self._running.numbers)}"
        return self.known(user, PASSWORD)

    def known(self, user: str, password: str) -> Person:
        """Somebody by name, who may have no account or another password."""
        person = Person(self._stage, user, self.domain, password, self._running.port)
        self.people.append(person)
        return person

    def people_called(self, number: int) -> list[Person]:
        return [self.person() for _ in range(number)]

    def pair(self) -> tuple[Client, Client]:
        """Two strangers on line, one on each node, when both nodes know them both."""
        one, other = (
            person.on(node)
            for person, node in zip(self.people_called(2), (self.here, self.there), strict=True)
        )
        eventually(lambda: one.pings(other) and other.pings(one))
        return one, other

    def friends(self) -> tuple[Client, Client]:
        """Two on line who are subscribed to each other and have seen all that follows from it."""
        one, other = self.pair()
        befriend(one, other)
        return one, other

    def close(self) -> None:
        for person in self.people:
            for client in person.clients:
                client.log_out()


def befriend(one: Client, other: Client) -> None:
    """Subscriptions both ways; afterwards both inboxes are as they were before."""
    for asking, asked in ((one, other), (other, one)):
        asking.asks(asked.bare)
        assert asking.is_pushed().ask
        asked.sees(asking.bare, "subscribe")
        asked.approves(asking.bare)
        asking.sees(asked.bare, "subscribed")
        asking.sees(asked)
        assert asking.is_pushed().subscription in ("to", "both")
        assert asked.is_pushed().subscription in ("from", "both")


@pytest.fixture
def cast(running: Running, stage: Stage, nodes: tuple[str, str]) -> Iterator[Cast]:
    cast = Cast(running, stage, nodes)
    yield cast
    cast.close()
