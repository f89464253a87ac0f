"""What the tests of the small features have in common: a store with accounts, sessions, and a way to ask."""

from collections.abc import Callable, Sequence
from xml.etree.ElementTree import canonicalize

from tests.node.store.rows import NOW, account
from xcluster.bus.messages import Delta, Origin, SessionUp
from xcluster.node.directory import Directory
from xcluster.node.hooks import ACCOUNT, OWN, SERVER, Feature, Request
from xcluster.node.rosters import Rosters
from xcluster.node.session import Session, Sessions
from xcluster.node.store.memory import MemoryStore
from xcluster.node.store.protocol import Roster, RosterItem, ScramKey
from xcluster.shared import jid
from xcluster.shared.errors import StanzaError
from xcluster.shared.framing import Framer, ParserPool
from xcluster.shared.stanza import Stanza

DOMAIN = "example.org"
ME = Origin("node1", 1)
OTHER = Origin("node2", 1)
STRANGERS = ("mallory@example.org", "nobody@example.org")  # the second has no account
UNSEEN = ("none", "to")  # subscriptions in the owner's roster that let nobody see them
SEEN = ("from", "both")


class Clock:
    """A clock that stands."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Line:
    """A client's line that keeps what it is given."""

    address = "192.0.2.1"
    heard_at = 0.0
    unsent = 0
    has_lost = False

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def hold(self) -> None:
        pass

    def release(self) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def write_later(self, data: bytes) -> None:
        self.written.append(data)

    def end(self, condition: str, text: str = "") -> None:
        self.written.append(condition.encode())


class Setting:
    """One node's services, with the accounts alice, bob and mallory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(clock=self.clock)
        for user in ("alice", "bob", "mallory"):
            self.store.create_account(account(user))
        self.sessions = Sessions()
        self.directory = Directory(ME)
        self.rosters = Rosters(self.store, 1_000_000)
        self.features: list[Feature] = []
        self.announced: list[Delta] = []

    def announce(self, event: Delta) -> None:
        """As the node does: to the log, and to this node's features."""
        self.announced.append(event)
        for feature in self.features:
            feature.happened(ME, event)

    def lets_see(self, owner: str, viewer: str, subscription: str) -> None:
        """Give the owner a roster with just this contact."""
        item = RosterItem(f"{viewer}@{DOMAIN}", subscription=subscription)
        self.store.provision((), [(owner, Roster(items=(item,)))])
        self.rosters.clear()

    def bind(self, user: str, resource: str = "home") -> Session:
        """A session of ours, in sessions and directory."""
        address = jid.make(user, DOMAIN, resource)
        session = Session(self.sessions.next_counter(), address, Line(), 1, 0.0)
        self.sessions.add(session)
        self.directory.apply(ME, SessionUp(session.counter, session.jid, 1))
        return session

    def seen_on(self, origin: Origin, counter: int, full: str, presence: bytes = b"<presence/>") -> None:
        """A session of any node, in the directory."""
        self.directory.apply(origin, SessionUp(counter, full, 1, presence))


def stanza(raw: str) -> Stanza:
    """As the framer reads it."""
    framer = Framer(ParserPool(), 1_000_000)
    header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    read = framer.feed(header.encode() + raw.encode())[-1]
    assert isinstance(read, Stanza)
    return read


def ask(feature: Feature, session: Session, raw: str) -> bytes:
    """What the feature answers to an IQ; raises StanzaError, also where it has no handler."""
    iq = stanza(raw)
    to = jid.parse(iq.to).full if iq.to else session.bare
    at = {DOMAIN: SERVER, session.bare: OWN}.get(to, ACCOUNT)
    request = Request(session, iq, at, "" if at is SERVER else to)
    for member in vars(type(feature)).values():
        for handler in getattr(member, "iq_handlers", ()):
            if (handler.type, handler.name) == (iq.type, iq.children[0]) and at in handler.at:
                if handler.later:
                    return _replied(member, feature, request)
                answer: bytes = member(feature, request)
                return answer
    raise StanzaError("cancel", "service-unavailable")


def _replied(member: Callable[..., None], feature: Feature, request: Request) -> bytes:
    """What a handler that answers later has answered."""
    payloads: list[Callable[[], bytes]] = []
    member(feature, request, payloads.append)
    assert len(payloads) == 1, "one reply, and here at once"
    return payloads[0]()


def refusal(feature: Feature, session: Session, raw: str) -> tuple[str, str]:
    """Type and condition of the error with which the feature refuses."""
    try:
        answer = ask(feature, session, raw)
    except StanzaError as error:
        return error.type, error.condition
    raise AssertionError(f"answered with {answer!r}")


def get(payload: str, to: str = "") -> str:
    return f"<iq type='get' id='1'{_to(to)}>{payload}</iq>"


def set_(payload: str, to: str = "") -> str:
    return f"<iq type='set' id='1'{_to(to)}>{payload}</iq>"


def _to(to: str) -> str:
    return f" to='{to}'" if to else ""


def canonical(raw: bytes | str) -> str:
    """To compare XML whatever its quotes and empty elements look like."""
    return canonicalize(raw.decode() if isinstance(raw, bytes) else raw, rewrite_prefixes=True)


def derive(password: str) -> tuple[ScramKey, ScramKey]:
    """Keys that show their password; "impossible" is none."""
    if password == "impossible":
        raise ValueError("impossible")
    key = ScramKey(b"salt", 4096, password.encode(), b"server")
    return key, key


def as_seen_by(features: Sequence[Feature], event: Delta) -> None:
    """Another node has announced it."""
    for feature in features:
        feature.happened(OTHER, event)
