"""(I/O) The bus process: sockets, keys, liveness."""

import http.server
import logging
import os
import signal
import socketserver
import threading
import time
from pathlib import Path

import msgspec
import zmq
import zmq.auth.thread

from xcluster.broker.forwarder import Forwarder
from xcluster.broker.relay import Relay, Send
from xcluster.bus import zeromq
from xcluster.shared.config import Bus, Config, is_loopback
from xcluster.shared.errors import ConfigError
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

STILL_S = 3.0  # a loop that has not turned for so long is not live
TCP_GIVES_UP_S = 30.0  # after unreachable_s and this a node's connection that takes nothing is closed
TURN_MESSAGES = 256
REREAD_S = 2.0  # how often strangers make us read the folder of authorized keys again


def run(config: Config, name: str) -> int:
    """Run a bus until SIGTERM or SIGINT; returns the exit code."""
    _check(config.bus)
    server = Server(config, name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: server.stop())
    server.open()
    try:
        server.run_relay()
    finally:
        server.close()
    return 0


def _check(bus: Bus) -> None:
    if not is_loopback(bus.listen) and not bus.secret_key and not bus.insecure:
        raise ConfigError(
            "bus.listen", bus.listen,
            "listens beyond loopback without encryption; set bus.secret_key and bus.authorized_keys "
            "(xcluster keys generate), or bus.insecure = true",
        )  # fmt: skip
    if bus.secret_key and not bus.authorized_keys:
        raise ConfigError("bus.authorized_keys", "", "must name the folder of the nodes' public keys")


class Server:
    """One bus."""

    def __init__(self, config: Config, name: str) -> None:
        self._config = config.bus
        self._unreachable_s = config.cluster.unreachable_s
        self._name = name
        self._run_dir = config.run_dir
        self._context = zmq.Context(2)
        self._relay = Relay(name, time.time_ns() // 1_000_000)
        self._stopping = False
        self._turned_at = time.monotonic()
        self._auth: zmq.auth.thread.ThreadAuthenticator | None = None

    def open(self) -> None:
        """Bind everything; raises ConfigError when an address is taken."""
        address = zeromq.endpoints(self._config.listen)
        if self._config.secret_key:
            self._authenticate()
        for path in address:
            if path.startswith("ipc://"):
                Path(path.removeprefix("ipc://")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._router = self._socket(zmq.ROUTER)
            self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
            self._router.setsockopt(zmq.ROUTER_HANDOVER, 1)
            # Only a connection that was seen to close means that its node may be gone: silence is the other
            # nodes' to judge, who also ask the store. They know about it long before TCP gives up.
            self._router.setsockopt(zmq.HEARTBEAT_IVL, 0)
            self._router.setsockopt(zmq.TCP_MAXRT, int((self._unreachable_s + TCP_GIVES_UP_S) * 1000))
            self._router.bind(address.tasks)
            self._forwarder = Forwarder(self._socket(zmq.XSUB), self._socket(zmq.XPUB), address)
        except zmq.ZMQError as error:
            raise ConfigError("bus.listen", self._config.listen, f"cannot be bound: {error}") from error
        self._forwarder.start()
        self._serve_liveness()
        self._announce()
        log.info("bus_ready", extra=kv(name=self._name, listen=self._config.listen))

    def _authenticate(self) -> None:
        """Only nodes whose public key lies in `authorized_keys` get through the handshake."""
        folder = Path(self._config.authorized_keys)
        if not folder.is_dir():
            raise ConfigError("bus.authorized_keys", str(folder), "is no folder")
        self._auth = zmq.auth.thread.ThreadAuthenticator(self._context)
        self._auth.start()
        self._auth.configure_curve_callback(domain="*", credentials_provider=_Allowed(folder))

    def _socket(self, type: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(type)
        zeromq.common_options(socket, self._config)
        if self._config.secret_key:
            socket.setsockopt(zmq.CURVE_SERVER, 1)
            socket.setsockopt(zmq.CURVE_SECRETKEY, zeromq.read_key("bus.secret_key", self._config.secret_key))
        return socket

    def run_relay(self) -> None:
        """Relay until told to stop."""
        router, relay = self._router, self._relay
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        while not self._stopping:
            self._turned_at = time.monotonic()
            if not poller.poll(500):
                continue
            for _ in range(TURN_MESSAGES):
                frames = zeromq.receive(router)
                if frames is None:
                    break
                self._pass(relay.received(frames[0], frames[1:]), frames[0])

    def _pass(self, send: Send | None, source: bytes) -> None:
        if send is None:
            return
        try:
            zeromq.send(self._router, send)
        except zmq.Again:
            self._relay.counters["dropped"] += 1  # the peer reads too slowly; its link sends again
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            if send.to != source:
                self._pass(self._relay.unreachable(source, send.to), source)

    def stop(self) -> None:
        self._stopping = True

    def close(self) -> None:
        self._liveness.shutdown()
        for path in (self._run_dir / f"{self._name}.sock", self._run_dir / f"{self._name}.json"):
            path.unlink(missing_ok=True)
        self._router.close(200)
        if self._auth is not None:
            self._auth.stop()
        self._context.term()  # the forwarder, in its thread, closes its sockets upon this
        self._forwarder.join(1.0)
        log.info("bus_ended", extra=kv(name=self._name, **self._relay.counters))

    # what the supervisor asks

    def _announce(self) -> None:
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = msgspec.json.encode(
            {
                "kind": "bus",
                "name": self._name,
                "pid": os.getpid(),
                "incarnation": self._relay.started,
                "ports": {},
            }
        )
        path = self._run_dir / f"{self._name}.json"
        path.with_suffix(".new").write_bytes(text)
        path.with_suffix(".new").rename(path)

    def _serve_liveness(self) -> None:
        self._run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._run_dir / f"{self._name}.sock"
        path.unlink(missing_ok=True)
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_live = time.monotonic() - server._turned_at < STILL_S
                known = self.path in ("/live", "/ready", "/api/status")
                body = msgspec.json.encode(
                    {"name": server._name, "live": is_live, "counters": server._relay.counters}
                )
                self.send_response(404 if not known else 200 if is_live else 503)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

            def address_string(self) -> str:
                return "local"

        class Liveness(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True
            request_queue_size = 16

        self._liveness = Liveness(str(path), Handler)
        path.chmod(0o600)
        threading.Thread(target=self._liveness.serve_forever, daemon=True, name="liveness").start()


class _Allowed:
    """Whose public keys may connect: those in a folder, looked up again when an unknown one comes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: set[bytes] = set()
        self._read_at = 0.0
        self.read()

    def read(self) -> None:
        """Raises ConfigError for a file that is no key."""
        self._keys = {
            zeromq.read_key("bus.authorized_keys", str(path)) for path in self._folder.glob("*.public")
        }

    def callback(self, domain: str, key: bytes) -> bool:
        if key not in self._keys and time.monotonic() - self._read_at > REREAD_S:
            self._read_at = time.monotonic()
            try:
                self.read()
            except ConfigError as error:
                log.warning("authorized_keys_unreadable", extra=kv(error=error))
        allowed = key in self._keys  # in Z85 already
        if not allowed:
            log.warning("bus_peer_refused", extra=kv(key=key.decode()[:8]))
        return allowed
