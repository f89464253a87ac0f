"""Framing: what comes out of which bytes, and what is refused (RFC 6120 §4.9.3, §11; design.md §4)."""

import gc
import time
import tracemalloc
import weakref
from types import SimpleNamespace

import pytest

from xcluster.shared import parsers
from xcluster.shared.errors import StreamError
from xcluster.shared.framing import Event, Framer, ParserPool, Stanza, StreamEnd, StreamHeader

HEADER = (
    b"<?xml version='1.0'?><stream:stream to='d' from='a@d' version='1.0' xml:lang='en' id='7'"
    b" xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
)
END = b"</stream:stream>"
MESSAGE = (
    b"<message to='b@d' type='chat' id='1' xml:lang='de'><body>hi &amp; > bye</body><x xmlns='y'/></message>"
)


def opened(limit: int = 100_000, pool: ParserPool | None = None) -> Framer:
    framer = Framer(pool or ParserPool(), limit)
    (header,) = framer.feed(HEADER)
    assert isinstance(header, StreamHeader)
    return framer


def raws(events: object) -> list[bytes]:
    return [event.raw for event in events if isinstance(event, Stanza)]  # type: ignore[attr-defined]


def outcome(events: object) -> str:
    """The last event in a word."""
    last = list(events)[-1]  # type: ignore[call-overload]
    if isinstance(last, StreamError):
        return last.condition
    return type(last).__name__


# what comes out


def test_header() -> None:
    (header,) = Framer(ParserPool(), 1000).feed(HEADER)
    assert isinstance(header, StreamHeader)
    assert (header.to, header.from_, header.version, header.lang, header.id) == ("d", "a@d", "1.0", "en", "7")


def test_stanza() -> None:
    (stanza,) = opened().feed(MESSAGE)
    assert stanza == Stanza(
        "message", "b@d", None, "chat", "1", "de", MESSAGE, ("jabber:client}body", "y}x"), ()
    )


def test_other_elements_have_their_namespace() -> None:
    (auth,) = opened().feed(b"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA==</auth>")
    assert isinstance(auth, Stanza)
    assert auth.name == "urn:ietf:params:xml:ns:xmpp-sasl}auth"


def test_header_and_stanzas_and_end_in_one_read() -> None:
    events = Framer(ParserPool(), 1000).feed(HEADER + MESSAGE + b" \r\n<presence/>" + MESSAGE + END)
    assert raws(events) == [MESSAGE, b"<presence/>", MESSAGE]
    assert events[-1] == StreamEnd()


@pytest.mark.parametrize(
    "raw", [b"<x/>", b"<x></x>", b"<x />", b"<x a='/'></x>", b"<x a='/>'/>", b"<x>/</x>"]
)
@pytest.mark.parametrize("behind", [b"", b"<presence/>", END, b" ", b"<", b"</", b"</stream:strea", b"</x>"])
def test_empty_element_ends_where_it_ends(raw: bytes, behind: bytes) -> None:
    assert raws(opened().feed(raw + behind))[0] == raw
    framer = opened()
    stanzas = [raw for byte in raw + behind for raw in raws(framer.feed(bytes([byte])))]
    assert stanzas[0] == raw


@pytest.mark.parametrize("end", [END, b"</stream:stream \n>", b" \n</stream:stream>"])
def test_end_of_stream(end: bytes) -> None:
    assert list(opened().feed(end)) == [StreamEnd()]
    framer = opened()
    events = [event for byte in MESSAGE + end for event in framer.feed(bytes([byte]))]
    assert (raws(events), events[-1]) == ([MESSAGE], StreamEnd())
    assert not framer.feed(MESSAGE)


@pytest.mark.parametrize("before", [b"", MESSAGE])
def test_stream_error_of_the_client_ends_the_stream(before: bytes) -> None:
    error = b"<stream:error><x xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>"
    assert opened().feed(before + error)[-1] == StreamEnd(error=True)


def test_header_that_closes_itself() -> None:
    events = Framer(ParserPool(), 1000).feed(HEADER[:-1] + b"/>")
    assert [type(event) for event in events] == [StreamHeader, StreamEnd]


