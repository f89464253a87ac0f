"""bus/mesh.py: two or three nodes' ends of the cluster, joined by a shuttle instead of sockets."""

from typing import Any

import msgspec
import pytest

from tests.bus.shuttle import Shuttle
from xcluster.bus import wire
from xcluster.bus.link import RESERVE, Sent
from xcluster.bus.membership import Changed, Died, Event, State
from xcluster.bus.mesh import OVERDUE_S, Mesh, Options
from xcluster.bus.messages import (
    Dead,
    Delta,
    Deltas,
    Farewell,
    FetchOffline,
    Frame,
    Heartbeat,
    Invalidated,
    Origin,
    Ping,
    SessionDown,
    SessionUp,
    SnapshotChunk,
    Task,
    Undeliverable,
)
from xcluster.node.directory import Directory

A, B, C = Origin("a", 10), Origin("b", 10), Origin("c", 10)


class Node:
    """A listener that keeps what it is told, and the mesh that tells it."""

    def __init__(self, me: Origin, shuttle: Shuttle, options: Options) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.directory = Directory(me)
        self.mesh = Mesh(me, len(shuttle.relays), options, {"sessions": self.directory}, self, shuttle.now)

    def up(self, counter: int, user: str = "", presence: bytes = b"<presence/>") -> None:
        self.write(SessionUp(counter, f"{user or self.mesh.me.name}@example.org/{counter}", 1, presence))

    def write(self, row: Delta) -> None:
        self.directory.apply(self.mesh.me, row)
        self.mesh.write(row)

    def jids(self, origin: Origin) -> list[str]:
        return sorted(record.jid for record in self.directory.of(origin))

    def of(self, *kinds: str) -> list[tuple[Any, ...]]:
        return [entry for entry in self.told if entry[0] in kinds]

    # bus/mesh.py, Listener

    def task(self, origin: Origin, number: int, task: Task) -> None:
        self.told.append(("task", origin, number, task))

    def returned(self, origin: Origin, sent: Sent, targets: list[int] | None) -> None:
        self.told.append(("returned", origin, sent.context, targets))

    def cut(self, origin: Origin) -> None:
        self.told.append(("cut", origin))

    def delta(self, origin: Origin, delta: Delta) -> None:
        self.told.append(("delta", origin, delta))

    def caught_up(self, origin: Origin) -> None:
        self.told.append(("caught_up", origin))

    def skipped(self, origin: Origin) -> None:
        self.told.append(("skipped", origin))

    def member(self, event: Event) -> None:
        self.told.append(("member", event))


class Cluster:
    """Some nodes that have met, and whose directories are equal."""

    def __init__(self, *origins: Origin, buses: int = 1, options: Options | None = None) -> None:
        self.shuttle = Shuttle(buses)
        self.options = options or Options()
        self.nodes = [self.start(origin) for origin in origins]
        self.shuttle.run(1.0)
        for node in self.nodes:
            node.told.clear()

    def start(self, origin: Origin) -> Node:
        node = Node(origin, self.shuttle, self.options)
        self.shuttle.join(node.mesh)
        return node

    def kill(self, node: Node) -> None:
        self.shuttle.kill(node.mesh)

    def run(self, seconds: float) -> None:
        self.shuttle.run(seconds)

    def turn(self) -> None:
        self.shuttle.turn()


def lost(*kinds: type, target: Origin | None = None) -> Any:
    """What a shuttle loses: messages of these kinds on their way to a node (or to any)."""

    def loses(source: Origin, to: Origin, message: Any) -> bool:
        return isinstance(message, kinds) and target in (None, to)

    return loses


# meeting, and telling each other


def test_nodes_meet_through_their_heartbeats() -> None:
    cluster = Cluster()
    a, b, c = (cluster.start(origin) for origin in (A, B, C))
    cluster.run(1.0)
    for node, others in ((a, (B, C)), (b, (A, C)), (c, (A, B))):
        assert set(node.mesh.links) == set(node.mesh.replicas) == set(others)
        assert {entry[1] for entry in node.of("member")} == {Changed(other, State.ALIVE) for other in others}
        assert all(node.mesh.accepts(other) for other in others)


