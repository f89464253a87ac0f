"""Presence stanzas as the directory keeps them and as contacts see them.

The directory keeps what a client broadcast without from, to, id and type: the same bytes for everybody who
says just the same, so that they are stored once. What each contact gets is that with `from` and `to`.
"""

from xcluster.node.directory import Directory
from xcluster.node.session import Session
from xcluster.shared.errors import StanzaError
from xcluster.shared.stanza import Stanza, attribute, stripped

_TAG = b"<presence"
_DROPPED = frozenset((b"from", b"to", b"id", b"type"))
PLAIN = b"<presence/>"
MIN_PRIORITY, MAX_PRIORITY = -128, 127


def normalised(stanza: Stanza, lang: bytes) -> bytes:
    """What is kept of an available or unavailable broadcast; `lang` is the stream's b" xml:lang='..'"."""
    raw = stripped(stanza, _DROPPED)
    if not raw.startswith(_TAG):  # a prefixed tag name: legal, and nobody's way of writing it
        raise StanzaError("modify", "not-acceptable", "write presence without a prefix")
    if lang and stanza.lang is None:
        raw = _TAG + lang + raw[len(_TAG) :]
    return raw


def available(kept: bytes, from_: str, to: str) -> bytes:
    """The stanza that a contact gets."""
    return _TAG + attribute("from", from_) + attribute("to", to) + kept[len(_TAG) :]


def tell(directory: Directory, session: Session, contact: str) -> None:
    """Give a session the presence of all available resources of a contact."""
    for record in directory.resources(contact):
        if record.presence:
            session.send(available(record.presence, record.jid, session.bare))


def unavailable(kept: bytes, from_: str, to: str) -> bytes:
    """The stanza that tells a contact of the end; `kept` is b"" when none was sent."""
    head = _TAG + attribute("from", from_) + attribute("to", to) + b" type='unavailable'"
    return head + (kept or PLAIN)[len(_TAG) :]