def test_keep_alives_need_no_parser() -> None:
    pool = ParserPool()
    framer = opened(pool=pool)
    for white in (b" ", b"\n", b"\r\n\t "):
        assert list(framer.feed(white)) == []
    assert (framer.pending, pool.free) == (0, [])


def test_pending_tells_of_bytes_that_no_event_has() -> None:
    framer = opened()
    framer.feed(MESSAGE)
    assert framer.pending == 0
    framer.feed(b"<mess")
    assert framer.pending == 5
    framer.feed(b"age><body>a")
    assert framer.pending == 16
    framer.feed(b"</body></message>")
    assert framer.pending == 0


def test_restart_expects_a_header() -> None:
    framer = opened()
    framer.restart()
    assert isinstance(framer.feed(HEADER)[0], StreamHeader)
    framer.restart()
    assert outcome(framer.feed(MESSAGE)) == "invalid-namespace"


# what is refused

UNWANTED = [
    (b"<!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"),
    (b"<!DOCTYPE", "restricted-xml"),
    (b"<!-- comment -->", "restricted-xml"),
    (b"<!-", "restricted-xml"),
    (b"<?target data?>", "restricted-xml"),
    (b"<?xml version='1.0'?>", "restricted-xml"),
    (b"<?", "restricted-xml"),
]


@pytest.mark.parametrize(("data", "condition"), UNWANTED)
@pytest.mark.parametrize("before", [b"", MESSAGE])
def test_restricted_xml_between_stanzas(data: bytes, condition: str, before: bytes) -> None:
    events = opened().feed(before + data)
    assert (outcome(events), raws(events)) == (condition, [before] if before else [])


@pytest.mark.parametrize(
    ("data", "condition"), [(data, condition) for data, condition in UNWANTED if data.endswith(b">")]
)
def test_restricted_xml_in_a_stanza(data: bytes, condition: str) -> None:
    framer = opened()
    framer.feed(b"<message><body>")
    assert outcome(framer.feed(data)) == condition
    framer = opened()
    events = [event for byte in b"<message><body>" + data for event in framer.feed(bytes([byte]))]
    assert outcome(events) == condition


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<message>&foo;</message>", "restricted-xml"),
        (b"<message a='&foo;'/>", "restricted-xml"),
        (b"<message></presence>", "not-well-formed"),
        (b"</message>", "not-well-formed"),
        (b"</stream>", "not-well-formed"),
        (b"</stream:streams>", "not-well-formed"),
        (b"<message>" + END, "not-well-formed"),
        (b"<message a='1' a='2'/>", "not-well-formed"),
        (b"<message xmlns:p='u' xmlns:q='u' p:a='1' q:a='2'/>", "not-well-formed"),
        (b"<message xmlns:p=''/>", "not-well-formed"),
        (b"<message a='<'/>", "not-well-formed"),
        (b"<message a=b/>", "not-well-formed"),
        (b"<message>]]></message>", "not-well-formed"),
        (b"<message>\x00</message>", "not-well-formed"),
        (b"<message>\x0b</message>", "not-well-formed"),
        (b"<message>&#0;</message>", "not-well-formed"),
        (b"<message>\xef\xbf\xbe</message>", "not-well-formed"),  # U+FFFE
        (b"<9message/>", "not-well-formed"),
        (b"<<message/>", "not-well-formed"),
        (b"<message>\xff</message>", "unsupported-encoding"),
        (b"<message>\xc3<body/></message>", "unsupported-encoding"),
        (b"<message>\xc0\xbc</message>", "unsupported-encoding"),  # overlong "<"
        (b"<message>\xed\xa0\x80</message>", "unsupported-encoding"),  # a surrogate
        (b"<message a='\xff'/>", "unsupported-encoding"),
        (b"<p:message/>", "bad-namespace-prefix"),
        (b"<message><stream:x/></message>", "bad-namespace-prefix"),
        (b"<message stream:a='b'/>", "bad-namespace-prefix"),
        (b"<stream:features/>", "bad-namespace-prefix"),
        (b"text", "not-well-formed"),
        (b"&amp;", "not-well-formed"),
        (b"\x00", "not-well-formed"),
        (b"<![CDATA[x]]>", "not-well-formed"),
        (b"<![CDATA[<a>]]><message/>", "not-well-formed"),
    ],
)
@pytest.mark.parametrize("before", [b"", MESSAGE, b"<presence/>"])
def test_bad_xml(data: bytes, condition: str, before: bytes) -> None:
    framer = opened()
    events = framer.feed(before + data)
    assert (outcome(events), raws(events)) == (condition, [before] if before else [])
    assert not framer.feed(MESSAGE)
    assert framer.pending == 0


