"""What leaves the server: stamps, builders, wraps."""

import resource
from pathlib import Path
from xml.etree import ElementTree

import pytest

from xcluster.shared import stanza as stanzas
from xcluster.shared.framing import Framer, ParserPool, Stanza

HEADER = b"<stream:stream to='d' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
FROM = b" from='alice@d/r'"
LANG = b" xml:lang='en'"


def read(raw: bytes) -> Stanza:
    framer = Framer(ParserPool(), 100_000)
    _, stanza = framer.feed(HEADER + raw)
    assert isinstance(stanza, Stanza)
    return stanza


def parse(raw: bytes) -> ElementTree.Element:
    return ElementTree.fromstring(b"<s xmlns='jabber:client'>" + raw + b"</s>")[0]


@pytest.mark.parametrize(
    ("raw", "stamped"),
    [
        (b"<presence/>", b"<presence from='alice@d/r' xml:lang='en'/>"),
        (b"<presence />", b"<presence from='alice@d/r' xml:lang='en' />"),
        (b"<iq\ttype='get'/>", b"<iq from='alice@d/r' xml:lang='en'\ttype='get'/>"),
        (b"<message to='b@d'></message>", b"<message from='alice@d/r' xml:lang='en' to='b@d'></message>"),
        (b"<message xml:lang='de'/>", b"<message from='alice@d/r' xml:lang='de'/>"),
        (b"<message xml:lang=''/>", b"<message from='alice@d/r' xml:lang=''/>"),
        (b"<message from='eve@d' to='b@d'/>", b"<message from='alice@d/r' xml:lang='en' to='b@d'/>"),
        (
            b"<message to='>' from = \"'e'\" id='1' />",
            b"<message from='alice@d/r' xml:lang='en' to='>' id='1' />",
        ),
        (
            b"<p:iq xmlns:p='jabber:client' from='e@d'/>",
            b"<p:iq from='alice@d/r' xml:lang='en' xmlns:p='jabber:client'/>",
        ),
        (
            b"<message:message xmlns:message='jabber:client'/>",
            b"<message:message from='alice@d/r' xml:lang='en' xmlns:message='jabber:client'/>",
        ),
        (  # another namespace's from is not ours to drop
            b"<iq xmlns:x='urn:x' x:from='e' from='f'/>",
            b"<iq from='alice@d/r' xml:lang='en' xmlns:x='urn:x' x:from='e'/>",
        ),
    ],
)
def test_stamp(raw: bytes, stamped: bytes) -> None:
    assert stanzas.stamp(read(raw), FROM, LANG) == stamped


def test_stamp_sets_to_where_asked() -> None:
    assert stanzas.stamp(read(b"<message to='B@D' id='1'/>"), FROM, to="b@d") == (
        b"<message from='alice@d/r' to='b@d' id='1'/>"
    )
    assert stanzas.stamp(read(b"<presence/>"), FROM, to="<") == b"<presence from='alice@d/r' to='&lt;'/>"


DELAY = b"<delay xmlns='urn:xmpp:delay' from='d' stamp='x'>text</delay>"
OURS = b"<stanza-id xmlns='urn:xmpp:sid:0' by='Alice@D' id='1'/>"
THEIRS = b"<stanza-id xmlns='urn:xmpp:sid:0' by='room@elsewhere' id='1'/>"
NESTED = b"<forwarded xmlns='urn:xmpp:forward:0'>" + DELAY + b"</forwarded>"
PREFIXED = b"<s:stanza-id xmlns:s='urn:xmpp:sid:0' by=\"d\" id='>'></s:stanza-id>"


@pytest.mark.parametrize(
    ("children", "left"),
    [
        (DELAY, b""),
        (OURS, b""),
        (PREFIXED, b""),
        (THEIRS, THEIRS),
        (NESTED, NESTED),
        (b"<body>a</body>" + OURS + THEIRS + DELAY + NESTED + PREFIXED, b"<body>a</body>" + THEIRS + NESTED),
        (b"<stanza-id xmlns='urn:xmpp:sid:0' by='@@'/>", b"<stanza-id xmlns='urn:xmpp:sid:0' by='@@'/>"),
        (b"<stanza-id xmlns='urn:other' by='d'/>", b"<stanza-id xmlns='urn:other' by='d'/>"),
    ],
)
def test_stamp_cuts_what_only_we_may_set(children: bytes, left: bytes) -> None:
    stanza = read(b"<message>" + children + b"</message>")
    assert stanzas.stamp(stanza, FROM, ours={"d", "alice@d"}) == (
        b"<message from='alice@d/r'>" + left + b"</message>"
    )


def test_stamp_leaves_what_nobody_forged() -> None:
    raw = b"<message>" + DELAY + b"</message>"
    assert stanzas.stamp(read(raw), b"") == raw


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("<&>'\"", "&lt;&amp;&gt;&apos;&quot;"),
        ("a\tb\nc\r", "a&#9;b&#10;c&#13;"),
        ("\x00\x1f\ufffe\ud800", "\ufffd\ufffd\ufffd\ufffd"),
        ("\xe9\U0001f600", "\xe9\U0001f600"),
    ],
)
def test_escape(text: str, escaped: str) -> None:
    assert stanzas.escape(text) == escaped
    value = parse(b"<a" + stanzas.attribute("b", text) + b"/>").get("b")
    assert value == text.translate({0: 0xFFFD, 0x1F: 0xFFFD, 0xFFFE: 0xFFFD, 0xD800: 0xFFFD})


