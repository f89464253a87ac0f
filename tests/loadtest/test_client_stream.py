import pytest
from lxml import etree

from xcluster.loadtest import stream
from xcluster.loadtest.stream import StreamReader
from xcluster.shared.errors import StreamError

HEADER = (
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams' from='x' version='1.0'>"
)
STANZAS = b"<message from='a@x/1'><body>1 &lt; 2</body></message> <presence/><iq type='result' id='1'/>"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_stanzas_come_out_however_the_bytes_are_split(size):
    reader = StreamReader()
    data = HEADER + STANZAS
    found = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    assert [element.tag for element in found] == [stream.MESSAGE, stream.PRESENCE, stream.IQ]
    assert found[0].findtext(stream.BODY) == "1 < 2"
    assert not reader.closed


def test_end_of_stream_is_seen():
    reader = StreamReader()
    assert len(reader.feed(HEADER + STANZAS + stream.CLOSE)) == 3
    assert reader.closed


@pytest.mark.parametrize(
    "data", [b"<html>", HEADER + b"<message></presence>", b"HTTP/1.1 400 Bad Request\r\n"]
)
def test_what_is_no_stream_is_an_error(data):
    with pytest.raises(StreamError):
        StreamReader().feed(data)


def test_condition_is_the_first_childs_name():
    error = etree.fromstring("<error type='cancel'><item-not-found xmlns='urn:x'/><text/></error>")
    assert stream.condition(error) == "item-not-found"
    assert stream.condition(etree.fromstring("<error/>")) == "undefined-condition"


def test_texts_are_escaped():
    element = etree.fromstring(stream.message("a'b@x", "1 < 2 & 3", 'i"d'))
    assert (element.get("to"), element.get("id"), element.findtext("body")) == ("a'b@x", 'i"d', "1 < 2 & 3")
    assert etree.fromstring(stream.presence("unavailable")).get("type") == "unavailable"