@pytest.mark.parametrize(
    "junk", [b"x", b"x>", b"&amp;", b"<![CDATA[x]]>", b"<![CDATA[x>]]>", b"<![CDATA[<a>"]
)
def test_text_between_stanzas(junk: bytes) -> None:
    for empty in (b"<presence/>", b"<presence></presence>", MESSAGE):
        for behind in (b"", empty, b"<presence"):
            events = opened().feed(empty + junk + behind)
            assert (outcome(events), raws(events)) == ("not-well-formed", [empty])


def test_prefix_of_the_clients_own_header_is_unbound() -> None:
    framer = Framer(ParserPool(), 1000)
    framer.feed(HEADER[:-1] + b" xmlns:foo='urn:foo'>")
    assert outcome(framer.feed(b"<message><foo:bar/></message>")) == "bad-namespace-prefix"


def test_prefix_of_one_stanza_is_unbound_in_the_next() -> None:
    framer = opened()
    framer.feed(b"<message xmlns:foo='urn:foo'><foo:bar/></message>")
    assert outcome(framer.feed(b"<message><foo:bar/></message>")) == "bad-namespace-prefix"


STREAMS = b" xmlns:stream='http://etherx.jabber.org/streams'"


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (b"<?xml version='1.0' encoding='UTF-8'?>" + HEADER[21:], "StreamHeader"),
        (b"<?xml version='1.0' encoding='utf-8'?>\n" + HEADER[21:], "StreamHeader"),
        (b" \n" + HEADER, "StreamHeader"),
        (b'<?xml version="1.0" standalone="yes"?>' + HEADER[21:], "StreamHeader"),
        (b"<?xml version='1.0' encoding='ISO-8859-1'?>" + HEADER[21:], "unsupported-encoding"),
        (b"<?xml version='1.0' encoding='UTF-16'?>" + HEADER[21:], "unsupported-encoding"),
        (b"<stream:stream a='\xff'" + STREAMS + b" xmlns='jabber:client'>", "unsupported-encoding"),
        (b"<stream:stream" + STREAMS + b">", "invalid-namespace"),
        (b"<stream:stream" + STREAMS + b" xmlns='jabber:server'>", "invalid-namespace"),
        (b"<stream:stream" + STREAMS + b" xmlns=''>", "invalid-namespace"),
        (b"<stream:stream xmlns:stream='urn:x' xmlns='jabber:client'>", "invalid-namespace"),
        (b"<stream xmlns='http://etherx.jabber.org/streams'>", "invalid-namespace"),
        (
            b"<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:client'>",
            "bad-namespace-prefix",
        ),
        (b"<stream:stream xmlns='jabber:client'>", "bad-namespace-prefix"),
        (b"<stream:streams" + STREAMS + b" xmlns='jabber:client'>", "bad-format"),
        (b"<!DOCTYPE a>", "restricted-xml"),
        (b"<!-- -->" + HEADER[21:], "restricted-xml"),
        (b"<?xml version='1.0'?><!-- -->" + HEADER[21:], "restricted-xml"),
        (b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"),
        (b"<?target data?>" + HEADER[21:], "restricted-xml"),
        (b"<?xml version='1.0'?>text" + HEADER[21:], "not-well-formed"),
        (b"\xef\xbb\xbf" + HEADER, "not-well-formed"),
        (b"GET / HTTP/1.1\r\n", "not-well-formed"),
        (b"\x16\x03\x01\x02\x00", "not-well-formed"),
        (b"</stream:stream>", "not-well-formed"),
        (b"<stream:stream a='b' a='c'" + STREAMS + b" xmlns='jabber:client'>", "not-well-formed"),
    ],
)
def test_headers(data: bytes, condition: str) -> None:
    assert outcome(Framer(ParserPool(), 1000).feed(data)) == condition
    framer = Framer(ParserPool(), 1000)
    events: list[Event] = []
    for byte in data:
        events += framer.feed(bytes([byte]))
    assert outcome(events) == condition


