"""Information: what disco#info says of an entity (XEP-0030 §3), and the hash of it (XEP-0115 §5.1).

It is made of what the features declare, sorted, so that every node answers the same bytes.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable
from itertools import chain, starmap
from typing import NamedTuple

from xcluster.node.hooks import Feature, Identity
from xcluster.shared import ns
from xcluster.shared.stanza import attribute

SERVER = Identity("server", "im", "xcluster")
ACCOUNT = Identity("account", "registered")


class Information(NamedTuple):
    """Identities and features of an entity, in order and each once."""

    identities: tuple[Identity, ...]
    features: tuple[str, ...]

    def payload(self, node: str | None = None) -> bytes:
        """The <query/> of a result; `node` repeats the request's (XEP-0030 §3.2)."""
        start = f"<query xmlns='{ns.DISCO_INFO}'".encode() + attribute("node", node) + b">"
        return b"".join((start, *map(_identity, self.identities), *map(_feature, self.features), b"</query>"))

    def verification(self) -> str:
        """The verification string, with SHA-1 (XEP-0115 §5.1; identities have no xml:lang)."""
        identities = (f"{one.category}/{one.type}//{one.name}<" for one in self.identities)
        features = (f"{feature}<" for feature in self.features)
        text = "".join((*identities, *features)).encode()
        return b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()


def information(identities: Iterable[Identity], features: Iterable[str]) -> Information:
    """In i;octet order (XEP-0115 §5.1)."""
    by_octets = sorted(set(identities), key=lambda one: tuple(part.encode() for part in one))
    return Information(tuple(by_octets), tuple(sorted(set(features), key=str.encode)))


def of_server(features: Iterable[Feature]) -> Information:
    """What the domain says of itself."""
    return information([SERVER], chain.from_iterable(one.server_features for one in features))


def of_account(features: Iterable[Feature]) -> Information:
    """What is said of a bare JID, on behalf of the account."""
    kept = tuple(features)
    return information(
        chain([ACCOUNT], *(one.account_identities for one in kept)),
        chain.from_iterable(one.account_features for one in kept),
    )


def _identity(identity: Identity) -> bytes:
    given = {"category": identity.category, "type": identity.type, "name": identity.name or None}
    return b"<identity" + b"".join(starmap(attribute, given.items())) + b"/>"


def _feature(feature: str) -> bytes:
    return b"<feature" + attribute("var", feature) + b"/>"
