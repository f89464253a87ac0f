"""MemoryStore: the double that ships, for tests and the simulation. Pure: `clock` says what time it is."""

from collections.abc import Callable, Iterable
from functools import partial

import msgspec

from xcluster.node.store import changes
from xcluster.node.store.protocol import (
    Account,
    NodeRow,
    Notice,
    OfflineRow,
    Roster,
    RosterChange,
    RosterItem,
    RosterOutcome,
    Then,
)
from xcluster.shared.errors import StoreError

_replace = msgspec.structs.replace
_NODE_KEPT_S = 86_400.0
_NOTICE_KEPT_S = 3_600.0


class _Kept(msgspec.Struct):
    """An offline row, or its tombstone."""

    row: OfflineRow
    mark: int
    deleted_at: float | None = None


class _Sheet(msgspec.Struct):
    """A roster with its tombstones."""

    version: int = 0
    floor: int = 0  # tombstones up to here are gone
    items: dict[str, RosterItem] = msgspec.field(default_factory=dict)

    def present(self) -> list[RosterItem]:
        return [self.items[jid] for jid in sorted(self.items) if self.items[jid].subscription != "remove"]


class MemoryStore:
    """Store without a database. Several nodes of a simulation share one."""

    def __init__(self, dedupe_s: float = 300.0, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._dedupe_s = dedupe_s
        self._clock = clock
        self._error: StoreError | None = None
        self._accounts: dict[str, Account] = {}
        self._sheets: dict[str, _Sheet] = {}
        self._offline: dict[str, dict[bytes, _Kept]] = {}
        self._last_row = 0
        self._last_mark = 0
        self._vcards: dict[str, bytes] = {}
        self._activities: dict[str, tuple[float, str]] = {}
        self._nodes: dict[str, NodeRow] = {}
        self._incarnations: dict[str, int] = {}
        self._settings: dict[str, str] = {}
        self._notices: list[tuple[float, Notice]] = []
        self._last_notice = 0

    def fail_with(self, error: StoreError | None) -> None:
        """From now on every operation raises this; None: the database is back."""
        self._error = error

    def open(self) -> None:
        self._reach()

    def close(self) -> None:
        pass

    @property
    def healthy(self) -> bool:
        return self._error is None

    def _reach(self) -> None:
        if self._error is not None:
            raise self._error

    # accounts

    def account(self, user: str) -> Account | None:
        self._reach()
        return self._accounts.get(user)

    def ask_account(self, user: str, then: Then[Account | None]) -> None:
        then(partial(self.account, user))

    def create_account(self, account: Account) -> bool:
        self._reach()
        if account.user in self._accounts:
            return False
        self._remove_belongings(account.user)
        self._accounts[account.user] = account
        self._sheets[account.user] = _Sheet()
        return True

    def update_account(self, account: Account) -> bool:
        self._reach()
        old = self._accounts.get(account.user)
        if old is None:
            return False
        self._accounts[account.user] = _replace(
            old, sha1=account.sha1, sha256=account.sha256, disabled=account.disabled
        )
        return True

    def remove_account(self, user: str, domain: str) -> list[str]:
        self._reach()
        jid = f"{user}@{domain}"
        holders = []
        for holder in sorted(self._sheets):
            sheet = self._sheets[holder]
            item = sheet.items.get(jid)
            if holder != user and item is not None and item.subscription != "remove":
                holders.append(holder)
                self._write(sheet, item, None)
        self._remove_belongings(user)
        self._accounts.pop(user, None)
        return holders

    def _remove_belongings(self, user: str) -> None:
        for table in (self._sheets, self._offline, self._vcards, self._activities):
            table.pop(user, None)

    def accounts(self, after: str = "", limit: int = 1000) -> list[Account]:
        self._reach()
        names = sorted(user for user in self._accounts if user > after)
        return [self._accounts[user] for user in names[:limit]]

    def count_accounts(self) -> int:
        self._reach()
        return len(self._accounts)

    def provision(
        self,
        accounts: Iterable[Account],
        rosters: Iterable[tuple[str, Roster]],
        progress: Callable[[int], None] | None = None,
    ) -> int:
        self._reach()
        count = done = 0
        for account in accounts:
            self._accounts[account.user] = account
            self._sheets.setdefault(account.user, _Sheet())
            count += 1
        for user, roster in rosters:
            done += 1
            old = self._sheets.get(user)
            if old is not None:
                versions = [roster.version, old.version + 1, *(item.version for item in roster.items)]
                items = {item.contact: item for item in roster.items}
                self._sheets[user] = _Sheet(max(versions), max(versions), items)
        if progress is not None:
            progress(count + done)
        return count

    # rosters

    def roster(self, user: str) -> Roster:
        self._reach()
        sheet = self._sheets.get(user)
        return Roster() if sheet is None else Roster(sheet.version, tuple(sheet.present()))

    def ask_roster(self, user: str, then: Then[Roster]) -> None:
        then(partial(self.roster, user))

    def roster_since(self, user: str, version: int) -> Roster | None:
        self._reach()
        sheet = self._sheets.get(user)
        if sheet is None or not sheet.floor <= version <= sheet.version:
            return None
        newer = [item for item in sheet.items.values() if item.version > version]
        return Roster(sheet.version, tuple(sorted(newer, key=lambda item: item.version)))

    def roster_versions(self, users: list[str]) -> dict[str, int]:
        self._reach()
        return {user: self._sheets[user].version for user in users if user in self._sheets}

    def change_rosters(
        self, user: str, contact: str, contact_user: str | None, change: RosterChange, max_items: int
    ) -> RosterOutcome:
        self._reach()
        sheet = self._sheets.get(user)
        if sheet is None:
            raise changes.no_such_user()
        other = self._sheets.get(contact_user) if contact_user not in (None, user) else None
        own_jid = changes.own_jid(user, contact)
        mine = _present(sheet, contact)
        theirs = None if other is None else _present(other, own_jid)
        my_new, their_new = change(mine, theirs)
        if other is None:
            their_new = None
        for side, before, after in ((sheet, mine, my_new), (other, theirs, their_new)):
            if side is None or not changes.becomes_listed(before, after):
                continue
            if sum(item.listed for item in side.present()) >= max_items:
                raise changes.too_many(max_items)
        my_new, my_version = self._write(sheet, mine, my_new)
        their_version = 0
        if other is not None:
            their_new, their_version = self._write(other, theirs, their_new)
        return RosterOutcome((mine, theirs), (my_new, their_new), my_version, their_version)

    def _write(
        self, sheet: _Sheet, before: RosterItem | None, after: RosterItem | None
    ) -> tuple[RosterItem | None, int]:
        if after == before:
            return before, 0
        sheet.version += 1
        row = changes.row_after(before, after, sheet.version)
        if row is not None:
            sheet.items[row.contact] = row
        elif before is not None:
            del sheet.items[before.contact]
        tombstones = [item for item in sheet.items.values() if item.subscription == "remove"]
        for item in sorted(tombstones, key=lambda item: item.version)[: -changes.MAX_TOMBSTONES]:
            del sheet.items[item.contact]
            sheet.floor = item.version
        return (None if after is None else row), sheet.version

    # offline messages

    def add_offline(self, rows: list[OfflineRow], limit: int) -> list[str]:
        self._reach()
        self._last_mark += 1
        return [self._add(row, limit) for row in rows]

    def _add(self, row: OfflineRow, limit: int) -> str:
        if row.user not in self._accounts:
            return "unknown"
        kept = self._offline.setdefault(row.user, {})
        if row.identity in kept:
            return "stored"
        if len(self._present(row.user)) >= limit:
            return "full"
        self._last_row += 1
        kept[row.identity] = _Kept(_replace(row, row=self._last_row), self._last_mark)
        return "stored"

    def _present(self, user: str) -> list[_Kept]:
        kept = self._offline.get(user, {}).values()
        return sorted((one for one in kept if one.deleted_at is None), key=lambda one: one.row.row)

    def take_offline(self, user: str, holder: str, live: list[str]) -> list[OfflineRow]:
        self._reach()
        taken = []
        for one in self._present(user):
            if one.row.holder not in live:
                one.row = _replace(one.row, holder=holder)
                taken.append(one.row)
        return taken

    def free_offline(self, holder: str) -> list[str]:
        self._reach()
        self._last_mark += 1
        users = set()
        for user in self._offline if holder else ():
            for one in self._present(user):
                if one.row.holder == holder:
                    one.row = _replace(one.row, holder="")
                    one.mark = self._last_mark
                    users.add(user)
        return sorted(users)

    def drop_offline(self, user: str, identities: list[bytes]) -> None:
        self._reach()
        kept = self._offline.setdefault(user, {})
        now = self._clock()
        for identity in identities:
            one = kept.get(identity)
            if one is None or one.deleted_at is None:
                kept[identity] = _Kept(OfflineRow(user, identity, b"", now), 0, now)

    def waiting_offline(self, after: int) -> tuple[int, list[str]]:
        self._reach()
        users = [
            user
            for user in sorted(self._offline)
            if any(one.row.holder == "" and one.mark >= after for one in self._present(user))
        ]
        return self._last_mark + 1, users

    def count_offline(self, user: str) -> int:
        self._reach()
        return len(self._present(user))

    def ask_offline(self, user: str, then: Then[int]) -> None:
        then(partial(self.count_offline, user))

    def sweep(self, now: float) -> None:
        self._reach()
        before = now - self._dedupe_s
        for user, kept in list(self._offline.items()):
            for identity, one in list(kept.items()):
                if one.deleted_at is not None and one.deleted_at < before:
                    del kept[identity]
            if not kept:
                del self._offline[user]
        self._notices = [
            (at, notice)
            for at, notice in self._notices
            if at >= now - _NOTICE_KEPT_S or notice.row == self._last_notice
        ]
        self._nodes = {name: row for name, row in self._nodes.items() if row.seen_at >= now - _NODE_KEPT_S}

    # small things

    def vcard(self, user: str) -> bytes | None:
        self._reach()
        return self._vcards.get(user)

    def set_vcard(self, user: str, vcard: bytes) -> None:
        self._reach()
        self._vcards[user] = vcard

    def last_activity(self, user: str) -> tuple[float, str] | None:
        self._reach()
        return self._activities.get(user)

    def set_last_activity(self, rows: list[tuple[str, float, str]]) -> None:
        self._reach()
        for user, ended_at, status in rows:
            self._activities[user] = (ended_at, status)

    # the cluster

    def beat(self, row: NodeRow) -> list[NodeRow]:
        self._reach()
        old = self._nodes.get(row.name)
        if old is None or row.incarnation >= old.incarnation:
            self._nodes[row.name] = _replace(row, beats=1 if old is None else old.beats + 1)
        return [self._nodes[name] for name in sorted(self._nodes)]

    def nodes(self) -> list[NodeRow]:
        self._reach()
        return [self._nodes[name] for name in sorted(self._nodes)]

    def claim_incarnation(self, name: str, at_least: int) -> int:
        self._reach()
        incarnation = max(self._incarnations.get(name, 0) + 1, at_least)
        self._incarnations[name] = incarnation
        return incarnation

    def settings(self) -> dict[str, str]:
        self._reach()
        return dict(sorted(self._settings.items()))

    def set_setting(self, key: str, value: str) -> None:
        self._reach()
        self._settings[key] = value

    def notices(self, after: int) -> list[Notice]:
        self._reach()
        return [notice for _, notice in self._notices if notice.row > after]

    def add_notices(self, notices: list[Notice]) -> None:
        self._reach()
        for notice in notices:
            self._last_notice += 1
            self._notices.append((self._clock(), _replace(notice, row=self._last_notice)))

    def last_notice(self) -> int:
        self._reach()
        return self._last_notice


def _present(sheet: _Sheet, contact: str) -> RosterItem | None:
    item = sheet.items.get(contact)
    return None if item is None or item.subscription == "remove" else item
