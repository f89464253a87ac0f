"""Buses that die and buses that stand still, under load (design.md §2: nodes survive the loss of any, and of all
for a while)."""

import signal
import subprocess
import sys

import pytest

from tests.support.cluster import RunningCluster
from tests.support.traffic import Traffic
from tests.support.xmpp import Person, until

PEOPLE = 24  # each is a contact of both neighbours, who are on other nodes
PER_SECOND = 400.0
NODES = ("n1", "n2", "n3")

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]


class Stage:
    """A cluster with people on all nodes who see each other."""

    def __init__(self, folder, buses, *settings):
        self.people = []
        self.bus = None
        self.cluster = RunningCluster(folder / "c", buses=buses, settings=settings)
        try:
            self.cluster.provision(PEOPLE + 1, roster=2)
            for number in range(PEOPLE):
                self._enter(number)
            until(lambda: sum(len(person.online) for person in self.people) == 3 * PEOPLE - 2, 20.0)
        except BaseException:
            self.stop()
            raise

    def _enter(self, number):
        port = self.cluster.port(NODES[number % len(NODES)])
        self.people.append(Person(self.cluster.domain, port, f"user{number}", "here"))
        self.people[-1].presence()

    def newcomer_enters(self):
        """Between the last and the first, who have waited for her; `check` asks whether they saw her."""
        self._enter(PEOPLE)

    def traffic(self):
        return Traffic([(self.people[n], self.people[n + 1]) for n in range(0, PEOPLE, 2)], PER_SECOND)

    def start_bus_again(self):
        """As a service manager would: the same name, the same address."""
        folder = self.cluster.folder
        command = [sys.executable, "-m", "xcluster.tools.main", "bus", "--name", "b1"]
        command += ["--config", str(folder / "xcluster.toml")]
        command += ["--set", f"bus.listen=ipc://{self.cluster.admin().path.parent}/b1.bus"]
        with open(folder.with_name("b1.log"), "wb") as log:
            self.bus = subprocess.Popen(command, stdout=log, stderr=log)

    def both_buses_work(self):
        return all(bus["up"] for node in NODES for bus in self.cluster.status(node)["bus"])

    def counted(self, name):
        return sum(self.cluster.status(node)["counters"][name] for node in NODES)

    def check(self, traffic):
        """Everything arrived once, in order; nobody was told anything untrue; all nodes agree."""
        traffic.finish()
        until(lambda: all(len(person.online) == 3 for person in self.people), 5.0)
        verified = self.cluster.command("verify")
        assert traffic.wrong() == []
        assert [person.departed for person in self.people if person.departed] == []
        assert [person.jid for person in self.people if person.is_cut] == []
        assert verified.returncode == 0, verified.stdout
        died = {node: self.cluster.status(node)["counters"]["members_died"] for node in NODES}
        assert set(died.values()) == {0}, died
        print(
            f"{traffic.total} messages, {sum(person.delayed for person in self.people)} of them delayed,"
            f" {self.counted('lanes_kept')} stored, {self.counted('links_resent')} sent again,"
            f" {self.counted('mesh_bus_switches')} links moved"
        )

    def stop(self):
        for person in self.people:
            person.abort()
        if self.bus is not None:
            self.bus.terminate()
            self.bus.wait(10.0)
        self.cluster.stop()


@pytest.fixture
def stage(tmp_path):
    stages = []

    def open_stage(buses, *settings):
        stages.append(Stage(tmp_path, buses, *settings))
        return stages[-1]

    yield open_stage
    for one in stages:
        one.stop()


def test_one_of_two_buses_is_killed_then_the_other(stage):
    it = stage(2)
    traffic = it.traffic()
    traffic.flow(1)
    it.cluster.kill("b1")
    it.newcomer_enters()
    traffic.flow(3)
    it.start_bus_again()
    until(it.both_buses_work)
    it.cluster.kill("b2")
    traffic.flow(3)
    it.check(traffic)
    assert it.counted("mesh_bus_switches") >= len(NODES) * (len(NODES) - 1)  # each link was on one of them


def test_one_of_two_buses_stands_still_then_the_other(stage):
    it = stage(2)
    traffic = it.traffic()
    traffic.flow(1)
    for bus in ("b1", "b2"):
        it.cluster.kill(bus, signal.SIGSTOP)
        if bus == "b1":
            it.newcomer_enters()
        traffic.flow(4)
        it.cluster.kill(bus, signal.SIGCONT)
        until(it.both_buses_work)
    traffic.flow(1)
    it.check(traffic)
    assert it.counted("mesh_bus_switches") >= len(NODES) * (len(NODES) - 1)


def test_the_only_bus_is_killed_and_back_after_10_s(stage):
    it = stage(1)
    traffic = it.traffic()
    traffic.flow(1)
    it.cluster.kill("b1")
    it.newcomer_enters()
    traffic.flow(10)
    it.start_bus_again()
    traffic.flow(1)
    it.check(traffic)


def test_the_only_bus_stands_still_for_10_s(stage):
    it = stage(1)
    traffic = it.traffic()
    traffic.flow(1)
    it.cluster.kill("b1", signal.SIGSTOP)
    it.newcomer_enters()
    traffic.flow(10)
    it.cluster.kill("b1", signal.SIGCONT)
    traffic.flow(1)
    it.check(traffic)