def test_content_namespace_is_the_pools() -> None:
    pool = ParserPool("jabber:server")
    framer = Framer(pool, 1000)
    framer.feed(HEADER.replace(b"jabber:client", b"jabber:server"))
    (stanza,) = framer.feed(b"<message/>")
    assert isinstance(stanza, Stanza)
    assert stanza.name == "jabber:server}message"


# limits


@pytest.mark.parametrize(
    "data",
    [
        b"<message>" + b"x" * 1000 + b"</message>",
        b"<message>" + b"x" * 5000,
        b"<message a='" + b"x" * 1000 + b"'/>",
        b"<message a='" + b"x" * 5000,
        b"<message>" + b"<a/>" * 250 + b"</message>",
        b"<message>" + b"<a/>" * 5000,
        b"<message><![CDATA[" + b"x" * 1000 + b"]]></message>",
        b"<presence/>" + b"<message>" + b"x" * 1000 + b"</message>",
    ],
)
@pytest.mark.parametrize("step", [1, 7, 100, 1_000_000])
def test_stanza_that_is_too_long(data: bytes, step: int) -> None:
    framer = opened(limit=1000)
    events: list[Event] = []
    for start in range(0, len(data), step):
        events += framer.feed(data[start : start + step])
        assert framer.pending <= 1000
    assert outcome(events) == "policy-violation"


@pytest.mark.parametrize("step", [1, 13, 1_000_000])
def test_limit_is_that_of_one_stanza(step: int) -> None:
    stanza = b"<message>" + b"x" * 981 + b"</message>"
    assert len(stanza) == 1000
    framer = opened(limit=1000)
    found = []
    data = stanza * 5
    for start in range(0, len(data), step):
        found += raws(framer.feed(data[start : start + step]))
    assert found == [stanza] * 5


def test_header_that_is_too_long() -> None:
    framer = Framer(ParserPool(), 1000)
    assert not framer.feed(b"<stream:stream a='" + b"x" * 900)
    assert outcome(framer.feed(b"x" * 100)) == "policy-violation"


def test_depth() -> None:
    deep = b"<a>" * 100 + b"</a>" * 100
    assert raws(opened().feed(deep)) == [deep]
    assert outcome(opened().feed(b"<a>" * 101)) == "policy-violation"


# expat's traps


def test_idle_framer_is_small_and_holds_no_parser() -> None:
    pool = ParserPool()
    framers = [opened(pool=pool) for _ in range(50)]
    for framer in framers:
        framer.feed(MESSAGE)
    assert len(pool.free) == 1
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        more = [Framer(pool, 1000) for _ in range(100)]
        assert tracemalloc.get_traced_memory()[0] - before < 100 * 128
    finally:
        tracemalloc.stop()
    assert len(more) == 100


def test_parser_that_raised_is_not_used_again() -> None:
    pool = ParserPool()
    opened(pool=pool).feed(MESSAGE)
    (parser,) = pool.free
    assert outcome(opened(pool=pool).feed(b"<message></presence>")) == "not-well-formed"
    assert pool.free == []
    assert parser.broken


def test_parser_of_a_closed_connection_is_not_used_again() -> None:
    pool = ParserPool()
    framer = opened(pool=pool)
    framer.feed(b"<message><body>")
    framer.close()
    assert pool.free == []


