"""expat, as XMPP needs it: parsers that read stanzas and remember where they began and ended.

expat's traps are dealt with here: it keeps every name it has seen, so a parser retires by bytes; bound
handlers are cycles, so `clear` undoes them; a parser that raised is never used again; for `<x/>` the end is
reported behind the tag, for `<x></x>` at the start of `</x>`. DTDs, comments, processing instructions,
entities of one's own, and text between stanzas are refused (RFC 6120 §11.1).

Parsers are primed with a stream whose prefix nobody can guess: a prefix that a client has declared on its own
stream header is unbound here, so no slice of bytes depends on one.
"""

import re
import secrets
from functools import lru_cache
from pyexpat import ExpatError, ParserCreate, XMLParserType, errors
from typing import TypeAlias

import msgspec

from xcluster.shared import ns
from xcluster.shared.errors import StreamError
from xcluster.shared.stanza import Mark, Stanza

MAX_BYTES = 65_536  # a parser fed more is retired at the next stanza boundary: at most 2 MiB of names
KNOWN_HEADERS = 512  # stream headers remembered, of at most MAX_KNOWN_HEADER bytes each
MAX_KNOWN_HEADER = 512
MAX_FREE = 16  # parsers kept for the next stanza; more are needed only while many stanzas are incomplete

WHITESPACE = b" \t\r\n"
_STREAM_CLOSE = re.compile(rb"</stream:stream\s*>")
_STREAM_ERROR = re.compile(rb"<stream:error[\s/>]")
_TAG = re.compile(rb"""<(?:[^"'>]|"[^"]*"|'[^']*')*>""")

_KINDS = {f"{ns.CLIENT}}}{kind}": kind for kind in ("message", "presence", "iq")}
_LANG = f"{ns.XML}}}lang"
_STREAM = f"{ns.STREAMS}}}stream"
# Children that say who set them, and the attribute in which they say it.
_MARKED = {f"{ns.STANZA_ID}}}stanza-id": "by", f"{ns.DELAY}}}delay": "from"}
_MARKED_NAMES = frozenset(_MARKED)

_CONDITIONS = {
    errors.codes[errors.XML_ERROR_UNDEFINED_ENTITY]: "restricted-xml",
    errors.codes[errors.XML_ERROR_MISPLACED_XML_PI]: "restricted-xml",
    errors.codes[errors.XML_ERROR_UNKNOWN_ENCODING]: "unsupported-encoding",
    errors.codes[errors.XML_ERROR_INCORRECT_ENCODING]: "unsupported-encoding",
    errors.codes[errors.XML_ERROR_UNBOUND_PREFIX]: "bad-namespace-prefix",
}


class StreamHeader(msgspec.Struct, frozen=True, gc=False):
    """The opening tag of a stream; `attributes` has all of them."""

    to: str | None
    from_: str | None
    version: str | None
    lang: str | None
    id: str | None
    attributes: dict[str, str]


class StreamEnd(msgspec.Struct, gc=False):
    """The other side closes its stream; `error` when it does so with a stream error."""

    error: bool = False


# A StreamError is the last event there is: answer what comes before it, then close with its condition.
Event: TypeAlias = StreamHeader | Stanza | StreamEnd | StreamError