def test_no_attribute_for_none() -> None:
    assert stanzas.attribute("to", None) == b""


def test_builders_escape_and_order() -> None:
    assert stanzas.message(to="a'@d", from_="d", type="chat", id="<", payload=b"<body/>") == (
        b"<message from='d' to='a&apos;@d' type='chat' id='&lt;'><body/></message>"
    )
    assert stanzas.presence(type="unavailable") == b"<presence type='unavailable'/>"
    assert stanzas.iq_get("1", b"<q/>", to="a@d/r") == b"<iq to='a@d/r' type='get' id='1'><q/></iq>"
    assert stanzas.iq_set("1", b"<q/>", from_="d") == b"<iq from='d' type='set' id='1'><q/></iq>"


def test_result_goes_back() -> None:
    request = read(b"<iq type='get' id='1' to='d' from='a@d/r'/>")
    assert stanzas.iq_result(request) == b"<iq from='d' to='a@d/r' type='result' id='1'/>"
    assert stanzas.iq_result(request, b"<q/>", to="b@d") == (
        b"<iq from='d' to='b@d' type='result' id='1'><q/></iq>"
    )


def test_error_reply_repeats_what_was_sent() -> None:
    request = read(b"<message type='chat' id='1' to='b@d' from='a@d/r'><body>&lt;</body></message>")
    reply = stanzas.error_reply(request, "cancel", "service-unavailable", "<gone>")
    error = b"<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>"
    text = b"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>&lt;gone&gt;</text></error>"
    assert reply == (
        b"<message from='b@d' to='a@d/r' type='error' id='1'><body>&lt;</body>" + error + text + b"</message>"
    )
    assert read(reply).type == "error"


@pytest.mark.parametrize(
    "raw",
    [
        b"<iq type='get' id='1'/>",
        b"<iq type='get' id='1' xmlns:x='urn:x'><x:q/></iq>",  # the prefix would be lost
        b"<iq type='get' id='1'><q xmlns='" + b"x" * 5000 + b"'/></iq>",
    ],
)
def test_error_reply_without_payload(raw: bytes) -> None:
    reply = parse(stanzas.error_reply(read(raw), "modify", "bad-request"))
    assert [child.tag for child in reply] == ["{jabber:client}error"]


@pytest.mark.parametrize(
    ("raw", "with_child"),
    [
        (b"<presence/>", b"<presence><x/></presence>"),
        (b"<presence a='/>'></presence>", b"<presence a='/>'><x/></presence>"),
        (b"<p:iq xmlns:p='jabber:client' />", b"<p:iq xmlns:p='jabber:client' ><x/></p:iq>"),
        (b"<message><body/></message >", b"<message><body/><x/></message >"),
        (b"<message><![CDATA[</message>]]></message>", b"<message><![CDATA[</message>]]><x/></message>"),
    ],
)
def test_child_is_added_at_the_end(raw: bytes, with_child: bytes) -> None:
    assert stanzas.with_child(raw, b"<x/>") == with_child


def test_delay() -> None:
    delayed = parse(stanzas.with_delay(b"<message/>", "d", "2026-11-22T18:00:00Z"))
    assert delayed[0].tag == "{urn:xmpp:delay}delay"
    assert delayed[0].attrib == {"from": "d", "stamp": "2026-11-22T18:00:00Z"}


@pytest.mark.parametrize(
    "raw",
    [
        b"<message to='>'><body>x</body></message>",
        b"<message xmlns='jabber:client'/>",
        b"<message a='x' xmlns = \"jabber:client\" />",
        b"<p:message xmlns:p='jabber:client'><body/></p:message>",
    ],
)
def test_stanza_keeps_its_namespace_elsewhere(raw: bytes) -> None:
    wrapped = b"<forwarded xmlns='urn:xmpp:forward:0'>" + stanzas.with_namespace(raw) + b"</forwarded>"
    inner = ElementTree.fromstring(wrapped)[0]
    assert inner.tag == "{jabber:client}message"
    assert all(child.tag == "{jabber:client}body" for child in inner)


def test_tree() -> None:
    element = stanzas.tree(b"<iq type='get'><query xmlns='jabber:iq:roster' ver='1'>\xc3\xa9</query></iq>")
    assert element.tag == "{jabber:client}iq"
    assert element[0].tag == "{jabber:iq:roster}query"
    assert element[0].get("ver") == "1"
    assert element[0].text == "\xe9"


def test_serialised_element_means_the_same_elsewhere() -> None:
    element = stanzas.tree(
        b"<iq><q xmlns='jabber:iq:roster' xml:lang='de'>&lt;\xc3\xa9<a b='&quot;'/></q></iq>"
    )
    again = ElementTree.fromstring(stanzas.serialise(element[0]))
    assert ElementTree.canonicalize(ElementTree.tostring(again)) == (
        ElementTree.canonicalize(ElementTree.tostring(element[0]))
    )
    assert (again.tag, again.text) == ("{jabber:iq:roster}q", "<\xe9")


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def test_trees_leave_nothing_behind() -> None:
    """libxml2 would keep every namespace and name of the thread: all of these 32 MiB."""
    stanzas.tree(b"<iq/>")
    before = resident_kib()
    for number in range(1600):
        stanzas.tree(b"<iq xmlns:a='urn:%d:%s'/>" % (number, b"x" * 20_000))
    assert resident_kib() - before < 16 * 1024
