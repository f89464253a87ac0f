"""What a log-in costs, and a classic client's whole visit (I/O)."""

from xcluster.loadtest.bench.harness import LIMIT_S, Bench, Found, Measure
from xcluster.loadtest.bench.servers import CONTACTS, HASHED, SINGLE
from xcluster.loadtest.sightings import RING, contacts

FIRST_COMERS = 50  # log in before any log-in is measured: servers load code when it is first needed


def login(
    mechanism: str, *, tls: str = "none", warm: bool = False, full: bool = False, hashed: bool = False
) -> Measure:
    """A log-in on a server freshly started; `full`: roster, presence to and from all; else bind only.

    `warm`: all have been there before, bind only. `hashed`: all servers keep SCRAM keys (ours always does);
    else the peers keep what suits PLAIN best.
    """

    def measure(bench: Bench) -> Found:
        bench.start(HASHED if hashed else SINGLE, fresh=True)
        users = bench.sizes.logins
        strangers = users + 2 * RING  # to those who are measured, on both sides of the ring
        log_in(bench, FIRST_COMERS, first=strangers, mechanism=mechanism, tls=tls, full=full)
        if warm:
            come_and_go(bench, users)
        return log_in(bench, users, mechanism=mechanism, tls=tls, full=full)

    return measure


def log_in(
    bench: Bench,
    users: int,
    *,
    first: int = 0,
    mechanism: str = "PLAIN",
    tls: str = "none",
    full: bool = False,
) -> Found:
    """That many users from the first on, once each; with `full`, all stay until all are there."""
    everybody = set(range(first, first + users))
    expected = sum(len(contacts(user, bench.sizes.users) & everybody) for user in everybody)
    with bench.load(
        "login", first=first, users=users, mechanism=mechanism, tls=tls, full=int(full), expected=expected,
        exact=int(bench.server.tells_once), contacts=CONTACTS,
    ) as load:  # fmt: skip
        load.ready(LIMIT_S)
        with bench.cpu() as spent:
            load.go()
            done = load.done(2 * LIMIT_S)
    return Found(spent[0] / done["logins"] * 1e3, {"per_s": done["logins"] / done["seconds"]})


def come_and_go(bench: Bench, times: int, *, full: bool = False) -> None:
    """So many log-ins and log-outs, user after user; with `full`, in troops whose members see each other."""
    troop = bench.sizes.logins if full else bench.sizes.users
    for begun in range(0, times, troop):
        log_in(bench, max(2, min(troop, times - begun)), full=full)


def tls_on_top(bench: Bench) -> Found:
    """What STARTTLS adds to a log-in."""
    plain = login("PLAIN", warm=True)(bench)
    secured = login("PLAIN", warm=True, tls="starttls")(bench)
    return Found(secured.value - plain.value, {"with": secured.value, "without": plain.value})


def classic(bench: Bench) -> Found:
    """One client of the classic scenario, from log-in to leaving; passwords have been seen before."""
    bench.start(SINGLE, fresh=True)
    sizes = bench.sizes
    away = sizes.users // 4
    come_and_go(bench, sizes.users - away)
    with bench.load(
        "classic", users=sizes.users, away=away, rate=sizes.arrivals_per_s, time=sizes.seconds,
        contacts=CONTACTS, mechanism="PLAIN",
    ) as load:  # fmt: skip
        load.ready(LIMIT_S)
        with bench.cpu() as spent:
            load.go()
            done = load.done(sizes.seconds + LIMIT_S)
    more = {"p50_ms": done["p50_ms"], "p99_ms": done["p99_ms"], "per_s": done["logins"] / sizes.seconds}
    return Found(spent[0] / done["logins"] * 1e3, more)
