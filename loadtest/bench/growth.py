"""Whether the cost of an operation stays as it is: with more nodes, more sessions, more of a past (I/O)."""

import os
import time
from contextlib import ExitStack

from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.harness import CROWD_LIMIT_S, Bench, Found, Measure
from xcluster.loadtest.bench.logins import come_and_go
from xcluster.loadtest.bench.messages import exchange
from xcluster.loadtest.bench.servers import CONTACTS, SINGLE, Setup


def throughput(bench: Bench) -> Found:
    """How many times as many messages two nodes can deliver as one: same-node traffic in bursts of 10, 200
    sessions on each node.

    The generator shares the cores with the servers, and more so with two nodes, so that messages by the
    clock (`by_clock`) understate the gain. What is compared is what the servers could deliver had they their
    cores to themselves: messages per CPU second of theirs, buses included, times the cores they can use (a
    node of ours is one thread, so one; no more than there are). It counts only when one node alone was busy
    all the time (`cores_one`), or the generator would be what limits it.
    """
    cores = os.cpu_count() or 1
    found = []
    for nodes in (1, 2):
        bench.start(Setup(nodes=nodes), fresh=True)
        found.append(exchange(bench, 10, pairs=nodes * bench.sizes.pairs))
    one, two = found
    if one.more["cores"] < 0.75:
        raise BenchError(f"one node was busy only {one.more['cores']:.0%} of the time")
    could = [min(nodes, cores) / each.value for nodes, each in zip((1, 2), found, strict=True)]
    more = {
        "by_clock": two.more["per_s"] / one.more["per_s"],
        "one_us": one.value,
        "two_us": two.value,
        "one_per_s": one.more["per_s"],
        "two_per_s": two.more["per_s"],
        "cores_one": one.more["cores"],
        "cores_two": two.more["cores"],
        "generator_us": two.more["generator_us"],
    }
    return Found(could[1] / could[0], more)


def more_sessions(window: int) -> Measure:
    """Cost of a message among the same 200 sessions, beside many idle ones, as a multiple of beside few."""

    def measure(bench: Bench) -> Found:
        sizes = bench.sizes
        active = 2 * sizes.pairs
        bench.start(SINGLE, fresh=True, users=active + sizes.many_idle)
        costs: list[float] = []
        with ExitStack() as stack:
            there = 0
            for idle in (sizes.few_idle, sizes.many_idle):
                load = stack.enter_context(
                    bench.load(
                        "hold", first=active + there, users=idle - there, full=1, contacts=CONTACTS,
                        limit=CROWD_LIMIT_S,
                    )
                )  # fmt: skip
                load.ready(CROWD_LIMIT_S)
                there = idle
                time.sleep(sizes.settle_s)
                costs.append(exchange(bench, window).value)
        few, many = costs
        return Found(many / few, {"few_us": few, "many_us": many, "idle": sizes.many_idle})

    return measure


def more_nodes(window: int) -> Measure:
    """Cost of a message to the same node with four nodes, as a multiple of that with one; each node has 200
    sessions that write."""

    def measure(bench: Bench) -> Found:
        costs = []
        for nodes in (1, 2, 4):
            bench.start(Setup(nodes=nodes), fresh=True)
            costs.append(exchange(bench, window, pairs=nodes * bench.sizes.pairs).value)
        one, two, four = costs
        return Found(four / one, {"one_us": one, "two_us": two, "four_us": four})

    return measure


def old(bench: Bench) -> Found:
    """Cost of a message after a hundred thousand log-ins and log-outs (bind only), as a multiple of before."""
    sizes = bench.sizes
    bench.start(SINGLE, fresh=True)
    before = exchange(bench, 1)
    come_and_go(bench, sizes.old_logins)
    time.sleep(sizes.quiet_s)
    after = exchange(bench, 1)
    more = {
        "memory": after.more["pss_mib"] / before.more["pss_mib"],
        "before_us": before.value,
        "after_us": after.value,
        "before_mib": before.more["pss_mib"],
        "after_mib": after.more["pss_mib"],
        "logins": sizes.old_logins,
    }
    return Found(after.value / before.value, more)
