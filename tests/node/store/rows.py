"""Rows that the tests of the store have in common."""

import msgspec

from xcluster.node.store.protocol import Account, OfflineRow, ScramKey

NOW = 1_800_000_000.0
_KEY = ScramKey(salt=b"salt", iterations=4096, stored_key=b"stored", server_key=b"server")


def account(user: str) -> Account:
    return Account(user, _KEY, msgspec.structs.replace(_KEY, salt=user.encode()), created_at=NOW)


def row(number: int, user: str = "alice", holder: str = "") -> OfflineRow:
    return OfflineRow(user, b"id%d\x00" % number, b"<message>%d</message>" % number, NOW + number, holder)
