"""The hot paths as the server runs them, without sockets: bytes are fed in, bytes come out at the lines.

Each path is built anew and run in rounds of some operations. `check` looks at what the last round has
delivered: a path that delivers nothing would be wonderfully cheap.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import NamedTuple

from tests.performance.node import DOMAIN, HEADER, Bus, Client, Clock, Node
from xcluster.node.store.protocol import Account
from xcluster.node.stream import scram
from xcluster.node.stream.negotiation import Negotiation, Policy
from xcluster.node.stream.steps import Authenticated, Bind, LookUp, Reply, Step
from xcluster.shared import ns
from xcluster.shared.framing import Framer, ParserPool, Stanza, StreamHeader

PAIRS = 100
BURST = 10
ACK_EVERY = 20  # messages; a busy link has more on their way
ACK_S = 0.03  # longer than bus/link.py lets an acknowledgement wait
WATCHERS = 30
LOGINS = 20
_TEXT = "Shall I compare thee to a summer's day? Thou art more lovely and more temperate. "
_PASSWORD, _NONCE = b"pencil", b"fyko+d2lbbFgONRv9qkxdawL"


class Path(NamedTuple):
    """`run` does so many `operations`; `check` raises AssertionError when they came to nothing."""

    name: str
    operations: int
    run: Callable[[], None]
    check: Callable[[], None]


def message(to: Client, number: int = 1) -> bytes:
    """A chat message as clients write it: 200 bytes."""
    address = to.session.jid
    return (
        f"<message to='{address}' type='chat' id='m{number}'><body>{_TEXT}{number}</body></message>".encode()
    )


def message_here() -> Path:
    """A message between two clients of one node, one a read."""
    return _messages_here("message on one node", 1)


def burst_here() -> Path:
    """The same, ten in one read."""
    return _messages_here("message on one node, ten at once", BURST)


def _messages_here(name: str, burst: int) -> Path:
    node = Node("n1", Clock())
    pairs = PAIRS // burst
    senders = [node.bind(f"sender{number}") for number in range(pairs)]
    recipients = [node.bind(f"recipient{number}") for number in range(pairs)]
    traffic = _traffic(senders, recipients, burst)

    def run() -> None:
        for recipient in recipients:
            recipient.line.written.clear()
        for sender, data in traffic:
            node.received(sender, data)

    return Path(name, pairs * burst, run, lambda: _check_delivered(senders, recipients, burst))


def message_there() -> Path:
    """A message to a client of another node, a frame for each; both nodes and the bus."""
    return _messages_there("message between two nodes", 1)


def burst_there() -> Path:
    """The same, ten in one read and one frame."""
    return _messages_there("message between two nodes, ten at once", BURST)


def _messages_there(name: str, burst: int) -> Path:
    clock = Clock()
    here, there = Node("n1", clock, buses=1), Node("n2", clock, buses=1)
    bus = Bus([here, there], clock)
    bus.settle()
    pairs = PAIRS // burst
    senders = [here.bind(f"sender{number}") for number in range(pairs)]
    recipients = [there.bind(f"recipient{number}") for number in range(pairs)]
    bus.settle()
    traffic = _traffic(senders, recipients, burst)

    def run() -> None:
        for recipient in recipients:
            recipient.line.written.clear()
        for number, (sender, data) in enumerate(traffic, 1):
            here.received(sender, data)
            bus.turn(here)
            if number % (ACK_EVERY // burst) == 0:
                clock.now += ACK_S
                there.exchange.mesh.touch_owing()
                bus.turn(there)

    def check() -> None:
        _check_delivered(senders, recipients, burst)
        link = here.exchange.mesh.links[there.exchange.me]
        assert link.acked and not link.unacked and not link.resent, "every message was acknowledged, once"

    return Path(name, pairs * burst, run, check)


def _traffic(senders: list[Client], recipients: list[Client], burst: int) -> list[tuple[Client, bytes]]:
    return [
        (sender, b"".join(message(recipient, number) for number in range(burst)))
        for sender, recipient in zip(senders, recipients, strict=True)
    ]


def _check_delivered(senders: list[Client], recipients: list[Client], burst: int) -> None:
    for sender, recipient in zip(senders, recipients, strict=True):
        from_ = f"<message from='{sender.session.jid}'".encode()
        expected = [from_ + message(recipient, number)[len("<message") :] for number in range(burst)]
        assert recipient.line.written == expected


def presence_to_watchers() -> Path:
    """A client changes its presence; thirty contacts on its node are told."""
    node = Node("n1", Clock())
    contacts = tuple(f"contact{number}" for number in range(WATCHERS))
    romeo = node.bind("romeo", contacts)
    watchers = [node.bind(contact, ("romeo",)) for contact in contacts]
    changes = (b"<presence><show>away</show></presence>", b"<presence><status>back</status></presence>")
    rounds = 5

    def run() -> None:
        for watcher in watchers:
            watcher.line.written.clear()
        for _ in range(rounds):
            for change in changes:
                node.received(romeo, change)
        romeo.line.written.clear()

    def check() -> None:
        for watcher in watchers:
            assert len(watcher.line.written) == rounds * len(changes)
            assert romeo.session.jid.encode() in watcher.line.written[0]
            assert watcher.line.written[-1].endswith(b"<status>back</status></presence>")

    return Path(f"presence to {WATCHERS} contacts", rounds * len(changes), run, check)


class _Scripted:
    """The server's side of a log-in whose random bytes are known, so that the client's side is written once."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._policy = Policy(domain=DOMAIN, secret=b"secret", features=b"<c xmlns='caps'/>")
        self._pool = ParserPool()
        self._final = b""
        self.written: list[bytes] = []

    def run(self) -> None:
        """RFC 6120 §9.1 without TLS: two streams, SCRAM-SHA-1, a bound resource."""
        self.written.clear()
        negotiation = Negotiation(self._policy, bytes, tls_required=False)
        framer = Framer(self._pool, 65_536)
        self._header(negotiation, framer)
        first = b"n=user,r=" + _NONCE
        auth = b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>%b</auth>"
        step = self._element(negotiation, framer, auth % b64encode(b"n,," + first))
        assert step == LookUp("user")
        challenge = negotiation.looked_up(self._account)
        assert isinstance(challenge, Reply)
        self.written.append(challenge.data)
        if not self._final:  # always the same, since the server's nonce is
            self._final = _final(first, challenge.data)
        step = self._element(negotiation, framer, self._final)
        assert isinstance(step, Authenticated), step
        self.written.append(step.data)
        framer.restart()
        self._header(negotiation, framer)
        bind = f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'><resource>phone</resource></bind></iq>"
        step = self._element(negotiation, framer, bind.encode())
        assert step == Bind("phone")
        self.written.append(negotiation.bound(f"user@{DOMAIN}/phone").data)

    def _header(self, negotiation: Negotiation, framer: Framer) -> None:
        (event,) = framer.feed(b"<?xml version='1.0'?>" + HEADER[:-1] + b" to='example.org'>")
        assert isinstance(event, StreamHeader), event
        self.written.append(negotiation.header(event))

    def _element(self, negotiation: Negotiation, framer: Framer, data: bytes) -> Step:
        (event,) = framer.feed(data)
        assert isinstance(event, Stanza), event
        return negotiation.element(event)


