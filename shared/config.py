"""Configuration: one TOML file, one Struct per section, every key with a default and a unit.

`load` reads a file, lays `--set section.key=value` over it and checks the result; every mistake is a
`ConfigError` that names the key, the value and the mend. `conf/xcluster.toml` shows all keys with what
gets better and worse when they grow; a test compares it with this module.
"""

import ipaddress
import tomllib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from xcluster.shared.errors import ConfigError


class Section(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A table of the file; unknown keys are refused."""


class Server(Section):
    """Who this server is, and where its files are."""

    domain: str = "localhost"  # the one XMPP domain that all nodes serve
    data_dir: str = "xcluster-data"  # SQLite file, certificate, keys
    run_dir: str = ""  # admin sockets of the nodes; "" is data_dir/run


class C2s(Section):
    """Client connections."""

    listen: list[str] = msgspec.field(default_factory=lambda: ["0.0.0.0:5222"])  # STARTTLS ports
    listen_tls: list[str] = msgspec.field(default_factory=lambda: ["0.0.0.0:5223"])  # XEP-0368
    plain_without_tls: bool = False  # SASL PLAIN on unencrypted loopback streams: for tests only
    require_tls: bool = True  # refuse SASL before STARTTLS, except from loopback addresses
    max_stanza_bytes: int = 262_144  # one stanza after authentication
    max_stanza_bytes_unauthenticated: int = 10_000  # one element before it
    max_depth: int = 100  # nesting of elements in one stanza
    max_output_bytes: int = 4_194_304  # unsent bytes for a client that does not read
    presence_delay_ms: int = 100  # how long contacts' presence may wait for company; more: fewer system calls
    negotiation_timeout_s: float = 30.0  # from accept to resource binding
    idle_ping_s: float = 120.0  # silence after which a client is pinged (XEP-0199)
    idle_timeout_s: float = 30.0  # silence after that ping until it is cut
    resource_conflict: Literal["replace", "refuse", "rename"] = "replace"  # RFC 6120 §7.7.2.2
    max_resources: int = 10  # sessions of one account, cluster-wide
    max_connections: int = 0  # 0: as many as descriptors allow, less a reserve
    backlog: int = 1024  # connections that the kernel queues before they are accepted


class Tls(Section):
    """Certificates."""

    certificate: str = ""  # PEM chain; "" makes a self-signed one in data_dir
    key: str = ""  # PEM private key of that certificate


class Sasl(Section):
    """Authentication."""

    iterations: int = 4096  # PBKDF2 rounds of new SCRAM keys; at least 4096
    plain_threads: int = 2  # threads that derive keys for PLAIN
    plain_queue: int = 512  # PLAIN log-ins waiting for a thread; beyond: temporary-auth-failure
    plain_cache: int = 65_536  # accounts whose last good PLAIN password is remembered as a keyed hash


class Bus(Section):
    """What processes say to each other. Without endpoints a node is a complete single server."""

    endpoints: list[str] = msgspec.field(default_factory=list)  # every bus: ipc://PATH or tcp://HOST:PORT
    listen: str = "tcp://127.0.0.1:5400"  # for `xcluster bus`; tcp takes three ports from here
    public_key: str = ""  # CURVE: the bus's public key file; "" is no encryption
    secret_key: str = ""  # CURVE: this process's secret key file
    authorized_keys: str = ""  # CURVE, bus only: folder of the public keys that may connect
    insecure: bool = False  # allow a bus beyond loopback without CURVE
    high_water_mark: int = 20_000  # messages queued for one peer before they are dropped
    relay_bytes: int = 1_048_576  # the longest message that is taken from a peer


class Cluster(Section):
    """Membership, replication, tasks."""

    heartbeat_ms: int = 500  # between heartbeats
    suspect_s: float = 1.5  # silence after which a node is suspect
    dead_s: float = 3.0  # silence (bus and store) after which it is dead
    unreachable_s: float = 30.0  # how long rows of a node are kept that only the store still hears
    startup_delay_s: float = 0.0  # wait before joining; 5 gives a rebooted rack time to settle
    startup_retry_count: int = 1  # further attempts to reach a bus at start
    startup_retry_s: float = 10.0  # between those attempts
    max_execution_s: float = 30.0  # limit of a synchronous task
    ring_deltas: int = 65_536  # own deltas kept for peers that missed some; beyond: snapshot
    link_window: int = 8_192  # tasks sent to one peer and not yet acknowledged


class Early(Section):
    """Tasks that arrive before the state they need."""

    attempts: int = 5  # tries within the window, the first at once; 0 switches parking off
    window_ms: int = 500  # after it the fall-back: next resource, offline, error
    max_parked: int = 10_000  # lanes parked on one node; beyond: fall-back at once


class Store(Section):
    """The only durable state."""

    url: str = ""  # "" is SQLite in data_dir; or postgresql://user@host/db
    synchronous: Literal["normal", "full"] = "normal"  # SQLite: full survives a power cut
    max_batch: int = 500  # rows in one group commit
    reader_threads: int = 4  # PostgreSQL connections for reads
    retry_s: float = 0.25  # first pause after a lost connection; doubles up to 5 s
    queue: int = 20_000  # operations waiting for the store; beyond: refused
    timeout_s: float = 30.0  # an operation not done by then fails


class Limits(Section):
    """What one client, address or account may do."""

    enabled: bool = True
    stanzas_per_s: float = 100.0  # sustained, per connection; slowed beyond, not killed
    stanzas_burst: int = 1000
    bytes_per_s: float = 200_000.0
    bytes_burst: int = 1_000_000
    connections_per_address: int = 1000  # open at once
    connects_per_s: float = 50.0  # new connections per address
    connects_burst: int = 500
    login_failures: int = 10  # per account and address within the window, cluster-wide; 0: no limit
    login_window_s: float = 300.0


class Offline(Section):
    """Messages for people who are away (XEP-0160)."""

    max_messages: int = 1000  # per user; beyond: service-unavailable to the sender
    poll_s: float = 10.0  # how often a node looks for rows of its own users that nobody announced
    dedupe_s: float = 300.0  # how long a deleted row is remembered


class Roster(Section):
    """Contacts."""

    max_items: int = 1000  # contacts per user
    cache_bytes: int = 67_108_864  # rosters kept in memory, per node


class Vcard(Section):
    """XEP-0054."""

    max_bytes: int = 131_072
    cache_bytes: int = 16_777_216


class Registration(Section):
    """XEP-0077."""

    enabled: bool = False  # let strangers create accounts
    per_hour: int = 5  # accounts per address and hour


class Admin(Section):
    """Health, metrics and the local API."""

    test_hooks: bool = False  # for tests: POST /api/test/... damages this node on purpose
    listen: str = ""  # HOST:PORT for /live, /ready, /metrics; "" is none (the socket in run_dir always is)


class Log(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Config(Section):
    """The whole file."""

    server: Server = msgspec.field(default_factory=Server)
    c2s: C2s = msgspec.field(default_factory=C2s)
    tls: Tls = msgspec.field(default_factory=Tls)
    sasl: Sasl = msgspec.field(default_factory=Sasl)
    bus: Bus = msgspec.field(default_factory=Bus)
    cluster: Cluster = msgspec.field(default_factory=Cluster)
    early: Early = msgspec.field(default_factory=Early)
    store: Store = msgspec.field(default_factory=Store)
    limits: Limits = msgspec.field(default_factory=Limits)
    offline: Offline = msgspec.field(default_factory=Offline)
    roster: Roster = msgspec.field(default_factory=Roster)
    vcard: Vcard = msgspec.field(default_factory=Vcard)
    registration: Registration = msgspec.field(default_factory=Registration)
    admin: Admin = msgspec.field(default_factory=Admin)
    log: Log = msgspec.field(default_factory=Log)

    @property
    def data_dir(self) -> Path:
        return Path(self.server.data_dir)

    @property
    def run_dir(self) -> Path:
        return Path(self.server.run_dir) if self.server.run_dir else self.data_dir / "run"

    @property
    def store_url(self) -> str:
        return self.store.url or f"sqlite:{self.data_dir / 'xcluster.db'}"


def keys(section: Any = Config) -> Iterator[tuple[str, str]]:
    """Every (section, key) there is, in order."""
    for table in msgspec.structs.fields(section):
        for field in msgspec.structs.fields(table.type):
            yield table.name, field.name


def load(file: str | Path | None = None, settings: Iterable[str] = ()) -> Config:
    """Read `file` (TOML), lay `settings` ("section.key=value") over it, check; raises ConfigError."""
    tables: dict[str, Any] = {}
    if file is not None:
        try:
            tables = tomllib.loads(Path(file).read_text("utf-8"))
        except OSError as error:
            raise ConfigError("--config", str(file), f"cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError("--config", str(file), f"is not valid TOML: {error}") from error
    for setting in settings:
        _lay(tables, setting)
    config = _convert(tables)
    check(config)
    return config


def _lay(tables: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    section, dot, key = path.strip().partition(".")
    if not equals or not dot:
        raise ConfigError("--set", setting, "write it as section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string: shells eat quotes
    table = tables.setdefault(section, {})
    if not isinstance(table, dict):
        raise ConfigError(section, table, "is a section; write [section] above its keys")
    table[key] = value


def _convert(tables: dict[str, Any]) -> Config:
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    converted: dict[str, Any] = {}
    for name, table in tables.items():
        if name not in sections:
            raise ConfigError(name, "[section]", f"is not a section; there are {', '.join(sections)}")
        if not isinstance(table, dict):
            raise ConfigError(name, table, "is a section; write [section] above its keys")
        fields = {field.name: field for field in msgspec.structs.fields(sections[name])}
        for key, value in table.items():
            if key not in fields:
                raise ConfigError(f"{name}.{key}", value, f"is not a key; there are {', '.join(fields)}")
            try:
                msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError as error:
                raise ConfigError(f"{name}.{key}", value, str(error)) from error
        converted[name] = msgspec.convert(table, sections[name])
    return Config(**converted)


def check(config: Config) -> None:
    """Refuse what has the right type and cannot work; raises ConfigError."""

    def want(true: bool, key: str, value: object, mend: str) -> None:
        if not true:
            raise ConfigError(key, value, mend)

    for section, key in keys():
        value = getattr(getattr(config, section), key)
        if type(value) in (int, float):
            want(value >= 0, f"{section}.{key}", value, "must not be negative")
    want(config.server.domain.strip() != "", "server.domain", config.server.domain, "must name a domain")
    want(config.sasl.iterations >= 4096, "sasl.iterations", config.sasl.iterations, "must be at least 4096")
    want(
        config.cluster.suspect_s < config.cluster.dead_s,
        "cluster.suspect_s",
        config.cluster.suspect_s,
        f"must be below cluster.dead_s ({config.cluster.dead_s})",
    )
    want(
        config.cluster.heartbeat_ms * 2 <= config.cluster.suspect_s * 1000,
        "cluster.heartbeat_ms",
        config.cluster.heartbeat_ms,
        "must fit twice into cluster.suspect_s",
    )
    want(bool(config.tls.certificate) == bool(config.tls.key), "tls.key", config.tls.key,
         "certificate and key go together: set both or neither")  # fmt: skip
    endpoints = [("bus.endpoints", endpoint) for endpoint in config.bus.endpoints]
    for key, endpoint in [*endpoints, ("bus.listen", config.bus.listen)]:
        want(endpoint.startswith(("tcp://", "ipc://")), key, endpoint,
             "write tcp://HOST:PORT or ipc://PATH")  # fmt: skip
    want(config.c2s.max_stanza_bytes + 4096 <= config.bus.relay_bytes, "c2s.max_stanza_bytes",
         config.c2s.max_stanza_bytes, f"must stay 4096 below bus.relay_bytes ({config.bus.relay_bytes})")  # fmt: skip
    for key in ("listen", "listen_tls"):
        for address in getattr(config.c2s, key):
            _check_address(f"c2s.{key}", address)
    if config.admin.listen:
        _check_address("admin.listen", config.admin.listen)
    scheme = config.store_url.partition(":")[0]
    want(scheme in ("sqlite", "postgresql", "postgres"), "store.url", config.store.url,
         "write sqlite:PATH or postgresql://USER@HOST/DATABASE")  # fmt: skip


def _check_address(key: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(key, address, "write HOST:PORT, for instance 0.0.0.0:5222")


@lru_cache(maxsize=1024)
def is_loopback(endpoint: str) -> bool:
    """Whether an IP address, or an endpoint or HOST:PORT, can be reached from this machine only."""
    if endpoint.startswith("ipc://"):
        return True
    host = endpoint.removeprefix("tcp://")
    if host.count(":") == 1 or host.startswith("["):
        host = host.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name may stand for anything
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)
