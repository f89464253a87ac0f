"""Decide where a stanza goes (RFC 6121 §8).

Only for stanzas that are to be handed to sessions: IQs to the server or to a bare JID, subscription presence
and probes are answered elsewhere (node/features).
"""

from enum import Enum

from xcluster.node.directory import Directory, Record
from xcluster.shared.jid import Jid


class Fallback(Enum):
    """What becomes of a stanza that no session takes."""

    OFFLINE = "offline"  # kept in the store; an error when there is no such account (XEP-0160 §3)
    REFUSE = "refuse"  # <service-unavailable/>
    IGNORE = "ignore"


# Messages that no session takes (RFC 6121 §8.5.2.2.1, §8.5.3.2.1). Normal messages to a full JID that is
# gone are treated like chat messages, as ejabberd and Prosody do: the RFC would have them lost.
_MESSAGE = {
    "normal": Fallback.OFFLINE,
    "chat": Fallback.OFFLINE,
    "groupchat": Fallback.REFUSE,
    "headline": Fallback.IGNORE,
    "error": Fallback.IGNORE,
}
_IQ = {"get": Fallback.REFUSE, "set": Fallback.REFUSE}


def message_type(type: str | None) -> str:
    """The type that counts: an unknown one is normal (RFC 6121 §5.2.2)."""
    return type if type in _MESSAGE else "normal"


def fallback(kind: str, type: str | None) -> Fallback:
    """What becomes of it when there is no session for it."""
    if kind == "message":
        return _MESSAGE[message_type(type)]
    if kind == "iq":
        return _IQ.get(type or "", Fallback.IGNORE)
    return Fallback.IGNORE


def targets(directory: Directory, kind: str, type: str | None, to: Jid) -> tuple[Record, ...]:
    """The sessions that an address itself names: () when it names none (that we know of)."""
    if to.resource:
        record = directory.find(to.full, to.bare)
        return (record,) if record is not None else ()
    return _of_bare(directory, kind, type, to.bare)


def second_choice(directory: Directory, kind: str, type: str | None, to: Jid) -> tuple[Record, ...]:
    """The sessions for a full JID that certainly does not exist: those of the bare JID, for some messages."""
    if to.resource and kind == "message" and message_type(type) in ("normal", "chat"):
        return _of_bare(directory, kind, type, to.bare)
    return ()


def _of_bare(directory: Directory, kind: str, type: str | None, user: str) -> tuple[Record, ...]:
    records = directory.resources(user)
    if kind == "presence":
        return tuple(record for record in records if record.presence)
    if kind != "message":
        return ()
    if len(records) == 1:
        only = records[0]
        takes = only.presence and only.priority >= 0
        return records if takes and type not in ("groupchat", "error") else ()
    name = message_type(type)
    if name in ("groupchat", "error"):
        return ()
    able = [record for record in records if record.presence and record.priority >= 0]
    if not able or name == "headline":
        return tuple(able)
    top = max(record.priority for record in able)
    return tuple(record for record in able if record.priority == top)
