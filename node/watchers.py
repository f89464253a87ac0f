"""Who sees whom: contact's bare JID -> sessions of this node that may see it (design.md §6).

Filled from rosters when a session becomes available, emptied when it ends. With the directory this is all it
takes to tell every client what it should see, without probes and without asking other nodes.
"""

from collections.abc import Iterable
from sys import intern

from xcluster.node.session import Session


class Watchers:
    """The index, kept compact: most contacts have one watcher here or a few."""

    def __init__(self) -> None:
        self._by_contact: dict[str, Session | list[Session]] = {}
        self._by_session: dict[int, list[str]] = {}

    def of(self, contact: str) -> list[Session]:
        """The sessions here that see this bare JID."""
        entry = self._by_contact.get(contact)
        if entry is None:
            return []
        return entry if isinstance(entry, list) else [entry]

    def contacts(self, session: Session) -> list[str]:
        """Whom a session sees."""
        return self._by_session.get(session.counter, [])

    def sees(self, session: Session, contact: str) -> bool:
        return session in self.of(contact)

    def watch(self, session: Session, contacts: Iterable[str]) -> None:
        """As `add` for each: at every log-in, for all contacts, so the usual cases come without a call."""
        index = self._by_contact
        mine = self._by_session.setdefault(session.counter, [])
        for contact in map(intern, contacts):
            if contact in index:
                self.add(session, contact)
            else:
                index[contact] = session
                mine.append(contact)

    def add(self, session: Session, contact: str) -> bool:
        """False when the session sees the contact already."""
        entry = self._by_contact.get(contact)
        if entry is None:
            self._by_contact[contact] = session
        elif isinstance(entry, list):
            if session in entry:
                return False
            entry.append(session)
        elif entry is session:
            return False
        else:
            self._by_contact[contact] = [entry, session]
        self._by_session.setdefault(session.counter, []).append(contact)
        return True

    def discard(self, session: Session, contact: str) -> bool:
        """False when the session did not see the contact."""
        if not self._discard(session, contact):
            return False
        self._by_session[session.counter].remove(contact)
        return True

    def _discard(self, session: Session, contact: str) -> bool:
        entry = self._by_contact.get(contact)
        if entry is session:
            del self._by_contact[contact]
            return True
        if isinstance(entry, list) and session in entry:
            entry.remove(session)
            if len(entry) == 1:
                self._by_contact[contact] = entry[0]
            return True
        return False

    def forget(self, session: Session) -> None:
        """The session sees nobody any more."""
        index = self._by_contact
        for contact in self._by_session.pop(session.counter, ()):
            if index[contact] is session:
                del index[contact]
            else:
                self._discard(session, contact)
