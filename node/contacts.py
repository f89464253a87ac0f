"""Changes of rosters: one transaction over both sides, then an announcement (RFC 6121 §2 and §3)."""

import logging
from collections.abc import Callable
from functools import partial

from xcluster.bus.messages import Delta, RosterChanged
from xcluster.node import subscriptions
from xcluster.node.session import Session
from xcluster.node.store.protocol import RosterItem, RosterOutcome, Store
from xcluster.node.subscriptions import Sides, Transition
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.jid import Jid
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza, error_reply, presence, stamp

log = logging.getLogger(__name__)


class Contacts:
    """What users do to their rosters and subscriptions."""

    def __init__(
        self,
        store: Store,
        announce: Callable[[Delta], None],
        domain: str,
        max_items: int,
        spawn: Callable[..., object],
    ) -> None:
        """`spawn` runs a function in a greenlet, where it may wait for the store."""
        self._store = store
        self._spawn = spawn
        self._announce = announce
        self._domain = domain
        self._max_items = max_items

    def subscribe(self, session: Session, stanza: Stanza, to: Jid) -> None:
        """A subscription stanza of a client; later stanzas of the session wait for it."""
        if not to.local:
            raise StanzaError("cancel", "service-unavailable")
        if to.bare == session.bare:
            return  # one's own presence is seen anyway (RFC 6121 §3.1.1)
        session.line.hold()
        self._spawn(self._subscribe, session, stanza, to)

    def _subscribe(self, session: Session, stanza: Stanza, to: Jid) -> None:
        kind = stanza.type or ""
        raw = stamp(
            stanza, b" from='" + session.bare.encode() + b"'", session.lang, to=to.bare, ours=(self._domain,)
        )
        try:
            self._transact(session.user, Sides(session.bare, to.bare, raw), to.local, kind)
        except StanzaError as error:
            session.send(error_reply(stanza, error.type, error.condition, error.text, to=session.jid))
        except StoreError as error:
            log.warning("subscription_refused", extra=kv(jid=session.jid, error=error))
            session.send(
                error_reply(stanza, "wait", "resource-constraint", "the store is away", to=session.jid)
            )
        finally:
            session.line.release()

    def _transact(self, user: str, sides: Sides, contact_user: str, kind: str) -> None:
        outcome = self._change(user, sides, contact_user, subscriptions.TRANSITIONS[kind])
        before, after = outcome.before, outcome.after
        told = sides.stanza if subscriptions.delivered(kind, before, after) else b""
        answer = b""
        if subscriptions.answered(kind, before, after):
            answer = presence(from_=sides.contact, to=sides.user, type="subscribed")
            told = b""
        self._tell(user, outcome.user_version, answer)
        self._tell(contact_user, outcome.contact_version, told)

    def _change(self, user: str, sides: Sides, contact_user: str, transition: Transition) -> RosterOutcome:
        exists = self._store.account(contact_user) is not None

        def change(mine: RosterItem | None, theirs: RosterItem | None) -> subscriptions.Pair:
            return transition(sides, mine, theirs, exists)

        known = contact_user if exists else None
        return self._store.change_rosters(user, sides.contact, known, change, self._max_items)

    def _tell(self, user: str, version: int, stanza: bytes) -> None:
        if version or stanza:
            self._announce(RosterChanged(user, version, stanza))

    def set_item(self, user: str, contact: Jid, name: str, groups: tuple[str, ...]) -> None:
        """RFC 6121 §2.3 and §2.4: add a contact, or change its name and groups."""

        def change(mine: RosterItem | None, theirs: RosterItem | None) -> subscriptions.Pair:
            old = mine or RosterItem(contact.bare, listed=False)
            new = RosterItem(
                contact.bare,
                name,
                groups,
                old.subscription,
                old.ask,
                old.approved,
                old.pending_in,
                True,
                old.version,
            )
            return (mine if new == mine else new), theirs

        outcome = self._store.change_rosters(user, contact.bare, None, change, self._max_items)
        self._tell(user, outcome.user_version, b"")

    def remove_item(self, user: str, own: str, contact: Jid) -> None:
        """RFC 6121 §2.5: the contact goes, and with it both subscriptions."""
        sides = Sides(own, contact.bare, b"")
        local = contact.local if contact.domain == self._domain else ""
        if local and contact.bare != own:
            outcome = self._change(user, sides, local, subscriptions.remove)
        else:
            outcome = self._store.change_rosters(
                user, contact.bare, None, partial(subscriptions.remove, sides, exists=False), self._max_items
            )
        self._tell(user, outcome.user_version, b"")
        if local and outcome.contact_version:
            for kind in _ended(outcome.before[1]):
                self._announce(
                    RosterChanged(
                        local, outcome.contact_version, presence(from_=own, to=contact.bare, type=kind)
                    )
                )


def _ended(theirs: RosterItem | None) -> list[str]:
    """The stanzas that tell a contact what a removal took from it (RFC 6121 §2.5.3)."""
    kinds = []
    if subscriptions.has_from(theirs) or (theirs is not None and theirs.pending_in):
        kinds.append("unsubscribe")
    if subscriptions.has_to(theirs) or (theirs is not None and theirs.ask):
        kinds.append("unsubscribed")
    return kinds
