"""Subscription states and their transitions, both sides at once (RFC 6121 §3, appendix A).

All users are ours, so a request and its effect on the contact are one transaction over both roster items
(Store.change_rosters). Each function here takes the sender's item for the contact and the contact's item for
the sender and returns what they become. A pure `RosterChange`: the store may call it more than once.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from xcluster.node.store.protocol import RosterItem
from xcluster.shared.errors import StanzaError

KINDS = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")
_PLUS_TO = {"none": "to", "from": "both", "to": "to", "both": "both"}
_PLUS_FROM = {"none": "from", "to": "both", "from": "from", "both": "both"}
_MINUS_TO = {"to": "none", "both": "from", "none": "none", "from": "from"}
_MINUS_FROM = {"from": "none", "both": "to", "none": "none", "to": "to"}

Pair = tuple[RosterItem | None, RosterItem | None]


def has_to(item: RosterItem | None) -> bool:
    """Whether the owner of the item sees the contact's presence."""
    return item is not None and item.subscription in ("to", "both")


def has_from(item: RosterItem | None) -> bool:
    """Whether the contact sees the presence of the item's owner."""
    return item is not None and item.subscription in ("from", "both")


class Sides(NamedTuple):
    """Who does it to whom: bare JIDs, and the stanza as the contact is to see it."""

    user: str
    contact: str
    stanza: bytes


def subscribe(sides: Sides, mine: RosterItem | None, theirs: RosterItem | None, exists: bool) -> Pair:
    """RFC 6121 §3.1.2 and §3.1.3, A.2.1 and A.3.1; §3.4.2 for a contact who has approved beforehand."""
    mine = mine or RosterItem(sides.contact, listed=False)
    approves = has_from(theirs) or (theirs is not None and theirs.approved)
    if approves and theirs is not None:
        mine = _set(mine, subscription=_PLUS_TO[mine.subscription], ask=False)
        return mine, _set(theirs, subscription=_PLUS_FROM[theirs.subscription], pending_in=b"")
    if not has_to(mine):
        mine = _set(mine, ask=True)
    if not exists:
        return mine, theirs
    theirs = theirs or RosterItem(sides.user, listed=False)
    return mine, theirs if theirs.pending_in else _set(theirs, pending_in=sides.stanza)


def subscribed(sides: Sides, mine: RosterItem | None, theirs: RosterItem | None, exists: bool) -> Pair:
    """RFC 6121 §3.1.5 and §3.1.6; without a request it is a pre-approval (§3.4)."""
    mine = mine or RosterItem(sides.contact, listed=False)
    if not mine.pending_in:
        return (mine if has_from(mine) else _set(mine, approved=True)), theirs
    mine = _set(mine, subscription=_PLUS_FROM[mine.subscription], pending_in=b"")
    if theirs is not None and theirs.ask:
        theirs = _set(theirs, subscription=_PLUS_TO[theirs.subscription], ask=False)
    return mine, theirs


def unsubscribe(sides: Sides, mine: RosterItem | None, theirs: RosterItem | None, exists: bool) -> Pair:
    """RFC 6121 §3.3.2 and §3.3.3."""
    if mine is not None:
        mine = _set(mine, subscription=_MINUS_TO[mine.subscription], ask=False)
    if theirs is not None:
        theirs = _set(theirs, subscription=_MINUS_FROM[theirs.subscription], pending_in=b"")
    return _kept(mine), _kept(theirs)


def unsubscribed(sides: Sides, mine: RosterItem | None, theirs: RosterItem | None, exists: bool) -> Pair:
    """RFC 6121 §3.2.2 and §3.2.3; also denies a request and takes back a pre-approval (§3.4.4)."""
    if mine is not None:
        mine = _set(mine, subscription=_MINUS_FROM[mine.subscription], pending_in=b"", approved=False)
    if theirs is not None:
        theirs = _set(theirs, subscription=_MINUS_TO[theirs.subscription], ask=False)
    return _kept(mine), _kept(theirs)


def remove(sides: Sides, mine: RosterItem | None, theirs: RosterItem | None, exists: bool) -> Pair:
    """Roster removal ends both subscriptions (RFC 6121 §2.5.2); raises StanzaError when there is no item."""
    if mine is None or not mine.listed:
        raise StanzaError("cancel", "item-not-found")
    _, theirs = unsubscribe(sides, mine, theirs, exists)
    _, theirs = unsubscribed(sides, mine, theirs, exists)
    return None, theirs


Transition = Callable[[Sides, RosterItem | None, RosterItem | None, bool], Pair]

TRANSITIONS: dict[str, Transition] = {
    "subscribe": subscribe,
    "subscribed": subscribed,
    "unsubscribe": unsubscribe,
    "unsubscribed": unsubscribed,
}


def delivered(kind: str, before: Pair, after: Pair) -> bool:
    """Whether the contact is told: only what changed something on their side (RFC 6121 A.3)."""
    was_asked, is_asked = _is_asked(before[1]), _is_asked(after[1])
    if kind == "subscribe":
        return is_asked and not was_asked
    if kind == "unsubscribe" and was_asked:
        return True
    return _state(before[1]) != _state(after[1])


def answered(kind: str, before: Pair, after: Pair) -> bool:
    """Whether a request was approved at once, so that the sender is owed a `subscribed`."""
    return kind == "subscribe" and has_to(after[0]) and not has_to(before[0])


def _is_asked(item: RosterItem | None) -> bool:
    return item is not None and bool(item.pending_in)


def _state(item: RosterItem | None) -> tuple[str, bool]:
    return ("none", False) if item is None else (item.subscription, item.ask)


def _set(item: RosterItem, **changes: object) -> RosterItem:
    """The item with these changes; listed once it says anything that a client should see."""
    changed = msgspec.structs.replace(item, **changes)
    if not changed.listed and (changed.subscription != "none" or changed.ask or changed.approved):
        changed = msgspec.structs.replace(changed, listed=True)
    return item if changed == item else changed


def _kept(item: RosterItem | None) -> RosterItem | None:
    """None for an item that was only there for a request which is no more."""
    return item if item is not None and (item.listed or item.pending_in) else None
