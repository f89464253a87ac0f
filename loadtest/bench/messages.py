"""What a message between two people who are online costs (I/O)."""

import time

from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.harness import LIMIT_S, Bench, Found, Measure
from xcluster.loadtest.bench.logins import come_and_go
from xcluster.loadtest.bench.processes import cpu_s
from xcluster.loadtest.bench.servers import CONTACTS, SINGLE, Setup

SAME, OTHER, MIXED = 0, 1, 2  # on which node the partner is; mixed: half of them on the same


def message(
    window: int,
    *,
    tls: str = "none",
    setup: Setup = SINGLE,
    partner: int = SAME,
    rate: int = 0,
    crowd: bool = False,
) -> Measure:
    """CPU of one message, on a server freshly started, between 200 sessions; `crowd`: 1,000."""

    def measure(bench: Bench) -> Found:
        bench.start(setup, fresh=True)
        pairs = bench.sizes.crowd_pairs if crowd else bench.sizes.pairs
        return exchange(bench, window, pairs=pairs, tls=tls, partner=partner, rate=rate)

    return measure


def aged(bench: Bench) -> Found:
    """The same after some thousand log-ins and log-outs, half of them with roster and presence."""
    bench.start(SINGLE, fresh=True)
    for full in (False, True):
        come_and_go(bench, bench.sizes.aged_logins // 2, full=full)
    single = exchange(bench, 1)
    single.more["burst_us"] = exchange(bench, 10).value
    return single


def exchange(
    bench: Bench, window: int, *, pairs: int = 0, tls: str = "none", partner: int = SAME, rate: int = 0
) -> Found:
    """Pairs write to each other on the server that runs: `window` messages in flight in each pair, or `rate`
    a second over all."""
    sizes = bench.sizes
    with bench.load(
        "message", users=2 * (pairs or sizes.pairs), window=window, time=sizes.seconds, tls=tls,
        cross=partner, rate=rate, contacts=CONTACTS,
    ) as load:  # fmt: skip
        load.ready(LIMIT_S)
        time.sleep(sizes.settle_s)
        pss_kib = sum(bench.pss_kib().values())
        own = cpu_s(load.pid)
        with bench.cpu() as spent:
            load.go()
            done = load.done(sizes.seconds + LIMIT_S)
        own = cpu_s(load.pid) - own
    delivered = done["delivered"]
    if not delivered:
        raise BenchError("no message was delivered")
    more = {
        "per_s": delivered / done["seconds"],
        "p50_ms": done["p50_ms"],
        "p99_ms": done["p99_ms"],
        "cores": spent[0] / done["seconds"],
        "generator_us": own / delivered * 1e6,
        "pss_mib": pss_kib / 1024,
    }
    return Found(spent[0] / delivered * 1e6, more)
