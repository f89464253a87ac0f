"""What a store can do: the rows, and the verbs over them.

Three stores speak it: `sqlite` and `postgres`, which work in threads of their own, and `memory`, the
double that ships. A method may yield to the loop (never call one from a loop callback: use a greenlet) and
raises `StoreError` when the database could not do it now; whoever can wait tries again. The `ask_` methods may
be called from anywhere: what was read is called back from the loop.

Users are named by their prepared localpart, contacts by their bare JID, times are seconds since 1970.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

import msgspec

T = TypeVar("T")
# Is called once, with what returns the answer or raises StoreError. It must not wait.
Then = Callable[[Callable[[], T]], None]


class ScramKey(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What RFC 5802 §3 lets a server keep of a password for one hash function."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


class Account(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Somebody who may log in."""

    user: str
    sha1: ScramKey
    sha256: ScramKey
    disabled: bool = False
    created_at: float = 0.0


class RosterItem(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One contact of one user (RFC 6121 §2.1.2), pending subscriptions included."""

    contact: str  # bare JID
    name: str = ""
    groups: tuple[str, ...] = ()
    subscription: str = "none"  # none, to, from, both; "remove" is a tombstone for roster versioning
    ask: bool = False  # outbound subscription request pending (RFC 6121 §3.1.2)
    approved: bool = False  # pre-approved (RFC 6121 §3.4)
    pending_in: bytes = b""  # the inbound subscription request not yet answered, as received
    listed: bool = True  # False: exists only for pending_in, not part of the roster ("None + Pending In")
    version: int = 0  # of the roster when this item last changed


class Roster(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """All contacts of one user; tombstones only where a method says so."""

    version: int = 0  # grows by one with every change
    items: tuple[RosterItem, ...] = ()


# Given both sides' items (None: no row), returns what they become (None: remove the row and, if it was
# listed, leave a tombstone), or the same object for no change. Runs inside the transaction, perhaps
# more than once, so it must be pure. May raise StanzaError, which rolls back and reaches the caller.
RosterChange = Callable[[RosterItem | None, RosterItem | None], tuple[RosterItem | None, RosterItem | None]]


class RosterOutcome(msgspec.Struct, array_like=True, frozen=True):
    """What `change_rosters` did. A version of 0 means: that side did not change."""

    before: tuple[RosterItem | None, RosterItem | None]
    after: tuple[RosterItem | None, RosterItem | None]
    user_version: int = 0
    contact_version: int = 0


class OfflineRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message kept for somebody (design.md §8). Key: (user, identity). `holder` "" is free."""

    user: str
    identity: bytes
    stanza: bytes  # ready to be sent to the recipient, but for <delay/>
    stored_at: float
    holder: str = ""  # held(sid): "name/incarnation/counter" of the session that was sent it
    row: int = 0  # grows; given by the store


class NodeRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A node's heartbeat in the store."""

    name: str
    incarnation: int
    host: str
    pid: int
    clustered: bool
    seen_at: float  # by the node's own clock: compare rows with themselves, not with yours
    beats: int = 0  # grows with every heartbeat


class Notice(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a command line changed behind the nodes' backs; they read them once a second."""

    kind: str  # "close" (sessions of subject), "roster" (of subject), "forget" (all caches), "setting"
    subject: str
    row: int = 0


class Store(Protocol):
    """The only durable state."""

    def open(self) -> None:
        """Connect, migrate the schema when it is older, start threads. Raises StoreError, ConfigError."""

    def close(self) -> None:
        """Finish what is queued, within timeout_s, and disconnect."""

    @property
    def healthy(self) -> bool:
        """Whether the last operation reached the database."""

    # accounts

    def account(self, user: str) -> Account | None: ...

    def ask_account(self, user: str, then: Then[Account | None]) -> None: ...

    def create_account(self, account: Account) -> bool:
        """False when the user exists."""

    def update_account(self, account: Account) -> bool:
        """Replace keys and `disabled`; False when there is no such user."""

    def remove_account(self, user: str, domain: str) -> list[str]:
        """Delete the user and all that is theirs; returns the users whose rosters held them.

        In one transaction; those rosters lose the contact `user@domain` with tombstone and version."""

    def accounts(self, after: str = "", limit: int = 1000) -> list[Account]:
        """By user name, those after `after`."""

    def count_accounts(self) -> int: ...

    def provision(
        self,
        accounts: Iterable[Account],
        rosters: Iterable[tuple[str, Roster]],
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Create or replace many accounts and rosters at bulk speed; returns how many accounts.

        `progress` is told now and then how many accounts and rosters, counted together, are written."""

    # rosters

    def roster(self, user: str) -> Roster:
        """Without tombstones; empty (version 0) for somebody who has none."""

    def ask_roster(self, user: str, then: Then[Roster]) -> None: ...

    def roster_since(self, user: str, version: int) -> Roster | None:
        """Only what changed after `version`, tombstones included, by version.

        None when the store can't tell (version unknown or tombstones already gone)."""

    def roster_versions(self, users: list[str]) -> dict[str, int]: ...

    def change_rosters(
        self, user: str, contact: str, contact_user: str | None, change: RosterChange, max_items: int
    ) -> RosterOutcome:
        """One transaction over the user's item for `contact` and the contact's item for the user.

        `contact_user` is the contact's localpart where the contact is ours and exists, else None: then the
        second item is always None and ignored. Whether the account exists is looked up in here: the
        outcome's second sides are None when it does not. `user` must exist. Rows are locked in the order of
        user names. More than `max_items` listed items raises StanzaError("wait", "resource-constraint")."""

    # offline messages

    def add_offline(self, rows: list[OfflineRow], limit: int) -> list[str]:
        """One answer a row: "stored" (also when its identity is there or was deleted within dedupe_s),
        "unknown" (no such account) or "full" (the user has `limit` rows)."""

    def take_offline(self, user: str, holder: str, live: list[str]) -> list[OfflineRow]:
        """Take every row of the user that is not held by one of `live`, by one conditional update.

        In row order, now held by `holder`."""

    def free_offline(self, holder: str) -> list[str]:
        """Free all rows held by a session; returns the users who have some."""

    def drop_offline(self, user: str, identities: list[bytes]) -> None:
        """Delete rows, leaving tombstones for dedupe_s; also where there is no row, so that one which is
        still on its way does nothing when it comes."""

    def waiting_offline(self, after: int) -> tuple[int, list[str]]:
        """A number to hand back as `after` next time (0 at first), and the users with rows free since then.

        The number grows, and means nothing else: it is no `OfflineRow.row`. A user may be named twice."""

    def count_offline(self, user: str) -> int: ...

    def ask_offline(self, user: str, then: Then[int]) -> None:
        """How many rows the user has."""

    def sweep(self, now: float) -> None:
        """Forget tombstones, notices (1 h) and dead nodes' rows (1 day) that are too old."""

    # small things

    def vcard(self, user: str) -> bytes | None: ...

    def set_vcard(self, user: str, vcard: bytes) -> None: ...

    def last_activity(self, user: str) -> tuple[float, str] | None:
        """When the last session ended, and the status of its unavailable presence."""

    def set_last_activity(self, rows: list[tuple[str, float, str]]) -> None: ...

    # the cluster

    def beat(self, row: NodeRow) -> list[NodeRow]:
        """Write this node's heartbeat (beats + 1), return everybody's rows."""

    def nodes(self) -> list[NodeRow]:
        """Everybody's heartbeat rows."""

    def claim_incarnation(self, name: str, at_least: int) -> int:
        """max(stored + 1, at_least), stored before it is returned."""

    def settings(self) -> dict[str, str]: ...

    def set_setting(self, key: str, value: str) -> None: ...

    def notices(self, after: int) -> list[Notice]: ...

    def add_notices(self, notices: list[Notice]) -> None: ...

    def last_notice(self) -> int: ...
