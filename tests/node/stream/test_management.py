"""node/stream/management.py: XEP-0198's elements as they are read and said."""

from xml.etree import ElementTree

import pytest

from xcluster.node.stream import management
from xcluster.node.stream.management import Acknowledgement, Element, Enable, Request, Resume, read
from xcluster.shared import ns
from xcluster.shared.errors import StanzaError, StreamError
from xcluster.shared.framing import Framer, ParserPool
from xcluster.shared.stanza import Stanza

SM = "xmlns='urn:xmpp:sm:3'"


def element(xml: str) -> Stanza:
    """As it comes out of the framer."""
    framer = Framer(ParserPool(), 10_000)
    framer.feed(f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' version='1.0'>".encode())
    (event,) = framer.feed(xml.encode())
    assert isinstance(event, Stanza)
    return event


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (f"<enable {SM}/>", Enable()),
        (f"<enable {SM} resume='true'/>", Enable(resume=True)),
        (f"<enable {SM} resume='1' max='600'/>", Enable(resume=True, max_s=600)),
        (f"<enable {SM} resume='0'/>", Enable()),
        (f"<enable {SM} resume=' false '/>", Enable()),
        (f"<r {SM}/>", Request()),
        (f"<r {SM}></r>", Request()),
        (f"<a {SM} h='1'/>", Acknowledgement(1)),
        (f"<a h='0' {SM}/>", Acknowledgement(0)),
        (f'<a h = "4294967295" {SM} />', Acknowledgement(2**32 - 1)),
        (f"<a {SM} h='007'></a>", Acknowledgement(7)),
        (f"<a {SM} h='&#49;2'/>", Acknowledgement(12)),
        (f"<a {SM} h=' 12 '/>", Acknowledgement(12)),
        (f"<a {SM} xh='3' h='4' g='5'/>", Acknowledgement(4)),
        (f"<a {SM} note=\" h='9'/>\" h='4'/>", Acknowledgement(4)),
        ("<m:a xmlns:m='urn:xmpp:sm:3' h='5'/>", Acknowledgement(5)),
        (f"<resume {SM} previd='x&amp;y' h='12'/>", Resume("x&y", 12)),
    ],
)
def test_element_is_read(xml: str, says: Element) -> None:
    assert read(element(xml)) == says


@pytest.mark.parametrize(
    "xml", [f"<enabled {SM}/>", f"<resumed {SM}/>", "<message/>", "<r xmlns='urn:xmpp:sm:2'/>"]
)
def test_anything_else_is_none_of_ours(xml: str) -> None:
    assert read(element(xml)) is None


@pytest.mark.parametrize("h", ["", "-1", "1.0", "4294967296", "٣", "9" * 5000])
def test_acknowledgement_without_a_count_ends_the_stream(h: str) -> None:
    with pytest.raises(StreamError, match="XEP-0198") as caught:
        read(element(f"<a {SM} h='{h}'/>"))
    assert caught.value.condition == "bad-format"
    with pytest.raises(StreamError):
        read(element(f"<a {SM}/>"))


@pytest.mark.parametrize(
    "xml",
    [
        f"<enable {SM} resume='yes'/>",
        f"<enable {SM} max='soon'/>",
        f"<resume {SM} previd='x'/>",
        f"<resume {SM} previd='x' h='many'/>",
    ],
)
def test_what_is_not_understood_is_answered(xml: str) -> None:
    with pytest.raises(StanzaError) as caught:
        read(element(xml))
    assert caught.value.condition == "bad-request"


def test_answers_are_what_the_xep_shows() -> None:
    assert management.acknowledgement(2**32 + 3) == f"<a {SM} h='3'/>".encode()
    assert f"<r {SM}/>".encode() == management.REQUEST
    assert management.enabled() == f"<enabled {SM}/>".encode()
    resumable = ElementTree.fromstring(management.enabled("a'b", 300))
    assert dict(resumable.items()) == {"id": "a'b", "resume": "true", "max": "300"}
    resumed = ElementTree.fromstring(management.resumed("a'b", 2**32))
    assert dict(resumed.items()) == {"previd": "a'b", "h": "0"}
    assert management.failed("item-not-found") == (
        f"<failed {SM}><item-not-found xmlns='{ns.STANZA_ERRORS}'/></failed>".encode()
    )
    assert ElementTree.fromstring(management.failed("item-not-found", 7)).get("h") == "7"


def test_error_for_a_count_that_is_too_high_names_both() -> None:
    data = management.handled_count_too_high(10, 8)
    stream = f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}'>".encode() + data
    (error,) = ElementTree.fromstring(stream)
    assert [child.tag for child in error] == [
        f"{{{ns.STREAM_ERRORS}}}undefined-condition",
        f"{{{ns.STREAM_MANAGEMENT}}}handled-count-too-high",
        f"{{{ns.STREAM_ERRORS}}}text",
    ]
    assert dict(error[1].items()) == {"h": "10", "send-count": "8"}