def test_rows_are_everywhere_within_the_turn() -> None:
    cluster = Cluster(A, B, C)
    a, b, c = cluster.nodes
    a.up(1)
    a.up(2)
    b.up(1)
    cluster.turn()
    for node in (a, b, c):
        assert node.jids(A) == ["a@example.org/1", "a@example.org/2"]
        assert node.jids(B) == ["b@example.org/1"]
        assert node.mesh.digests(A) == a.mesh.digests(A)
    assert a.of("caught_up") == [("caught_up", B)]
    a.write(SessionDown(1))
    cluster.turn()
    assert b.jids(A) == c.jids(A) == ["a@example.org/2"]


def test_deltas_of_one_turn_are_one_message() -> None:
    cluster = Cluster(A, B)
    cluster.shuttle.records = True
    for counter in range(1, 6):
        cluster.nodes[0].up(counter)
    cluster.turn()
    assert [m.count for _, _, m in cluster.shuttle.passed if isinstance(m, Deltas)] == [5]


def test_newcomer_gets_a_snapshot_of_the_past() -> None:
    cluster = Cluster(A, options=Options(ring=4))
    [a] = cluster.nodes
    for counter in range(1, 3001):
        a.up(counter)
    a.write(SessionDown(1))
    cluster.run(1.0)
    b = cluster.start(B)
    cluster.run(1.0)
    assert len(b.jids(A)) == 2999
    assert b.mesh.replicas[A].applied == a.mesh.log.seq == 3001
    assert ("skipped", A) in b.told
    assert ("caught_up", A) in b.told


def test_events_are_no_rows_and_are_told_in_order() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    events = [Invalidated("vcard", "alice"), Invalidated("vcard", "bob")]
    for event in events:
        a.mesh.write(event)
    cluster.turn()
    assert b.of("delta") == [("delta", A, event) for event in events]


def test_farewell_is_the_table_s_own_affair() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    heard = []
    b.directory.on_change.append(lambda old, new, farewell: heard.append((new, farewell)))
    a.up(1)
    a.write(Farewell(1, b"<presence>bye</presence>"))
    a.write(SessionDown(1))
    cluster.turn()
    assert heard[-1] == (None, b"<presence>bye</presence>")
    assert b.of("delta") == []


# what is lost is made good


def test_lost_deltas_are_asked_for() -> None:
    cluster = Cluster(A, B, C)
    a, b, c = cluster.nodes
    cluster.shuttle.loses = lost(Deltas, target=B)
    a.up(1)
    cluster.turn()
    assert (b.jids(A), c.jids(A)) == ([], ["a@example.org/1"])
    cluster.shuttle.loses = lost()
    cluster.run(1.0)
    assert b.jids(A) == ["a@example.org/1"]
    assert b.mesh.replicas[A].counters["ranges"] == 1
    assert c.mesh.replicas[A].counters["ranges"] == 0


def test_deltas_that_the_ring_has_lost_come_by_snapshot() -> None:
    cluster = Cluster(A, B, options=Options(ring=3))
    a, b = cluster.nodes
    cluster.shuttle.loses = lost(Deltas, target=B)
    for counter in range(1, 11):
        a.up(counter)
        cluster.turn()
    cluster.shuttle.loses = lost()
    cluster.run(1.0)
    assert len(b.jids(A)) == 10
    assert ("skipped", A) in b.told


def test_lost_chunk_is_asked_for_again() -> None:
    cluster = Cluster(A)
    for counter in range(1, 2501):
        cluster.nodes[0].up(counter)
    chunks = []

    def loses(source: Origin, to: Origin, message: Any) -> bool:
        if isinstance(message, SnapshotChunk) and source == A:
            chunks.append(message.index)
            return len(chunks) in (1, 3, 4)
        return False

    cluster.shuttle.loses = loses
    b = cluster.start(B)
    cluster.run(2.0)
    assert len(b.jids(A)) == 2500
    assert chunks == [0, 0, 1, 1, 1, 2]