class Parser:
    """Reads stanzas, one after the other, fed with whole tags only."""

    __slots__ = (
        "_attributes",
        "_base",
        "_children",
        "_data",
        "_end",
        "_events",
        "_expat",
        "_limit",
        "_max_depth",
        "_name",
        "_start",
        "broken",
        "depth",
        "fed",
        "worn",
    )

    def __init__(self, pool: "ParserPool") -> None:
        self.depth = -1  # of the element being read; 0 between stanzas
        self.fed = bytearray()  # what has come of the incomplete stanza
        self.broken = False  # has raised, or seen the end of the stream
        self.worn = False  # has been fed so much that it should be replaced
        self._max_depth = pool.max_depth
        self._data = b""
        self._start = 0  # where the present stanza begins in _data; 0 if before it
        self._end = 0  # where the last one has ended in _data
        self._limit = 0
        self._name = ""
        self._attributes: dict[str, str] = {}
        self._children: list[str] = []
        self._events: list[Event] = []
        expat = self._expat = _strict()
        expat.StartElementHandler = self._started
        expat.EndElementHandler = self._ended
        expat.Parse(pool.header)
        self._base = len(pool.header)  # bytes fed before _data

    def parse(self, data: bytes, limit: int) -> list[Event]:
        """The stanzas that `data`, whole tags, completes. When it is `broken`, the last event is final."""
        self._data = data
        self._limit = limit
        self._start = self._end = 0
        events = self._events = []
        try:
            self._expat.Parse(data)
            if self.depth:
                if self._name == _STREAM:
                    raise StreamError("bad-format", "a second stream header")
                self.fed += data[self._start :]
                if len(self.fed) > limit:
                    raise StreamError("policy-violation", "stanza too long")
            elif self._end != len(data):
                self._check_gap(len(data))
        except ExpatError as error:
            self.clear()
            events.append(self._last_words(error))
        except StreamError as error:
            self.clear()
            events.append(error)
        self._base += len(data)
        if self._base > MAX_BYTES:
            self.worn = True
        return events

    def clear(self) -> None:
        """Undo the cycle of handlers; the parser is of no use afterwards."""
        self.broken = True
        expat = self._expat
        expat.StartElementHandler = expat.EndElementHandler = None

    def _started(self, name: str, attributes: dict[str, str]) -> None:
        self.depth = depth = self.depth + 1
        if depth == 2:
            self._children.append(name)
        elif depth == 1:
            self._name = name
            self._attributes = attributes
            self._children = []
            self._start = self._expat.CurrentByteIndex - self._base
            if self._start != self._end:
                self._check_gap(self._start)
        elif depth > self._max_depth:
            raise StreamError("policy-violation", "elements nested too deep")

    def _ended(self, name: str) -> None:
        self.depth = depth = self.depth - 1
        if depth:
            return
        data = self._data
        end = self._expat.CurrentByteIndex - self._base
        # Only an element without children can be <x/>; then expat stands behind the tag already.
        if self._children or self.fed or not _is_empty_tag(data, self._start):
            end = data.index(b">", end) + 1
        self._end = end
        raw = data[self._start : end]
        if self.fed:
            raw = bytes(self.fed) + raw
            self.fed = bytearray()
        if len(raw) > self._limit:
            raise StreamError("policy-violation", "stanza too long")
        children = self._children
        attribute = self._attributes.get
        self._events.append(
            Stanza(
                _KINDS.get(self._name) or _foreign(self._name),
                attribute("to"),
                attribute("from"),
                attribute("type"),
                attribute("id"),
                attribute(_LANG),
                raw,
                tuple(children),
                () if _MARKED_NAMES.isdisjoint(children) else find_marks(raw),
            )
        )

    def _check_gap(self, end: int) -> None:
        """Between stanzas is white space only."""
        if self._data[self._end : end].strip(WHITESPACE):
            raise StreamError("not-well-formed", "text between stanzas")

    def _last_words(self, error: ExpatError) -> StreamEnd | StreamError:
        """What the bytes mean at which expat stopped: between stanzas, perhaps the end of the stream."""
        if not self.depth:
            rest = self._data[self._end :].lstrip(WHITESPACE)
            if _STREAM_CLOSE.match(rest):
                return StreamEnd()
            if _STREAM_ERROR.match(rest):
                return StreamEnd(error=True)
        offset = self._expat.ErrorByteIndex - self._base + len(self.fed)
        return _stream_error(error, bytes(self.fed) + self._data, offset)


def _foreign(name: str) -> str:
    """The name of an element that is no stanza; one of no namespace must not look like a stanza's."""
    return name if "}" in name else "}" + name


class ParserPool:
    """The parsers of one process for streams of one content namespace."""

    def __init__(self, namespace: str = ns.CLIENT, max_depth: int = 100) -> None:
        self.namespace = namespace
        self.max_depth = max_depth
        prefix = "s" + secrets.token_hex(8)
        self.header = f"<{prefix}:stream xmlns='{namespace}' xmlns:{prefix}='{ns.STREAMS}'>".encode()
        self.free: list[Parser] = []  # pop one, or make one; give it back between stanzas

    def give_back(self, parser: Parser) -> None:
        if parser.worn or len(self.free) >= MAX_FREE:
            parser.clear()
        else:
            self.free.append(parser)

    def renew(self, parser: Parser, limit: int) -> Parser:
        """A fresh parser that stands where a worn one does, within a stanza."""
        fresh = Parser(self)
        fresh.parse(bytes(parser.fed), limit)
        parser.clear()
        return fresh


