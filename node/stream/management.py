"""XEP-0198: Stream Management, its elements as they are read and said.

What they count is kept elsewhere: what a client was sent in node/backlog.py, what it has sent in node/ledger.py.
"""

import re
from collections.abc import Callable
from typing import TypeAlias
from xml.etree import ElementTree

import msgspec

from xcluster.node.stream.errors import stream_error
from xcluster.shared import ns
from xcluster.shared.errors import StanzaError, StreamError
from xcluster.shared.stanza import Stanza, attribute

COUNTS = 1 << 32  # a count is an xs:unsignedInt: after 2**32 - 1 comes 0 (§4)
MAX_DIGITS = 20  # leading zeros are allowed, but not without end
FEATURE = f"<sm xmlns='{ns.STREAM_MANAGEMENT}'/>".encode()
REQUEST = f"<r xmlns='{ns.STREAM_MANAGEMENT}'/>".encode()

# As nearly all clients write it; what else XML allows is read as a tree.
_ACKNOWLEDGED = re.compile(
    rb"""<a(?: xmlns=['"][^'"]*['"])? h=['"]([0-9]{1,10})['"](?: xmlns=['"][^'"]*['"])? ?/>"""
)
_BOOLEANS = {"0": False, "false": False, "1": True, "true": True}  # "implementations MUST support both" (§3)


class Enable(msgspec.Struct, frozen=True, gc=False):
    """The client wants its stanzas counted from here on (§3)."""

    resume: bool = False  # ... and to be able to come back
    max_s: int | None = None  # after how long at most, if it has a wish


class Resume(msgspec.Struct, frozen=True, gc=False):
    """The client comes back to the session `previd`, of which it has handled `h` stanzas (§5)."""

    previd: str
    h: int


class Acknowledgement(msgspec.Struct, frozen=True, gc=False):
    """The client has handled `h` stanzas (§4)."""

    h: int


class Request(msgspec.Struct, frozen=True, gc=False):
    """The client asks how many of its stanzas are handled (§4)."""


Element: TypeAlias = Enable | Resume | Acknowledgement | Request
_REQUEST = Request()


def read(stanza: Stanza) -> Element | None:
    """What a first-level element says; None when it is none that a client may send.

    Raises StanzaError for an <enable/> or <resume/> to be answered with `failed` (§6), StreamError for an <a/>
    that says nothing."""
    reader = _READERS.get(stanza.name)
    return None if reader is None else reader(stanza.raw)


def _read_acknowledgement(raw: bytes) -> Acknowledgement:
    match = _ACKNOWLEDGED.fullmatch(raw)
    try:
        text = match[1].decode() if match is not None else ElementTree.fromstring(raw).get("h")
        return Acknowledgement(_count(text))
    except ValueError as error:
        raise StreamError("bad-format", f"an <a/> says how many: {error} (XEP-0198 §4)") from error


def _read_request(raw: bytes) -> Request:
    return _REQUEST


def _read_enable(raw: bytes) -> Enable:
    element = ElementTree.fromstring(raw)
    longest = element.get("max")
    try:
        may_resume = _BOOLEANS[element.get("resume", "false").strip()]
        return Enable(may_resume, None if longest is None else _count(longest))
    except (KeyError, ValueError) as error:
        raise StanzaError("modify", "bad-request", f"not understood: {error}") from error


def _read_resume(raw: bytes) -> Resume:
    element = ElementTree.fromstring(raw)
    try:
        return Resume(element.get("previd", ""), _count(element.get("h")))
    except ValueError as error:
        raise StanzaError("modify", "bad-request", f"not understood: {error}") from error


_READERS: dict[str, Callable[[bytes], Element]] = {
    f"{ns.STREAM_MANAGEMENT}}}a": _read_acknowledgement,
    f"{ns.STREAM_MANAGEMENT}}}r": _read_request,
    f"{ns.STREAM_MANAGEMENT}}}enable": _read_enable,
    f"{ns.STREAM_MANAGEMENT}}}resume": _read_resume,
}


def _count(text: str | None) -> int:
    """An xs:unsignedInt; raises ValueError."""
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS and int(digits) < COUNTS):
        raise ValueError(f"{digits[:MAX_DIGITS]!r} is no count from 0 to {COUNTS - 1}")
    return int(digits)


def acknowledgement(h: int) -> bytes:
    """`h` of the client's stanzas are taken care of (§4)."""
    return _element("a", {"h": _text(h)})


def enabled(id: str = "", max_s: int = 0) -> bytes:
    """Counting begins (§3); with an `id` the session can be resumed within `max_s` seconds."""
    return _element("enabled", {"id": id, "resume": "true", "max": str(max_s)} if id else {})


def resumed(previd: str, h: int) -> bytes:
    """The session goes on (§5); `h` of the client's stanzas are taken care of, it sends the others again."""
    return _element("resumed", {"previd": previd, "h": _text(h)})


def failed(condition: str, h: int | None = None) -> bytes:
    """It can't be (§6); `h`, where it is known, is how many stanzas of a lost session are taken care of (§5)."""
    error = f"<{condition} xmlns='{ns.STANZA_ERRORS}'/>".encode()
    return _element("failed", {} if h is None else {"h": _text(h)}, error)


def handled_count_too_high(h: int, sent: int) -> bytes:
    """The stream error for a client that acknowledges more than it was sent, and the end of the stream (§6)."""
    text = f"You acknowledged {h} stanzas, but I only sent you {sent} so far."
    detail = _element("handled-count-too-high", {"h": _text(h), "send-count": _text(sent)})
    return stream_error("undefined-condition", text, detail=detail.decode())


def _text(count: int) -> str:
    return str(count % COUNTS)


def _element(name: str, attributes: dict[str, str], payload: bytes = b"") -> bytes:
    start = b"<" + name.encode() + attribute("xmlns", ns.STREAM_MANAGEMENT)
    start += b"".join(attribute(key, value) for key, value in attributes.items())
    return start + (b">" + payload + b"</" + name.encode() + b">" if payload else b"/>")