def test_row_that_was_lost_without_a_trace_is_found_by_its_digest() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    a.up(1)
    a.up(2)
    cluster.turn()
    record = b.directory.find("a@example.org/2")
    assert record is not None
    b.directory.lose(record)
    assert b.mesh.digests(A) != a.mesh.digests(A)
    cluster.run(1.0)
    assert b.jids(A) == ["a@example.org/1", "a@example.org/2"]
    assert b.mesh.replicas[A].counters["mismatches"] == 1


def test_unreadable_bytes_are_counted_and_harm_nobody() -> None:
    cluster = Cluster(A, B)
    a, _ = cluster.nodes
    for take in (a.mesh.received, a.mesh.heard, a.mesh.bus_said):
        take(0, b"\xc1", cluster.shuttle.now)
    lying = Deltas(B, 1, wire.array([]), 5)
    a.mesh.heard(0, wire.encode(lying), cluster.shuttle.now)
    assert a.mesh.counters["unreadable"] == 4
    assert a.mesh.replicas[B].applied == 0


# early: who is ahead


def test_peer_that_is_ahead_is_named_with_the_position_to_wait_for() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    now = cluster.shuttle.now
    assert a.mesh.behind(now) == {}
    cluster.shuttle.loses = lost(Deltas)
    b.up(1)
    b.mesh.send(A, FetchOffline([1]))
    cluster.turn()  # the frame says that there is a delta
    assert a.mesh.behind(now) == {B: 1}
    assert not a.mesh.has_reached({B: 1})
    cluster.shuttle.loses = lost()
    cluster.run(2.0)
    assert a.mesh.has_reached({B: 1})
    assert a.mesh.behind(cluster.shuttle.now) == {}


def test_two_that_die_at_once_are_both_gone_when_anybody_hears_of_it() -> None:
    """Whoever is told of the one may ask about all that is left, and find no half of the other."""
    cluster = Cluster(A, B, C)
    a, b, c = cluster.nodes
    known: list[tuple[dict[Origin, int], list[bool], int]] = []

    def member(event: Event) -> None:
        if isinstance(event, Died):
            behind = a.mesh.behind(cluster.shuttle.now)
            known.append(
                (behind, [a.mesh.accepts(B), a.mesh.accepts(C)], a.mesh.offer(C, FetchOffline([1]), "x"))
            )

    a.member = member  # type: ignore[method-assign]
    a.mesh.send(B, FetchOffline([1]), "to b")
    a.mesh.send(C, FetchOffline([1]), "to c")
    cluster.shuttle.loses = lambda source, to, message: True
    cluster.kill(b)
    cluster.kill(c)
    cluster.run(40.0)
    assert known == [({}, [False, False], 0)] * 2
    assert [entry[2] for entry in a.of("returned")] == ["to b", "to c"]
    assert a.of("cut", "returned")[0][0] == "cut"


def test_peer_that_is_overdue_may_be_ahead_and_the_dead_are_not_waited_for() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    b.up(1)
    cluster.turn()
    cluster.kill(b)
    cluster.shuttle.loses = lambda source, to, message: True
    cluster.run(OVERDUE_S + 0.1)
    if B in a.mesh.replicas:
        assert a.mesh.behind(cluster.shuttle.now) == {B: 2}
    cluster.run(5.0)
    assert a.mesh.behind(cluster.shuttle.now) == {}
    assert a.mesh.has_reached({B: 2})


# tasks


def test_task_arrives_once_with_its_number_and_is_taken() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    assert [a.mesh.send(B, FetchOffline([n]), n) for n in (1, 2)] == [1, 2]
    assert not a.mesh.is_taken(B, 2)
    cluster.run(0.2)
    assert b.of("task") == [("task", A, 1, FetchOffline([1])), ("task", A, 2, FetchOffline([2]))]
    assert a.mesh.is_taken(B, 2)
    assert a.of("returned") == []