def read_header(data: bytes, namespace: str) -> StreamHeader:
    """The stream header, of the bytes up to the end of its tag. Raises StreamError.

    A domain's clients say much the same, twice a log-in: what was read is remembered."""
    if len(data) > MAX_KNOWN_HEADER:
        return _read_header(data, namespace)
    return _known_header(data, namespace)


def _read_header(data: bytes, namespace: str) -> StreamHeader:
    found: list[dict[str, str]] = []
    default: list[str | None] = []

    def declaration(version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.upper() != "UTF-8":
            raise StreamError("unsupported-encoding")

    def declared(prefix: str | None, uri: str | None) -> None:
        if prefix is None:
            default.append(uri)

    def started(name: str, attributes: dict[str, str]) -> None:
        space, _, local = name.rpartition("}")
        if space != ns.STREAMS or default != [namespace]:
            raise StreamError("invalid-namespace")
        if local != "stream":
            raise StreamError("bad-format", "not a stream header")
        found.append(attributes)

    expat = _strict()
    expat.XmlDeclHandler = declaration
    expat.StartNamespaceDeclHandler = declared
    expat.StartElementHandler = started
    try:
        expat.Parse(data)
    except ExpatError as error:
        raise _stream_error(error, data, expat.ErrorByteIndex) from error
    finally:
        expat.XmlDeclHandler = expat.StartNamespaceDeclHandler = expat.StartElementHandler = None
    if not found:
        raise StreamError("not-well-formed")
    if not data.startswith(b"<stream:stream", data.rindex(b"<")):
        raise StreamError("bad-namespace-prefix")
    get = found[0].get
    return StreamHeader(get("to"), get("from"), get("version"), get(_LANG), get("id"), found[0])


_known_header = lru_cache(maxsize=KNOWN_HEADERS)(_read_header)


def find_marks(raw: bytes) -> tuple[Mark, ...]:
    """Where in a stanza the children stand that say who set them. Rare, so it may parse once more."""
    header = b"<stream xmlns='jabber:client'>"
    marks: list[Mark] = []
    stack: list[tuple[str, str, int] | None] = []

    def started(name: str, attributes: dict[str, str]) -> None:
        marked = len(stack) == 2 and name in _MARKED
        at = expat.CurrentByteIndex - len(header)
        stack.append((name, attributes.get(_MARKED[name], ""), at) if marked else None)

    def ended(name: str) -> None:
        if open_ := stack.pop():
            _, by, start = open_
            end = expat.CurrentByteIndex - len(header)
            if not _is_empty_tag(raw, start):
                end = raw.index(b">", end) + 1
            marks.append(Mark(name, by, start, end))

    expat = _strict()
    expat.StartElementHandler = started
    expat.EndElementHandler = ended
    expat.Parse(header + raw)
    expat.StartElementHandler = expat.EndElementHandler = None
    return tuple(marks)


def _tag_end(data: bytes, start: int) -> int:
    """The offset behind the tag that begins at `start`; -1 when it is not closed outside of quotes."""
    match = _TAG.match(data, start)
    return match.end() if match else -1


def _is_empty_tag(data: bytes, start: int) -> bool:
    return data[_tag_end(data, start) - 2] == 0x2F  # "/"


def _refuse(*_: object) -> None:
    raise StreamError("restricted-xml")


def _strict() -> XMLParserType:
    """A parser that refuses what RFC 6120 §11.1 forbids."""
    expat = ParserCreate("UTF-8", "}")
    expat.CommentHandler = _refuse
    expat.ProcessingInstructionHandler = _refuse
    expat.StartDoctypeDeclHandler = _refuse
    if hasattr(expat, "SetReparseDeferralEnabled"):  # Python 3.13, and later releases of older ones
        expat.SetReparseDeferralEnabled(False)
    return expat


def _stream_error(error: ExpatError, data: bytes, offset: int) -> StreamError:
    """What RFC 6120 §4.9.3 calls what expat has found at data[offset]."""
    condition = _CONDITIONS.get(error.code)
    if condition is None:
        condition = "not-well-formed"
        if data.startswith(b"<!D", max(offset - 2, 0)):  # expat points at the D
            condition = "restricted-xml"
        else:
            try:
                data.decode()
            except UnicodeDecodeError as flaw:
                if flaw.start <= offset:  # §4.9.3.22: also for breaking the rules of UTF-8
                    condition = "unsupported-encoding"
    return StreamError(condition, error.args[0].split(":")[0])
