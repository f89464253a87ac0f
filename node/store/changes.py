"""How a roster changes: what a RosterChange's answer means for the rows. Shared by all stores."""

import msgspec

from xcluster.node.store.protocol import RosterItem
from xcluster.shared.errors import StanzaError

MAX_TOMBSTONES = 200  # per user; a client that was away for longer gets the whole roster


def row_after(before: RosterItem | None, after: RosterItem | None, version: int) -> RosterItem | None:
    """The row to write at `version` (None: delete the row), for a side that did change.

    A request that comes or goes changes nothing that a client is shown: its item keeps its version, so that
    nobody is pushed what they have (RFC 6121 §3.1.3)."""
    if after is not None:
        if before is not None and before.listed and _shown(before) == _shown(after):
            version = before.version
        return msgspec.structs.replace(after, version=version)
    if before is not None and before.listed:
        return RosterItem(contact=before.contact, subscription="remove", version=version)
    return None


def _shown(item: RosterItem) -> RosterItem:
    return msgspec.structs.replace(item, pending_in=b"", version=0)


def becomes_listed(before: RosterItem | None, after: RosterItem | None) -> bool:
    return after is not None and after.listed and not (before is not None and before.listed)


def too_many(max_items: int) -> StanzaError:
    return StanzaError("wait", "resource-constraint", f"a roster holds at most {max_items} contacts")


def no_such_user() -> StanzaError:
    """The user was removed while one of their sessions changed its roster."""
    return StanzaError("cancel", "item-not-found")


def own_jid(user: str, contact: str) -> str:
    """The user's bare JID, when the contact is of the same domain."""
    return f"{user}@{contact.partition('@')[2]}"