def test_task_to_a_stranger_is_not_sent() -> None:
    cluster = Cluster(A, B)
    assert cluster.nodes[0].mesh.send(C, FetchOffline([1])) == 0
    assert cluster.nodes[0].mesh.is_taken(C, 1)


def test_lost_frames_are_sent_again() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    cluster.shuttle.loses = lost(Frame)
    a.mesh.send(B, FetchOffline([1]))
    cluster.turn()
    cluster.shuttle.loses = lost()
    cluster.run(1.0)
    assert [entry[3] for entry in b.of("task")] == [FetchOffline([1])]
    assert a.mesh.links[B].resent >= 1


def test_undeliverable_hands_the_context_back_before_the_task_counts_as_taken() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    number = a.mesh.send(B, FetchOffline([1, 2]), "context")
    cluster.turn()
    b.mesh.send(A, Undeliverable(number, [2]))
    cluster.run(0.2)
    assert a.of("returned") == [("returned", B, "context", [2])]
    assert a.mesh.is_taken(B, number)


def test_unknown_task_takes_its_number_and_is_answered_unsupported() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes

    class Later(Task, tag=99, frozen=True):
        what: int

    number = a.mesh.send(B, Later(1))
    a.mesh.send(B, FetchOffline([1]))
    cluster.run(0.2)
    assert [(entry[2], entry[3]) for entry in b.of("task")] == [(number + 1, FetchOffline([1]))]
    [answer] = a.of("task")
    assert (type(answer[3]).__name__, answer[3].number) == ("Unsupported", number)
    assert b.mesh.counters["unknown_tasks"] == 1


def test_full_window_and_suspect_peer_are_not_accepted() -> None:
    cluster = Cluster(A, B, options=Options(link_window=2))
    a, _ = cluster.nodes
    cluster.shuttle.loses = lost(Frame)
    for _ in range(2):
        assert a.mesh.accepts(B)
        a.mesh.send(B, FetchOffline([1]))
    assert not a.mesh.accepts(B)
    cluster.shuttle.loses = lost()
    cluster.run(1.0)
    assert a.mesh.accepts(B)
    cluster.shuttle.loses = lambda source, to, message: source == B
    cluster.run(2.0)
    assert a.mesh.members.peers[B].state is State.SUSPECT
    assert not a.mesh.accepts(B)


def test_queue_for_a_silent_peer_has_a_bound_that_answers_pass() -> None:
    cluster = Cluster(A, B, options=Options(link_window=2))
    a, _ = cluster.nodes
    cluster.shuttle.loses = lost(Frame)
    for _ in range(2 + RESERVE):
        assert a.mesh.send(B, FetchOffline([1]), "a client's") > 0
    assert a.mesh.send(B, FetchOffline([1]), "a client's") == 0
    assert a.mesh.send(B, FetchOffline([1])) > 0


# buses


def test_link_moves_to_another_bus_when_its_own_falls_silent() -> None:
    cluster = Cluster(A, B, buses=2)
    a, b = cluster.nodes
    used = a.mesh.links[B].bus
    cluster.shuttle.down = {used}
    a.mesh.send(B, FetchOffline([1]))
    cluster.run(1.4)  # the link itself would send it again after 0.25, 0.75 and 1.75 s
    assert a.mesh.links[B].bus == 1 - used
    assert a.mesh.counters["bus_switches"] == 1
    assert [entry[3] for entry in b.of("task")] == [FetchOffline([1])]
    b.up(1)
    cluster.turn()
    assert a.jids(B) == ["b@example.org/1"]
    assert a.of("member") == b.of("member") == []


