"""JIDs: addresses, prepared and compared as RFC 7622 says.

`parse` is called several times a stanza: ASCII addresses never reach the PRECIS and IDNA libraries, and the
prepared form of short ones is cached.
"""

import ipaddress
import re
from functools import lru_cache

import idna
import msgspec
from precis_i18n import get_profile
from precis_i18n.profile import Profile

MAX_BYTES = 1023  # of each part, RFC 7622 §3.2 to §3.4
_CACHED = 16_384  # addresses; about 8 MiB
_CACHED_CHARS = 128  # longer ones are rare, and 16,384 of them would be a way to fill the memory

_LOCAL_EXCLUDED = frozenset("\"&'/:<>@")  # RFC 7622 §3.3.1
_ASCII_LOCAL = re.compile(r"[!#-%(-.0-9;=?A-Z\[-~]+")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ASCII_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")

_username = get_profile("UsernameCaseMapped")
_opaque = get_profile("OpaqueString")


class JidError(ValueError):
    """Not a JID."""


class Jid(msgspec.Struct, frozen=True, gc=False):
    """A prepared address. `resource` is "" in a bare JID, `local` is "" in the JID of a domain."""

    full: str
    bare: str
    local: str
    domain: str
    resource: str

    @property
    def is_bare(self) -> bool:
        return not self.resource

    def __str__(self) -> str:
        return self.full


def parse(text: str) -> Jid:
    """The prepared form of an address. Raises JidError."""
    return _cached(text) if len(text) <= _CACHED_CHARS else _parse(text)


def make(local: str, domain: str, resource: str = "") -> Jid:
    """A JID of parts that are prepared already."""
    bare = f"{local}@{domain}" if local else domain
    return Jid(f"{bare}/{resource}" if resource else bare, bare, local, domain, resource)


def _parse(text: str) -> Jid:
    address, slash, resource = text.partition("/")
    if slash:
        resource = prepare_resource(resource)
    local, at, domain = address.partition("@")
    if at:
        return make(prepare_local(local), _domain(domain), resource)
    return make("", _domain(address), resource)


_cached = lru_cache(_CACHED)(_parse)


def remembered() -> int:
    """How many parsed addresses are kept."""
    return _cached.cache_info().currsize


def prepare_local(text: str) -> str:
    """A localpart: PRECIS UsernameCaseMapped, less the characters of RFC 7622 §3.3.1."""
    if text.isascii():
        if not _ASCII_LOCAL.fullmatch(text):
            raise JidError("bad localpart")
        prepared = text.lower()
    else:
        prepared = _enforce(_username, text, "localpart")
        if not _LOCAL_EXCLUDED.isdisjoint(prepared):
            raise JidError("bad localpart")
    return _bounded(prepared, "localpart")


def prepare_resource(text: str) -> str:
    """A resourcepart: PRECIS OpaqueString."""
    if not (text.isascii() and text.isprintable()):
        text = _enforce(_opaque, text, "resourcepart")
    return _bounded(text, "resourcepart")


def prepare_domain(text: str) -> str:
    """A domainpart: U-labels and LDH labels in lower case, or an IP address (RFC 7622 §3.2)."""
    name = text.removesuffix(".").lower()
    if not (_ASCII_DOMAIN.fullmatch(name) and "--" not in name):
        name = _ipv6(name) if name.startswith("[") else _internationalised(name)
    return _bounded(name, "domainpart")


_domain = lru_cache(1024)(prepare_domain)  # the same string object for every address of a domain


def _enforce(profile: Profile, text: str, part: str) -> str:
    try:
        return profile.enforce(text)
    except UnicodeError as error:
        raise JidError(f"bad {part}") from error


def _bounded(text: str, part: str) -> str:
    if not text:
        raise JidError(f"empty {part}")
    if len(text) * 4 > MAX_BYTES and len(text.encode()) > MAX_BYTES:
        raise JidError(f"{part} longer than {MAX_BYTES} bytes")
    return text


def _ipv6(text: str) -> str:
    try:
        if not text.endswith("]") or "%" in text:
            raise ValueError("not a bracketed address")
        return f"[{ipaddress.IPv6Address(text[1:-1])}]"
    except ValueError as error:
        raise JidError("bad domainpart") from error


def _internationalised(text: str) -> str:
    try:
        return idna.decode(idna.encode(text, uts46=True, std3_rules=True))
    except UnicodeError as error:
        raise JidError("bad domainpart") from error
