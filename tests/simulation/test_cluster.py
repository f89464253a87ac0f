"""Thousands of seeds: whatever the network does, every node ends with the same directory and no stanza is lost."""

import pytest

from tests.simulation.world import World

BATCH = 50
SEEDS = 2000


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
def test_cluster_converges_and_delivers_in_order(first: int) -> None:
    wrong = {seed: world.wrong for seed in range(first, first + BATCH) if (world := World(seed).play()).wrong}
    assert not wrong, {seed: found[:3] for seed, found in wrong.items()}
