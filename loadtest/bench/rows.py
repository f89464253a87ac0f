"""The one table: the rows of design.md §9 that a load generator can measure, and those beside them (I/O)."""

import msgspec

from xcluster.loadtest.bench.growth import more_nodes, more_sessions, old, throughput
from xcluster.loadtest.bench.harness import Measure, shared, view
from xcluster.loadtest.bench.logins import classic, login, tls_on_top
from xcluster.loadtest.bench.machine import slowness
from xcluster.loadtest.bench.memory import memory
from xcluster.loadtest.bench.messages import MIXED, OTHER, aged, message
from xcluster.loadtest.bench.servers import THREE, TWO


class Row(msgspec.Struct, frozen=True):
    """A row of the table; its measure may give several servers' figures, each in a run of its own."""

    name: str
    unit: str
    measure: Measure
    goals: tuple[float, float] | None = None  # the first goal, then the next
    reference: dict[str, float] = {}  # what design.md §9 and the issue say of the peers
    share: float | None = 0.5  # at most so much of the best peer's; None: not compared
    upward: bool = False  # the more, the better
    nodes: int = 1  # at least so many must be possible
    openssl: bool = False  # needs a generator built with OpenSSL
    ours: bool = False  # not measured for peers
    slow: bool = False  # minutes; only when asked for


def _peers(ejabberd: float, prosody: float) -> dict[str, float]:
    return {"ejabberd": ejabberd, "prosody": prosody}


SINGLE_GOALS, BURST_GOALS = (30.0, 22.0), (14.0, 9.0)
OTHER_GOALS, OTHER_BURST_GOALS = (45.0, 35.0), (27.0, 18.0)
FLAT = (1.2, 1.0)

_calm = message(1, rate=1000)
_memory = memory()

MESSAGES = [
    Row("message, one node, one at a time", "µs", message(1), SINGLE_GOALS, _peers(62, 109)),
    Row("message, one node, bursts of 10", "µs", message(10), BURST_GOALS, _peers(50, 70)),
    Row("message, aged, one at a time", "µs", shared(aged), SINGLE_GOALS, _peers(67, 109)),
    Row("message, aged, bursts of 10", "µs", view("burst_us", aged), BURST_GOALS, _peers(55, 70)),
    Row("message, 1,000 sessions, one at a time", "µs", message(1, crowd=True), SINGLE_GOALS,
        _peers(86, 105)),
    Row("message, 1,000 sessions, bursts of 10", "µs", message(10, crowd=True), BURST_GOALS,
        _peers(59, 222)),
    Row("message, one node, TLS", "µs", message(1, tls="starttls"), (43, 34), _peers(86, 486), openssl=True),
    Row("message, two nodes, one at a time", "µs", message(1, setup=TWO, partner=OTHER), OTHER_GOALS,
        {"ejabberd": 91}, nodes=2),
    Row("message, two nodes, bursts of 10", "µs", message(10, setup=TWO, partner=OTHER), OTHER_BURST_GOALS,
        {"ejabberd": 55}, nodes=2),
    Row("message, three nodes, one at a time", "µs", message(1, setup=THREE, partner=OTHER), OTHER_GOALS,
        nodes=3),
    Row("message, three nodes, bursts of 10", "µs", message(10, setup=THREE, partner=OTHER),
        OTHER_BURST_GOALS, nodes=3),
    Row("message, three nodes, half same", "µs", message(1, setup=THREE, partner=MIXED), (38, 29), nodes=3),
    Row("message, calm 1,000/s", "µs", shared(_calm), (68, 50), _peers(178, 137)),
    Row("message, calm 1,000/s, p99", "ms", view("p99_ms", _calm), share=1.0),
]  # fmt: skip

LOGINS = [
    Row("log-in, bind only, SCRAM-SHA-1", "ms", login("SCRAM-SHA-1", hashed=True), (0.35, 0.25),
        openssl=True),
    Row("log-in, bind only, PLAIN cold", "ms", login("PLAIN", hashed=True), (1.4, 1.3), _peers(9.6, 3.1)),
    Row("log-in, bind only, PLAIN warm", "ms", login("PLAIN", warm=True), (0.31, 0.2), _peers(0.39, 0.83)),
    Row("log-in, roster, presence of all", "ms", login("PLAIN", warm=True, full=True), (1.1, 0.75),
        _peers(2.6, 2.3)),
    Row("log-in, roster, presence of all, TLS", "ms",
        login("PLAIN", warm=True, full=True, tls="starttls"), (1.7, 1.2), _peers(5.2, 3.4), openssl=True),
    Row("TLS on top of a log-in", "ms", tls_on_top, (0.6, 0.45), _peers(1.0, 1.1), openssl=True),
    Row("classic client", "ms", classic, (0.85, 0.55), _peers(2.9, 1.7)),
]  # fmt: skip

IDLE = [
    Row("memory per idle session", "KiB", shared(_memory), (10, 6), _peers(156, 41)),
    Row("memory per idle session, TLS", "KiB", memory(tls="starttls"), (25, 20), _peers(197, 54),
        openssl=True),
    Row("replicated session, every other node", "KiB", memory(setup=THREE), (0.6, 0.6), share=None, nodes=3,
        ours=True),
    Row("idle sessions, of a core", "%", view("idle_percent", _memory), (1.0, 1.0), _peers(0.15, 0.15),
        share=None),
]  # fmt: skip

GROWTH = [
    Row("throughput, two nodes / one", "x", throughput, (1.6, 1.8), share=None, upward=True, nodes=2,
        ours=True),
    Row("message, four nodes / one", "x", more_nodes(1), FLAT, share=None, nodes=4, ours=True, slow=True),
    Row("message, four nodes / one, bursts", "x", more_nodes(10), FLAT, share=None, nodes=4, ours=True,
        slow=True),
    Row("message, 19,000 idle / 1,000", "x", more_sessions(1), FLAT, share=None, ours=True, slow=True),
    Row("message, 19,000 idle / 1,000, bursts", "x", more_sessions(10), FLAT, share=None, ours=True,
        slow=True),
    Row("message, 100,000 log-ins later / before", "x", shared(old), FLAT, share=None, slow=True),
    Row("memory, 100,000 log-ins later / before", "x", view("memory", old), FLAT, share=None, slow=True),
]  # fmt: skip

MACHINE = [
    Row("the machine, kept busy / its best", "x", slowness(), share=None),
    Row("the machine, after 1 ms of rest / its best", "x", slowness(0.001), share=None),
]

ROWS = [*MACHINE, *MESSAGES, *LOGINS, *IDLE, *GROWTH]
