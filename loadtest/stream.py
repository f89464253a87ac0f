"""A client's XML stream (RFC 6120 §4): bytes in, elements out; and the texts that a client sends."""

from typing import Any
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from xcluster.shared import ns
from xcluster.shared.errors import StreamError

CLOSE = b"</stream:stream>"
STREAM = f"{{{ns.STREAMS}}}stream"
FEATURES = f"{{{ns.STREAMS}}}features"
ERROR = f"{{{ns.STREAMS}}}error"
MESSAGE = f"{{{ns.CLIENT}}}message"
PRESENCE = f"{{{ns.CLIENT}}}presence"
IQ = f"{{{ns.CLIENT}}}iq"
BODY = f"{{{ns.CLIENT}}}body"
STANZA_ERROR = f"{{{ns.CLIENT}}}error"
DELAY = f"{{{ns.DELAY}}}delay"

Element = Any  # lxml's, which has no type stubs


class StreamReader:
    """Cuts what the server sends into first-level elements; a new one for every stream (re)start."""

    def __init__(self) -> None:
        self._parser = etree.XMLPullParser(("start", "end"), resolve_entities=False)
        self._root: Element | None = None
        self._depth = 0
        self.closed = False  # the server has ended the stream

    def feed(self, data: bytes) -> list[Element]:
        """Elements that `data` completes; raises StreamError when it is not a stream."""
        found: list[Element] = []
        try:
            self._parser.feed(data)
            events = list(self._parser.read_events())
        except etree.XMLSyntaxError as error:
            raise StreamError("not-well-formed", str(error)) from error
        for event, element in events:
            if event == "start":
                self._depth += 1
                if self._root is None:
                    if element.tag != STREAM:
                        raise StreamError("invalid-namespace", f"not a stream but {element.tag}")
                    self._root = element
                continue
            self._depth -= 1
            if self._depth == 1:
                assert self._root is not None
                self._root.remove(element)  # or the tree grows with the stream
                found.append(element)
            elif self._depth == 0:
                self.closed = True
        return found


def condition(element: Element) -> str:
    """The defined condition in a <failure/>, <error/> or <stream:error/>: its first child's name."""
    for child in element:
        return str(etree.QName(child).localname)
    return "undefined-condition"


def header(domain: str) -> bytes:
    return (
        f"<?xml version='1.0'?><stream:stream to={quoteattr(domain)} version='1.0' xml:lang='en'"
        f" xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}'>"
    ).encode()


def message(to: str, body: str, id: str, type: str = "chat") -> bytes:
    return (
        f"<message to={quoteattr(to)} id={quoteattr(id)} type='{type}'><body>{escape(body)}</body></message>"
    ).encode()


def presence(type: str | None = None) -> bytes:
    return f"<presence type='{type}'/>".encode() if type else b"<presence/>"


def iq(type: str, id: str, payload: str, to: str | None = None) -> bytes:
    address = f" to={quoteattr(to)}" if to else ""
    return f"<iq type='{type}' id={quoteattr(id)}{address}>{payload}</iq>".encode()