def test_closing_leaves_no_cycle() -> None:
    class Weak(parsers.Parser):
        __slots__ = ("__weakref__",)

    gc.disable()
    try:
        parser = Weak(ParserPool())
        parser.parse(b"<message/>", 1000)
        dead = weakref.ref(parser)
        parser.clear()
        del parser
        assert dead() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("max_bytes", "kept"), [(parsers.MAX_BYTES, False), (1 << 30, True)])
def test_names_are_not_kept_for_good(max_bytes: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """expat keeps every name it has seen, so parsers are retired; were they not, this would be 6 MiB."""
    monkeypatch.setattr(parsers, "MAX_BYTES", max_bytes)
    pool = ParserPool()
    framer = opened(pool=pool)
    tracemalloc.start()  # sees what expat allocates, too
    try:
        for start in range(0, 50_000, 200):
            names = b"".join(b"<n%d/>" % number for number in range(start, start + 200))
            framer.feed(b"<message>" + names + b"</message>")
        assert (tracemalloc.get_traced_memory()[0] > 3_000_000) == kept
    finally:
        tracemalloc.stop()


def test_reads_that_never_end_with_a_stanza_do_not_keep_a_parser() -> None:
    pool = ParserPool()
    framer = opened(pool=pool)
    framer.feed(b"<message><body>")
    parsers_seen = []
    for number in range(5000):
        (stanza,) = framer.feed(b"<n%d/></body></message><message to='a@d'><body>" % number)
        assert isinstance(stanza, Stanza)
        assert stanza.to == ("a@d" if number else None)
        parser = framer._incomplete.parser  # type: ignore[union-attr]
        assert parser is not None
        if parser not in parsers_seen:
            parsers_seen.append(parser)
    assert len(parsers_seen) > 1
    assert all(parser.broken for parser in parsers_seen[:-1])


def test_pool_is_bounded() -> None:
    pool = ParserPool()
    framers = [opened(pool=pool) for _ in range(parsers.MAX_FREE + 10)]
    for framer in framers:
        framer.feed(b"<message><body>")
    for framer in framers:
        framer.feed(b"</body></message>")
    assert len(pool.free) == parsers.MAX_FREE


@pytest.mark.parametrize(
    ("before", "drip"),
    [
        (b"<message a='", b"x"),  # expat would scan such a tag from its start each time
        (b"<message a='", b">"),
        (b"<message a='", b'"'),
        (b"<message ", b"a='x' "),
        (b"<message>", b"x"),
        (b"<message>", b">"),
        (b"<message>", b"<a/>"),
        (b"<message><![CDATA[", b">"),
        (b"<message><![CDATA[", b"<a '"),
    ],
)
def test_drips_cost_what_they_weigh(before: bytes, drip: bytes) -> None:
    def cost(size: int) -> float:
        framer = opened(limit=10_000_000)
        framer.feed(before)
        start = time.process_time()
        for _ in range(size):
            assert not framer.feed(drip)
        return time.process_time() - start

    small, large = min(cost(4_000) for _ in range(3)), min(cost(32_000) for _ in range(2))
    assert large < 8 * small * 3, (small, large)  # eight times the drips; were it quadratic, 64 times


def test_parsers_prefix_cannot_be_guessed() -> None:
    first, second = ParserPool().header, ParserPool().header
    assert first != second


def test_deferral_is_switched_off_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[bool] = []
    later_python = SimpleNamespace(SetReparseDeferralEnabled=calls.append)
    monkeypatch.setattr(parsers, "ParserCreate", lambda *_: later_python)
    parsers._strict()
    assert calls == [False]


def test_header_that_is_known_is_read_as_one_that_is_new() -> None:
    def opened(to: str) -> list[object]:
        return list(Framer(ParserPool(), 10_000).feed(header.replace("HERE", to).encode()))

    header = "<stream:stream to='HERE' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    long = "a" * parsers.MAX_KNOWN_HEADER
    assert opened("a.example") == opened("a.example") != opened("b.example")
    assert opened(long) == opened(long)
    broken = header.replace("etherx", "nowhere")
    conditions = [Framer(ParserPool(), 10_000).feed(broken.encode())[-1].condition for _ in range(2)]  # type: ignore[union-attr]
    assert conditions == ["invalid-namespace"] * 2
