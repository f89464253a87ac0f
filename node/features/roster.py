"""RFC 6121 §2: the roster; §2.6 and XEP-0237: versioning; §3: what subscriptions do to it.

Changes are made by node/contacts.py in the store and announced to all nodes as `RosterChanged`. Whoever has
sessions of that user reads what is new since the version that each session knows, pushes it in version order,
and adjusts whom the session sees. A lost announcement is made good by the next, or by `missed`.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from sys import intern

from xcluster.bus.messages import Delta, Origin, RosterChanged
from xcluster.node import presences
from xcluster.node.contacts import Contacts
from xcluster.node.directory import INTERESTED, Directory
from xcluster.node.hooks import OWN, Feature, Reply, Request, Xep, iq, service
from xcluster.node.rosters import CachedRoster, Rosters
from xcluster.node.session import Session, Sessions
from xcluster.node.store.protocol import RosterItem, Store
from xcluster.node.watchers import Watchers
from xcluster.shared import ns
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.jid import JidError, parse
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza, escape, iq_set, tree

log = logging.getLogger(__name__)

MAX_NAME = 1023  # bytes of a contact's name, or of a group (RFC 6121 §2.3.3: the server's own limit)
MAX_GROUPS = 50
MAX_DIGITS = 18  # of a version: more don't fit a row
RETRY_S = 1.0

Answer = Callable[[], CachedRoster]


class Roster(Feature):
    """Answers roster IQs, pushes changes."""

    xeps = (Xep(237, "Roster Versioning"),)

    def __init__(
        self,
        domain: str,
        store: Store,
        rosters: Rosters,
        contacts: Contacts,
        sessions: Sessions,
        directory: Directory,
        watchers: Watchers,
        spawn: Callable[..., object],
        later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._domain = domain
        self._store = store
        self._rosters = rosters
        self._contacts = contacts
        self._sessions = sessions
        self._directory = directory
        self._watchers = watchers
        self._spawn = spawn
        self._later = later
        self._versions: dict[int, int] = {}  # session -> the roster version that it has
        self._syncing: dict[str, bool] = {}  # user -> whether to look once more
        self._pushes = 0

    def stream_features(self) -> bytes:
        return f"<ver xmlns='{ns.ROSTER_VERSIONING}'/><sub xmlns='{ns.PRE_APPROVAL}'/>".encode()

    @iq("get", ns.ROSTER, "query", at=(OWN,), later=True)
    def get(self, request: Request, reply: Reply) -> None:
        """RFC 6121 §2.1.3; with a version that the server remembers only what changed (§2.6.3)."""
        # Most ask without a version, and need not be parsed once more.
        known = _version(request.payload.get("ver")) if b"ver" in request.stanza.raw else None
        self._rosters.load(request.session.user, partial(self._got, request.session, known, reply))

    def _got(self, session: Session, known: int | None, reply: Reply, roster: Answer) -> None:
        if known:
            self._spawn(reply, partial(self._news, session, known, roster))
        else:
            reply(partial(self._whole, session, roster))

    def _whole(self, session: Session, answer: Answer) -> bytes:
        roster = answer()
        session.flags |= INTERESTED
        self._knows(session, roster.version)
        items = "".join(map(_item, roster.listed()))
        return f"<query xmlns='jabber:iq:roster' ver='{roster.version}'>{items}</query>".encode()

    def _news(self, session: Session, known: int, answer: Answer) -> bytes:
        """Waits for the store unless nothing has changed."""
        roster = answer()
        session.flags |= INTERESTED
        self._knows(session, roster.version)
        if known == roster.version:
            return b""
        changes = self._store.roster_since(session.user, known)
        if changes is None:
            return self._whole(session, lambda: roster)
        self._knows(session, changes.version, anew=True)
        self._push_after(session, changes.items, known)
        return b""

    def _push_after(self, session: Session, items: Iterable[RosterItem], version: int) -> None:
        """Push behind the result, which is written in this same turn."""
        pushes = [self._push(session, item) for item in _shown(items, version)]
        self._later(0.0, lambda: session.send(b"".join(pushes)))

    @iq("set", ns.ROSTER, "query", at=(OWN,), waits=True)
    def set(self, request: Request) -> bytes:
        """RFC 6121 §2.3 to §2.5."""
        session = request.session
        items = list(request.payload)
        if len(items) != 1 or items[0].tag != f"{{{ns.ROSTER}}}item":
            raise StanzaError("modify", "bad-request", "exactly one item")
        item = items[0]
        try:
            contact = parse(item.get("jid") or "")
        except JidError as error:
            raise StanzaError("modify", "jid-malformed", str(error)) from error
        if contact.resource:
            contact = parse(contact.bare)
        if item.get("subscription") == "remove":
            self._contacts.remove_item(session.user, session.bare, contact)
            return b""
        if contact.bare == session.bare:
            raise StanzaError("cancel", "not-allowed", "one's own address is no contact")
        name = item.get("name") or ""
        groups = tuple(group.text or "" for group in item.findall(f"{{{ns.ROSTER}}}group"))
        _check(name, groups)
        self._contacts.set_item(session.user, contact, name, groups)
        return b""

    def session_ended(self, session: Session, farewell: Stanza | None) -> None:
        self._versions.pop(session.counter, None)

    @service
    def became_available(self, session: Session, roster: CachedRoster) -> None:
        """The session has been told of contacts by this version of the roster."""
        self._knows(session, roster.version)

    def _knows(self, session: Session, version: int, anew: bool = False) -> None:
        known = self._versions.get(session.counter)
        if known is None or (anew and version > known):
            self._versions[session.counter] = version
            if self._rosters.peek(session.user) is None:  # it has changed while this version was read
                self._sync_soon(session.bare)
        elif known != version:
            self._sync_soon(session.bare)

    def happened(self, origin: Origin, event: Delta) -> None:
        """A roster has reached another version somewhere."""
        if not isinstance(event, RosterChanged):
            return
        self._rosters.invalidate(event.user)
        for bare in self._here(event.user):
            if event.stanza:
                self._deliver(bare, event.stanza)
            self._sync_soon(bare)

    def _here(self, user: str) -> list[str]:
        bare = self._bare(user)
        return [bare] if self._sessions.of(bare) else []

    def _bare(self, user: str) -> str:
        return f"{user}@{self._domain}"

    def _deliver(self, bare: str, stanza: bytes) -> None:
        """A request goes to available resources, what became of one to interested ones (§3.1.3, §3.1.6)."""
        is_request = tree(stanza).get("type") == "subscribe"
        for session in self._sessions.of(bare):
            if session.presence if is_request else session.flags & INTERESTED:
                session.send(stanza)

    @service
    def changed_elsewhere(self, user: str) -> None:
        """Something that is no node has changed the roster in the store."""
        self._rosters.invalidate(user)
        for bare in self._here(user):
            self._sync_soon(bare)

    def missed(self, origin: Origin) -> None:
        self._rosters.clear()
        for bare in self._sessions.users():
            self._sync_soon(bare)

    # bringing sessions up to date

    def _sync_soon(self, bare: str) -> None:
        """One greenlet a user; what comes while it reads makes it read again."""
        if bare in self._syncing:
            self._syncing[bare] = True
        else:
            self._syncing[bare] = False
            self._spawn(self._run_sync, bare)

    def _run_sync(self, bare: str) -> None:
        while True:
            self._syncing[bare] = False
            try:
                self._sync(bare)
            except StoreError as error:
                log.warning("roster_sync_delayed", extra=kv(jid=bare, error=error))
                self._later(RETRY_S, lambda: self._again(bare))
                return
            if not self._syncing[bare]:
                del self._syncing[bare]
                return

    def _again(self, bare: str) -> None:
        self._syncing.pop(bare, None)
        self._sync_soon(bare)

    def _sync(self, bare: str) -> None:
        known = [self._versions[s.counter] for s in self._sessions.of(bare) if s.counter in self._versions]
        if not known:
            return
        user = parse(bare).local
        changes = self._store.roster_since(user, min(known))
        if changes is None:
            changes = self._store.roster(user)
        for session in self._sessions.of(bare):
            version = self._versions.get(session.counter)
            if version is not None and version < changes.version:
                self._versions[session.counter] = changes.version
                self._bring(session, [item for item in changes.items if item.version > version], version)

    def _bring(self, session: Session, items: Iterable[RosterItem], version: int) -> None:
        """The session knew the roster at `version`."""
        for item in _shown(items, version):
            if session.flags & INTERESTED:
                session.send(self._push(session, item))
            if session.presence:
                self._see(session, item)

    def _see(self, session: Session, item: RosterItem) -> None:
        """Begin or end to show the contact's presence (RFC 6121 §3.1.6, §3.2.3)."""
        contact = intern(item.contact)
        if item.subscription in ("to", "both"):
            if self._watchers.add(session, contact):
                presences.tell(self._directory, session, contact)
        elif self._watchers.discard(session, contact):
            for record in self._directory.resources(contact):
                if record.presence:
                    session.send(presences.unavailable(b"", record.jid).to(session.to))

    def _push(self, session: Session, item: RosterItem) -> bytes:
        """RFC 6121 §2.1.6."""
        self._pushes += 1
        query = f"<query xmlns='jabber:iq:roster' ver='{item.version}'>{_item(item)}</query>".encode()
        return iq_set(f"push{self._pushes}", query, to=session.jid)