def test_link_stays_on_its_bus_while_that_works() -> None:
    cluster = Cluster(A, B, buses=2)
    used = cluster.nodes[0].mesh.links[B].bus
    cluster.run(3.0)
    cluster.shuttle.down = {1 - used}
    cluster.run(3.0)
    assert cluster.nodes[0].mesh.links[B].bus == used
    assert cluster.nodes[0].mesh.counters["bus_switches"] == 0


def test_without_any_bus_nobody_dies() -> None:
    cluster = Cluster(A, B)
    cluster.nodes[1].up(1)
    cluster.turn()
    cluster.shuttle.down = {0}
    cluster.run(20.0)
    assert cluster.nodes[0].jids(B) == ["b@example.org/1"]
    cluster.shuttle.down = set()
    cluster.run(1.0)
    assert all(isinstance(entry[1], Changed) for node in cluster.nodes for entry in node.of("member"))
    assert cluster.nodes[0].mesh.accepts(B)


# death


def test_death_cuts_the_link_first_then_rows_go_then_it_is_told() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    b.up(1)
    cluster.turn()
    a.told.clear()
    a.directory.on_change.append(lambda old, new, farewell: a.told.append(("row", old and old.jid, new)))
    cluster.kill(b)
    a.mesh.send(B, FetchOffline([1]), "first")
    a.mesh.send(B, FetchOffline([2]), "second")
    cluster.run(2.0)
    assert a.told == [
        ("cut", B),
        ("returned", B, "first", None),
        ("returned", B, "second", None),
        ("row", "b@example.org/1", None),
        ("member", Died(B, "disconnected")),
    ]
    assert (a.mesh.links, a.mesh.replicas) == ({}, {})


def test_node_that_leaves_is_gone_at_once() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    b.up(1)
    cluster.turn()
    b.mesh.leave()
    cluster.turn()
    assert a.jids(B) == []
    assert a.of("member") == [("member", Died(B, "left"))]


def test_the_dead_are_fenced_by_all_who_hear_of_it_and_told() -> None:
    cluster = Cluster(A, B, C)
    a, b, c = cluster.nodes
    b.up(1)
    cluster.turn()
    cluster.shuttle.loses = lambda source, to, message: source == B and to == A  # only A stops hearing B
    cluster.run(5.0)
    assert a.of("member")[-1] == ("member", Died(B, "silent"))
    assert c.of("member")[-1] == ("member", Died(B, "declared"))
    assert a.jids(B) == c.jids(B) == []
    cluster.shuttle.loses = lost()
    b.mesh.send(A, FetchOffline([1]))
    b.up(2)
    cluster.run(1.0)
    assert a.mesh.counters["refused"] > 0
    assert a.jids(B) == c.jids(B) == []
    assert a.of("task") == c.of("task") == []
    assert b.mesh.members.must_be_reborn


def test_node_that_is_reborn_is_welcome_with_all_its_rows() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    b.up(1)
    cluster.turn()
    cluster.shuttle.loses = lambda source, to, message: source == B
    cluster.run(5.0)
    cluster.shuttle.loses = lost()
    cluster.run(1.0)
    assert b.mesh.members.must_be_reborn
    newer = Origin("b", 11)
    b.mesh.send(A, FetchOffline([1]), "context")
    b.directory.rename(newer)
    b.mesh.be_reborn(newer, cluster.shuttle.now)
    assert ("returned", A, "context", None) in b.told
    for row in list(b.directory.rows(newer)):
        b.mesh.write(row)
    cluster.run(1.0)
    assert a.jids(newer) == ["b@example.org/1"]
    assert a.jids(B) == []
    assert b.mesh.accepts(A) and a.mesh.accepts(newer)
    assert not b.mesh.members.must_be_reborn


def test_second_start_of_a_name_supersedes_the_first() -> None:
    cluster = Cluster(A, B)
    a, old = cluster.nodes
    old.up(1)
    cluster.turn()
    fresh = cluster.start(Origin("b", 11))
    cluster.run(1.0)
    assert old.mesh.superseded
    assert not fresh.mesh.superseded
    assert ("member", Died(B, "superseded")) in a.told
    assert a.mesh.accepts(Origin("b", 11))
    assert a.jids(B) == []


