"""Presence stanzas as the directory keeps them and as contacts see them.

The directory keeps what a client broadcast without from, to, id and type: the same bytes for everybody who
says just the same, so that they are stored once. What each contact gets is that with `from` and `to`.
"""

from typing import NamedTuple

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


class Told(NamedTuple):
    """A stanza that many get: all but the `to` (Session.to) between the two parts."""

    head: bytes
    tail: bytes

    def to(self, to: bytes) -> bytes:
        return self.head + to + self.tail


def available(kept: bytes, from_: str) -> Told:
    """What contacts get."""
    return Told(_TAG + attribute("from", from_), kept[len(_TAG) :])


def tell(directory: Directory, session: Session, contact: str) -> None:
    """Give a session the presence of all available resources of a contact."""
    for record in directory.resources(contact):
        if record.presence:
            session.send(available(record.presence, record.jid).to(session.to))


def unavailable(kept: bytes, from_: str) -> Told:
    """What tells contacts of the end; `kept` is b"" when none was sent."""
    return Told(_TAG + attribute("from", from_), b" type='unavailable'" + (kept or PLAIN)[len(_TAG) :])