def _final(first: bytes, challenge: bytes) -> bytes:
    """The client's proof (RFC 5802 §3)."""
    message = b64decode(challenge.partition(b">")[2].partition(b"<")[0])
    fields = dict(field.split(b"=", 1) for field in message.split(b","))
    salted = hashlib.pbkdf2_hmac("sha1", _PASSWORD, b64decode(fields[b"s"]), int(fields[b"i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha1")
    without_proof = b"c=biws,r=" + fields[b"r"]
    signed = b",".join((first, message, without_proof))
    signature = hmac.digest(hashlib.sha1(client_key).digest(), signed, "sha1")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    response = b64encode(without_proof + b",p=" + b64encode(proof))
    return b"<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + response + b"</response>"


def log_in() -> Path:
    """Headers, SCRAM-SHA-1 from stored keys, and binding: what is left of it without store and sockets."""
    sha1, sha256 = (
        scram.derive("pencil", b"s" * scram.SALT_BYTES, 4096, name) for name in ("sha1", "sha256")
    )
    scripted = _Scripted(Account("user", sha1, sha256))

    def run() -> None:
        for _ in range(LOGINS):
            scripted.run()

    def check() -> None:
        assert b"<success" in scripted.written[2]
        assert b"<jid>user@example.org/phone</jid>" in scripted.written[-1]

    return Path("log-in, SCRAM-SHA-1 and bind", LOGINS, run, check)


ALL = (message_here, burst_here, message_there, burst_there, presence_to_watchers, log_in)
