"""Addresses: RFC 7622 §3.5 and what it leaves out."""

import pytest

from xcluster.shared import jid


@pytest.mark.parametrize(
    ("text", "local", "domain", "resource"),
    [
        ("juliet@example.com", "juliet", "example.com", ""),
        ("juliet@example.com/foo", "juliet", "example.com", "foo"),
        ("juliet@example.com/foo bar", "juliet", "example.com", "foo bar"),
        ("juliet@example.com/foo@bar", "juliet", "example.com", "foo@bar"),
        ("juliet@example.com/a/b", "juliet", "example.com", "a/b"),
        ("example.com/foo@bar", "", "example.com", "foo@bar"),
        ("foo\\20bar@example.com", "foo\\20bar", "example.com", ""),
        ("fussball@example.com", "fussball", "example.com", ""),
        ("fu\xdfball@example.com", "fu\xdfball", "example.com", ""),
        ("\u03c0@example.com", "\u03c0", "example.com", ""),
        ("\u03a3@example.com/foo", "\u03c3", "example.com", "foo"),
        ("king@example.com/\u265a", "king", "example.com", "\u265a"),
        ("example.com", "", "example.com", ""),
        ("a.example.com/b@example.net", "", "a.example.com", "b@example.net"),
        ("Juliet@EXAMPLE.com/Balcony", "juliet", "example.com", "Balcony"),
        ("juliet@example.com.", "juliet", "example.com", ""),
        ("\uff21lice@example.com", "alice", "example.com", ""),  # full width
        ("x@B\xdcCHER.example", "x", "b\xfccher.example", ""),
        ("x@xn--bcher-kva.example", "x", "b\xfccher.example", ""),
        ("x@192.0.2.1", "x", "192.0.2.1", ""),
        ("x@[2001:DB8::1]/y", "x", "[2001:db8::1]", "y"),
        ("x@localhost/ e\u0301", "x", "localhost", " \xe9"),  # NFC
    ],
)
def test_address_is_prepared(text: str, local: str, domain: str, resource: str) -> None:
    parsed = jid.parse(text)
    bare = f"{local}@{domain}" if local else domain
    assert (parsed.local, parsed.domain, parsed.resource) == (local, domain, resource)
    assert parsed.bare == bare
    assert parsed.full == str(parsed) == (f"{bare}/{resource}" if resource else bare)
    assert parsed.is_bare == (resource == "")
    assert jid.parse(parsed.full) == parsed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@example.com",
        "@",
        "/",
        "juliet@",
        "juliet@/foo",
        "juliet@example.com/",
        '"juliet"@example.com',
        "foo bar@example.com",
        "henry\u2163@example.com",  # a compatibility character
        "\u265a@example.com",  # a symbol in a localpart
        "a&b@example.com",
        "a'b@example.com",
        "a:b@example.com",
        "a<b@example.com",
        "a>b@example.com",
        "\uff20@example.com",  # "@" once its width is mapped
        "a@b@c",
        "a\x00@example.com",
        "a@exa mple.com",
        "a@example..com",
        "a@-example.com",
        "a@under_score.com",
        "a@[fe80::1%eth0]",
        "a@[2001:db8::1",
        "a@[192.0.2.1]",
        "a@example.com/\x07",
        "a@example.com/\x7f",
        "a@\u265a.example",
        "a@" + "x" * 64 + ".example",
        "x" * 1024 + "@example.com",
        "a@example.com/" + "x" * 1024,
        "a@example.com/" + "\u20ac" * 342,
    ],
)
def test_address_is_refused(text: str) -> None:
    with pytest.raises(jid.JidError):
        jid.parse(text)


def test_parts_may_have_1023_bytes() -> None:
    assert len(jid.parse("x" * 1023 + "@example.com/" + "\u20ac" * 341).full) == 1023 + 13 + 341


def test_short_addresses_are_cached_and_long_ones_are_not() -> None:
    short, long = "cached@example.com/r", "a@example.com/" + "x" * 500
    assert jid.parse(short) is jid.parse(short)
    assert jid.parse(long) is not jid.parse(long)


def test_made_address_equals_the_parsed_one() -> None:
    assert jid.make("a", "example.com", "r") == jid.parse("a@example.com/r")
    assert jid.make("", "example.com") == jid.parse("example.com")
