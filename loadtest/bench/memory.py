"""What idle sessions cost: memory, and CPU (I/O)."""

import time

from xcluster.loadtest.bench.harness import CROWD_LIMIT_S, Bench, Found, Measure
from xcluster.loadtest.bench.servers import CONTACTS, SINGLE, Setup


def memory(*, tls: str = "none", setup: Setup = SINGLE) -> Measure:
    """PSS of an idle session with roster and presence; with several nodes, on those that don't own it."""

    def measure(bench: Bench) -> Found:
        sizes = bench.sizes
        running = bench.start(setup, fresh=True)
        before = bench.pss_kib()
        users = sizes.sessions
        with bench.load(
            "hold", nodes=1, users=users, full=1, tls=tls, contacts=CONTACTS, limit=CROWD_LIMIT_S
        ) as load:  # fmt: skip
            load.ready(CROWD_LIMIT_S)
            time.sleep(sizes.settle_s)
            early = bench.pss_kib()
            with bench.cpu() as spent:
                time.sleep(sizes.quiet_s)
            after = bench.pss_kib()
        grown = {pid: size - before.get(pid, 0) for pid, size in after.items()}
        others = running.node_pids[1:]
        if others:
            return Found(sum(grown[pid] for pid in others) / len(others) / users)
        more = {
            "sessions": users,
            "at_first": (sum(early.values()) - sum(before.values())) / users,
            "empty_mib": sum(before.values()) / 1024,
            "idle_percent": spent[0] / sizes.quiet_s * 100,
        }
        return Found(sum(grown.values()) / users, more)

    return measure
