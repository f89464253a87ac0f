"""Presence stanzas: what the directory keeps of them, and what a contact gets."""

import pytest

from tests.node.features.setting import canonical, stanza
from xcluster.node import presences
from xcluster.shared.errors import StanzaError

TO = b" to='b@d'"
SHOW = "<show>away</show>"


@pytest.mark.parametrize(
    ("sent", "lang", "kept"),
    [
        ("<presence/>", b"", b"<presence/>"),
        ("<presence id='1'/>", b"", b"<presence/>"),
        ("<presence type='unavailable'/>", b"", b"<presence/>"),
        (f"<presence from='a@b/c' id='1'>{SHOW}</presence>", b"", f"<presence>{SHOW}</presence>".encode()),
        ("<presence/>", b" xml:lang='en'", b"<presence xml:lang='en'/>"),
        ("<presence xml:lang='de'/>", b" xml:lang='en'", b"<presence xml:lang='de'/>"),
        ("<presence note='kept' xmlns:x='urn:x'/>", b"", b"<presence note='kept' xmlns:x='urn:x'/>"),
    ],
)
def test_what_everybody_is_told_is_kept_once(sent: str, lang: bytes, kept: bytes) -> None:
    assert presences.normalised(stanza(sent), lang) == kept


def test_prefixed_presence_is_refused() -> None:
    with pytest.raises(StanzaError, match="without a prefix"):
        presences.normalised(stanza("<c:presence xmlns:c='jabber:client'/>"), b"")


def test_contact_gets_it_addressed() -> None:
    kept = f"<presence xml:lang='en'>{SHOW}</presence>".encode()
    expected = f"<presence from='a@d/o&apos;clock' to='b@d' xml:lang='en'>{SHOW}</presence>"
    assert canonical(presences.available(kept, "a@d/o'clock").to(TO)) == canonical(expected)
    assert canonical(presences.available(presences.PLAIN, "a@d/r").to(TO)) == canonical(
        "<presence from='a@d/r' to='b@d'/>"
    )


@pytest.mark.parametrize(
    ("farewell", "told"),
    [
        (b"", "<presence from='a@d/r' to='b@d' type='unavailable'/>"),
        (
            b"<presence><status>bye</status></presence>",
            "<presence from='a@d/r' to='b@d' type='unavailable'><status>bye</status></presence>",
        ),
    ],
)
def test_contact_is_told_of_the_end(farewell: bytes, told: str) -> None:
    assert canonical(presences.unavailable(farewell, "a@d/r").to(TO)) == canonical(told)
