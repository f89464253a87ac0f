"""One connected resource of ours: its addresses, its presence, and the way to its client."""

from collections.abc import Callable
from typing import Protocol

from xcluster.node.intake import Intake
from xcluster.shared.jid import Jid
from xcluster.shared.stanza import Stanza, attribute


class Line(Protocol):
    """The way to a client: node/connection.py."""

    def write(self, data: bytes) -> None:
        """Send; collected and written once a loop turn."""

    def write_later(self, data: bytes) -> None:
        """Send with the next `write`, or within a moment (c2s.presence_delay_ms)."""

    def end(self, condition: str, text: str = "") -> None:
        """Close the stream with an error."""

    def hold(self) -> None:
        """Something is being waited for: keep the client's later stanzas back until `release`. Nests."""

    def release(self) -> None: ...

    @property
    def address(self) -> str: ...

    @property
    def heard_at(self) -> float: ...

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken; 0 once the connection is over."""

    @property
    def has_lost(self) -> bool:
        """Whether it was over before the kernel had taken everything."""

    @property
    def is_secure(self) -> bool: ...


class Session:
    """A session of this node. `counter` is its part of the sid; features keep their own state beside it."""

    __slots__ = (
        "bare",
        "bound_at",
        "counter",
        "farewell",
        "flags",
        "generation",
        "intake",
        "is_bound",
        "jid",
        "lang",
        "line",
        "presence",
        "priority",
        "stamp",
        "to",
        "user",
    )

    def __init__(
        self, counter: int, jid: Jid, line: Line, generation: int, now: float, lang: str | None = None
    ) -> None:
        self.counter = counter
        self.jid = jid.full
        self.bare = jid.bare
        self.user = jid.local
        self.line = line
        self.generation = generation
        self.bound_at = now
        self.stamp = attribute("from", jid.full)  # what every stanza of the client leaves with
        self.to = attribute("to", jid.bare)  # ... and what contacts' presence comes with
        self.lang = attribute("xml:lang", lang)  # ... unless the stanza has one (RFC 6120 §8.1.5)
        self.is_bound = True  # False once it has ended
        self.presence = b""  # what it broadcasts while available
        self.priority = 0
        self.farewell: Stanza | None = None  # the unavailable presence that it sent last, while unavailable
        self.flags = 0  # node/directory.py
        self.intake = Intake()

    @property
    def is_available(self) -> bool:
        return bool(self.presence)

    def send(self, data: bytes) -> None:
        """Give the client a stanza."""
        self.line.write(data)

    def tell(self, data: bytes) -> None:
        """Give the client a stanza for which nobody waits: what becomes of its contacts' presence."""
        self.line.write_later(data)


class Sessions:
    """This node's sessions, by counter and by user."""

    def __init__(self) -> None:
        self._by_counter: dict[int, Session] = {}
        self._by_user: dict[str, Session | list[Session]] = {}
        self._counter = 0
        self.get: Callable[[int], Session | None] = self._by_counter.get  # by counter

    def next_counter(self) -> int:
        self._counter += 1
        return self._counter

    def add(self, session: Session) -> None:
        self._by_counter[session.counter] = session
        entry = self._by_user.get(session.bare)
        if entry is None:
            self._by_user[session.bare] = session
        elif isinstance(entry, list):
            entry.append(session)
        else:
            self._by_user[session.bare] = [entry, session]

    def remove(self, session: Session) -> None:
        del self._by_counter[session.counter]
        entry = self._by_user[session.bare]
        if isinstance(entry, list):
            entry.remove(session)
            if len(entry) == 1:
                self._by_user[session.bare] = entry[0]
        else:
            del self._by_user[session.bare]

    def of(self, bare: str) -> list[Session]:
        """The sessions here of a bare JID."""
        entry = self._by_user.get(bare)
        if entry is None:
            return []
        return list(entry) if isinstance(entry, list) else [entry]

    def all(self) -> list[Session]:
        return list(self._by_counter.values())

    def users(self) -> list[str]:
        """Bare JIDs that have sessions here."""
        return list(self._by_user)

    def __len__(self) -> int:
        return len(self._by_counter)
