"""Stanzas: a header that the framer has read, and the bytes as they came.

What merely passes through is never built as a tree: `stamp` splices the bytes, and is the only way in which
a client's stanza leaves the server. What the server itself must understand, `tree` reads. The builders make
what the server says; they escape all that they are given except `payload`, which is XML.
"""

import re
from collections.abc import Container
from functools import partial
from xml.etree.ElementTree import Element, fromstring, tostring

import msgspec

from xcluster.shared import jid, ns

_MAX_ERROR_PAYLOAD = 4096  # a longer stanza is not repeated in its error

_BEHIND_NAME = {"message": 8, "presence": 9, "iq": 3}
_DELIMITERS = b" />\t\r\n"
_NAME = re.compile(rb"<[^\s/>]+")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=]+)\s*=\s*("[^"]*"|'[^']*')""")
_UNSAFE = re.compile("[&<>'\"\x00-\x1f\ud800-\udfff\ufffe\uffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}
_ESCAPES |= {"\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}


class Mark(msgspec.Struct, frozen=True, gc=False):
    """A child that claims to be set by somebody: a stanza-id or a delay, at raw[start:end]."""

    name: str
    by: str
    start: int
    end: int


class Stanza(msgspec.Struct, gc=False):
    """A first-level element of a stream, well-formed and self-contained."""

    name: str  # "message", "presence", "iq"; another element is "namespace}localname"
    to: str | None = None
    from_: str | None = None
    type: str | None = None
    id: str | None = None
    lang: str | None = None
    raw: bytes = b""
    children: tuple[str, ...] = ()  # "namespace}localname", in order
    marks: tuple[Mark, ...] = ()


def insertion(stanza: Stanza) -> int:
    """The offset in raw right behind the tag name, where attributes may be put."""
    end = _BEHIND_NAME.get(stanza.name, 0)
    if end and stanza.raw[end] in _DELIMITERS:  # a prefix would have put a letter there
        return end
    return _name_end(stanza.raw)


def stamp(
    stanza: Stanza, attributes: bytes, lang: bytes = b"", *, to: str | None = None, ours: Container[str] = ()
) -> bytes:
    """The bytes of a client's stanza as others may see them.

    `attributes` (b" from='alice@d/r'") and, unless the stanza has an xml:lang, `lang` (b" xml:lang='en'") go
    behind the tag name; a `from` of the client's own is dropped, `to` replaces or adds one, stanza-ids and
    delays that claim to be by one of `ours` (domain and bare JIDs) are cut.
    """
    raw = stanza.raw
    if stanza.marks:
        raw = _without_forgeries(stanza, ours)
    if lang and stanza.lang is None:
        attributes += lang
    at = insertion(stanza)
    if stanza.from_ is None and to is None:
        return raw[:at] + attributes + raw[at:]
    dropped = {b"from"}
    if to is not None:
        dropped.add(b"to")
        attributes += attribute("to", to)
    return raw[:at] + attributes + _without_attributes(raw, at, dropped)


def stripped(stanza: Stanza, names: Container[bytes]) -> bytes:
    """The bytes of a stanza without some attributes of its start tag."""
    at = insertion(stanza)
    return stanza.raw[:at] + _without_attributes(stanza.raw, at, names)


def _name_end(raw: bytes) -> int:
    match = _NAME.match(raw)
    assert match is not None, "a stanza begins with its start tag"
    return match.end()


def _without_attributes(raw: bytes, at: int, dropped: Container[bytes]) -> bytes:
    """raw[at:] without some attributes of the start tag."""
    kept = []
    while match := _ATTRIBUTE.match(raw, at):
        if match[1] not in dropped:
            kept.append(match[0])
        at = match.end()
    return b"".join(kept) + raw[at:]


def _without_forgeries(stanza: Stanza, ours: Container[str]) -> bytes:
    raw = stanza.raw
    for mark in reversed(stanza.marks):
        try:
            by = jid.parse(mark.by).bare
        except jid.JidError:
            continue
        if by in ours:
            raw = raw[: mark.start] + raw[mark.end :]
    return raw


def escape(text: str) -> str:
    """Safe in an attribute value and in character data; what XML can't say becomes U+FFFD."""
    return _UNSAFE.sub(lambda match: _ESCAPES.get(match[0], "\ufffd"), text) if _UNSAFE.search(text) else text


def attribute(name: str, value: str | None) -> bytes:
    """One attribute with the space before it; nothing for None."""
    return b"" if value is None else f" {name}='{escape(value)}'".encode()


def element(
    name: str,
    *,
    to: str | None = None,
    from_: str | None = None,
    type: str | None = None,
    id: str | None = None,
    payload: bytes = b"",
) -> bytes:
    """A stanza of the server's own."""
    tag = name.encode()
    start = b"".join(
        (
            b"<",
            tag,
            attribute("from", from_),
            attribute("to", to),
            attribute("type", type),
            attribute("id", id),
        )
    )
    return b"".join((start, b">", payload, b"</", tag, b">")) if payload else start + b"/>"


message = partial(element, "message")
presence = partial(element, "presence")


def iq_get(id: str, payload: bytes, *, to: str | None = None, from_: str | None = None) -> bytes:
    return element("iq", to=to, from_=from_, type="get", id=id, payload=payload)


def iq_set(id: str, payload: bytes, *, to: str | None = None, from_: str | None = None) -> bytes:
    return element("iq", to=to, from_=from_, type="set", id=id, payload=payload)


def iq_result(
    stanza: Stanza, payload: bytes = b"", *, from_: str | None = None, to: str | None = None
) -> bytes:
    """The result of a request; by default from where it went to where it came from."""
    from_ = stanza.to if from_ is None else from_
    to = stanza.from_ if to is None else to
    return element("iq", to=to, from_=from_, type="result", id=stanza.id, payload=payload)


def error_reply(
    stanza: Stanza,
    type: str,
    condition: str,
    text: str = "",
    *,
    from_: str | None = None,
    to: str | None = None,
) -> bytes:
    """The error that answers a stanza (RFC 6120 §8.3); by default from where it went to where it came from.

    Never answer an error or a result with it.
    """
    error = f"<error type='{type}'><{condition} xmlns='{ns.STANZA_ERRORS}'/>"
    if text:
        error += f"<text xmlns='{ns.STANZA_ERRORS}' xml:lang='en'>{escape(text)}</text>"
    payload = _inner(stanza.raw) + error.encode() + b"</error>"
    from_ = stanza.to if from_ is None else from_
    to = stanza.from_ if to is None else to
    return element(stanza.name, to=to, from_=from_, type="error", id=stanza.id, payload=payload)


def _inner(raw: bytes) -> bytes:
    """What stands between a stanza's tags, where that can be repeated elsewhere."""
    if len(raw) > _MAX_ERROR_PAYLOAD or raw.endswith(b"/>"):
        return b""
    start = _start_tag_end(raw)
    if b"xmlns" in raw[:start]:  # the children may need what is declared there
        return b""
    return raw[start : raw.rindex(b"</")]


def _start_tag_end(raw: bytes) -> int:
    at = _name_end(raw)
    while match := _ATTRIBUTE.match(raw, at):
        at = match.end()
    return raw.index(b">", at) + 1


def with_child(raw: bytes, child: bytes) -> bytes:
    """A stanza with one more child at its end; `child` declares its own namespace."""
    if raw.endswith(b"/>"):
        return raw[:-2] + b">" + child + b"</" + raw[1 : _name_end(raw)] + b">"
    end = raw.rindex(b"</")
    return raw[:end] + child + raw[end:]


def with_delay(raw: bytes, from_domain: str, stamp_iso: str) -> bytes:
    """A stanza with the <delay/> that says since when `from_domain` has kept it (XEP-0203)."""
    delay = f"<delay xmlns='{ns.DELAY}' from='{escape(from_domain)}' stamp='{escape(stamp_iso)}'/>"
    return with_child(raw, delay.encode())


def with_namespace(raw: bytes, namespace: str = ns.CLIENT) -> bytes:
    """A stanza that says its default namespace itself, to be put under a parent that has another."""
    at = end = _name_end(raw)
    while match := _ATTRIBUTE.match(raw, at):
        if match[1] == b"xmlns":
            return raw
        at = match.end()
    return raw[:end] + attribute("xmlns", namespace) + raw[end:]


def tree(raw: bytes) -> Element:
    """The element tree of a stanza that the framer has accepted; names are "{namespace}localname".

    Not lxml's: libxml2 keeps every name and namespace of a thread for good (measured: all of a 20 kB
    namespace), so that one client could fill the memory of a node.
    """
    return fromstring(b"<stream xmlns='jabber:client'>" + raw + b"</stream>")[0]


def serialise(element: Element) -> bytes:
    """An element as bytes that mean the same anywhere: it declares all namespaces that it uses."""
    return tostring(element, encoding="unicode").encode()
