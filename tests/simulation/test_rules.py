"""Each rule that the cluster lives by, taken out in turn, is missed: the simulation sees it within 50 seeds.

And none of them is there for show: over these seeds each has fired many times.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.simulation.world import SimNode, World
from xcluster.bus import wire
from xcluster.bus.link import Link
from xcluster.bus.membership import Membership
from xcluster.bus.messages import Frame
from xcluster.bus.replication import Replica
from xcluster.node.directory import Directory
from xcluster.node.intake import Intake
from xcluster.node.lanes import Lanes

SEEDS = 50


def no_positions(patch: pytest.MonkeyPatch) -> None:
    """Nobody believes what heartbeats, frames and pings say of positions."""
    patch.setattr(Replica, "heard_position", lambda self, seq, now: None)


def same_incarnation(patch: pytest.MonkeyPatch) -> None:
    """A node that starts again says that it never stopped."""
    patch.setattr(SimNode, "next_incarnation", lambda self: 1)


def no_generations(patch: pytest.MonkeyPatch) -> None:
    """Nothing tells which of two sessions of one full JID is the later one."""
    patch.setattr(Directory, "next_generation", lambda self, jid, now_ms: 1)


def no_digest_repair(patch: pytest.MonkeyPatch) -> None:
    """Nobody compares digests."""
    patch.setattr(Replica, "compare", lambda self, seq, theirs, ours, now: False)


def no_link_numbers(patch: pytest.MonkeyPatch) -> None:
    """Tasks are taken as they come."""

    def received(self: Link, frame: Frame, now: float) -> Iterator[tuple[int, Any]]:
        self.taken = max(self.taken, frame.first + frame.count - 1)
        self._ack_due = self._ack_due or now
        yield from enumerate(wire.tasks(frame.items), frame.first)

    patch.setattr(Link, "received", received)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    """The dead may come back."""
    patch.setattr(Membership, "is_refused", lambda self, origin: False)


def no_lanes(patch: pytest.MonkeyPatch) -> None:
    """A stanza does not wait for an earlier one of its lane."""
    patch.setattr(Lanes, "_forget_settled", lambda self, lane: [])


def no_deduplication(patch: pytest.MonkeyPatch) -> None:
    """Sessions take what they have had before."""
    patch.setattr(Intake, "_is_new", lambda self, identity: True)


@pytest.mark.parametrize(
    "take_out",
    [
        no_positions,
        same_incarnation,
        no_generations,
        no_digest_repair,
        no_link_numbers,
        no_fence,
        no_lanes,
        no_deduplication,
    ],
)
def test_rule_taken_out_is_caught(
    take_out: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out(monkeypatch)
    for seed in range(SEEDS):
        try:
            wrong = World(seed).play().wrong
        except AssertionError:
            raise
        except Exception as error:  # a rule's absence may also break its neighbours
            wrong = [repr(error)]
        if wrong:
            print(f"{take_out.__name__}: seed {seed}: {wrong[0]}")
            return
    pytest.fail(f"{take_out.__name__} went unnoticed in {SEEDS} seeds")


def test_each_rule_fires(capsys: pytest.CaptureFixture[str]) -> None:
    fired: Counter[str] = Counter()
    for seed in range(100):
        fired.update(World(seed).play().fired)
    with capsys.disabled():
        print(
            "\nrules fired in 100 seeds:",
            ", ".join(f"{rule} {count}" for rule, count in sorted(fired.items())),
        )
    for rule in (
        "early",
        "woken",
        "expired",
        "waited",
        "rerouted",
        "undeliverable",
        "resent",
        "ranges",
        "snapshots",
        "mismatches",
        "ignored",
        "bus_switches",
        "conflicts",
        "reborn",
        "deduplicated",
        "stored",
        "refused_zombies",
        "member_unreachable",
        "member_isolated",
        "member_disconnected",
        "member_silent",
        "member_declared",
        "member_superseded",
    ):
        assert fired[rule] > 0, f"{rule} never fired"