def _shown(items: Iterable[RosterItem], version: int) -> Iterator[RosterItem]:
    """What a client that has this version of the roster is to be told, given what has changed since.

    An item that exists only for a request may stand where a tombstone stood, unless it is all that has
    changed since: it is shown as one, which does no harm to those who never had it."""
    for item in items:
        if item.listed or item.subscription == "remove":
            yield item
        elif item.version > version + 1:
            yield RosterItem(item.contact, subscription="remove", version=item.version)


def _version(text: str | None) -> int | None:
    """The version that a client says it has; None for what we never gave."""
    if text is None or len(text) > MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return int(text)


def _item(item: RosterItem) -> str:
    """One <item/> (RFC 6121 §2.1.2). What would need escaping can't stand in a bare JID (RFC 7622 §3.3.1)."""
    name = f" name='{escape(item.name)}'" if item.name else ""
    ask = " ask='subscribe'" if item.ask else ""
    approved = " approved='true'" if item.approved else ""
    groups = "".join(f"<group>{escape(group)}</group>" for group in item.groups)
    head = f"<item jid='{item.contact}' subscription='{item.subscription}'{name}{ask}{approved}"
    return f"{head}>{groups}</item>" if groups else f"{head}/>"


def _check(name: str, groups: tuple[str, ...]) -> None:
    """RFC 6121 §2.3.3."""
    if len(name.encode()) > MAX_NAME:
        raise StanzaError("modify", "not-acceptable", "the name is too long")
    if len(groups) > MAX_GROUPS or len(set(groups)) != len(groups):
        raise StanzaError("modify", "bad-request", "too many groups, or one twice")
    if any(not group or len(group.encode()) > MAX_NAME for group in groups):
        raise StanzaError("modify", "not-acceptable", "a group's name is empty or too long")