def test_dead_says_nothing_to_others_and_nothing_by_the_fenced() -> None:
    cluster = Cluster(A, B)
    a, _ = cluster.nodes
    now = cluster.shuttle.now
    a.mesh.received(0, wire.encode(Dead(B, C)), now)
    assert not a.mesh.members.must_be_reborn
    a.mesh.members.declared_dead([C], now)
    a.mesh.received(0, wire.encode(Dead(C, A)), now)
    assert not a.mesh.members.must_be_reborn
    a.mesh.received(0, wire.encode(Dead(B, A)), now)
    assert a.mesh.members.must_be_reborn


def test_message_for_another_incarnation_of_ours_is_not_taken() -> None:
    cluster = Cluster(A, B)
    a, _ = cluster.nodes
    items = wire.array([wire.encode(FetchOffline([1]))])
    a.mesh.received(0, wire.encode(Frame(B, Origin("a", 9), 1, 1, items, 0, 0)), cluster.shuttle.now)
    assert a.of("task") == []
    assert a.mesh.links[B].taken == 0


# alone


def test_node_without_a_bus_keeps_its_log_and_sends_nothing() -> None:
    shuttle = Shuttle(buses=0)
    node = Node(A, shuttle, Options())
    node.up(1)
    for _ in range(50):
        shuttle.now += 0.1
        node.mesh.tick(shuttle.now)
        assert node.mesh.flush(shuttle.now) == []
    assert not node.mesh.wants_flush
    assert node.mesh.log.seq == 1


def test_quiet_nodes_say_nothing_but_heartbeats_and_pings() -> None:
    cluster = Cluster(A, B)
    cluster.run(1.0)
    cluster.shuttle.records = True
    cluster.run(1.0)
    kinds = {type(message).__name__ for _, _, message in cluster.shuttle.passed}
    assert kinds == {"Heartbeat", "Ping", "Pong"}
    assert not any(node.mesh.wants_flush or node.mesh.owes_acks for node in cluster.nodes)


@pytest.mark.parametrize("what", ["write", "send"])
def test_mesh_asks_for_a_flush_when_there_is_something_to_send(what: str) -> None:
    cluster = Cluster(A, B)
    a, _ = cluster.nodes
    asked = []
    a.mesh.wake = lambda: asked.append(True)
    if what == "write":
        a.up(1)
    else:
        a.mesh.send(B, FetchOffline([1]))
    assert asked and a.mesh.wants_flush


def test_acknowledgement_that_finds_no_ride_is_owed_and_sent_by_itself() -> None:
    cluster = Cluster(A, B)
    a, b = cluster.nodes
    a.mesh.send(B, FetchOffline([1]))
    cluster.turn()
    assert b.mesh.owes_acks
    cluster.shuttle.now += 0.03
    b.mesh.touch_owing()
    cluster.turn()
    assert not b.mesh.owes_acks
    assert a.mesh.is_taken(B, 1)


def test_heartbeat_of_a_later_protocol_is_noted() -> None:
    cluster = Cluster(A, B)
    a, _ = cluster.nodes
    beat = Heartbeat(B, 0, {}, [], protocol=2)
    data = msgspec.msgpack.encode([*msgspec.msgpack.decode(wire.encode(beat)), "something new"])
    a.mesh.heard(0, data, cluster.shuttle.now)
    assert a.mesh.members.peers[B].protocol == 2
    assert a.mesh.members.protocol(1) == 1


def test_ping_is_answered_over_the_bus_it_came_by() -> None:
    cluster = Cluster(A, B, buses=2)
    a, _ = cluster.nodes
    a.mesh.received(1, wire.encode(Ping(B, A, 0)), cluster.shuttle.now)
    assert [(out.bus, out.target) for out in a.mesh.flush(cluster.shuttle.now)] == [(1, B)]
