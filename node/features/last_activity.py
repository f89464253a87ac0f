"""XEP-0012: Last Activity, of the domain and on behalf of accounts; and the record of when users left.

Queries to a full JID are the client's to answer (§4).
"""

from collections.abc import Callable

from xcluster.node.directory import Directory
from xcluster.node.hooks import ACCOUNT, OWN, Feature, Request, Xep, iq
from xcluster.node.rosters import Rosters
from xcluster.node.session import Session, Sessions
from xcluster.node.store.protocol import Store
from xcluster.node.visibility import may_see
from xcluster.shared import jid, ns
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.stanza import Stanza, escape, tree

MAX_WAITING = 10_000  # users; beyond (the store is down), those who left first are forgotten
MAX_STATUS = 1_000  # characters
_AT_ONCE = 500  # rows in one call of the store
_STATUS = f"{ns.CLIENT}}}status"


class Departures:
    """Who has left, until the store knows.

    `write` runs in a greenlet whenever `add` says that nobody was waiting; what comes while it waits for the
    store goes with its next batch. A node that stops runs it once more.
    """

    def __init__(self, store: Store) -> None:
        self.dropped = 0  # departures that were forgotten unwritten
        self._store = store
        self._is_writing = False
        self._waiting: dict[str, tuple[float, str]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, user: str, at: float, status: str) -> bool:
        """True: it is the only one."""
        self._waiting.pop(user, None)
        self._waiting[user] = at, status
        if len(self._waiting) > MAX_WAITING:
            del self._waiting[next(iter(self._waiting))]
            self.dropped += 1
        return len(self._waiting) == 1

    def get(self, user: str) -> tuple[float, str] | None:
        """As `Store.last_activity`, for somebody whose departure is not written yet."""
        return self._waiting.get(user)

    def write(self) -> None:
        """Write all there is; what the store could not take stays. Waits for the store."""
        if self._is_writing:
            return
        self._is_writing = True
        try:
            while self._waiting:
                batch = dict(list(self._waiting.items())[:_AT_ONCE])
                self._store.set_last_activity([(user, *departure) for user, departure in batch.items()])
                for user, departure in batch.items():
                    if self._waiting.get(user) is departure:  # else the user has left again meanwhile
                        del self._waiting[user]
        except StoreError:
            pass  # the store itself tells of its outage; `turned` tries again
        finally:
            self._is_writing = False


class LastActivity(Feature):
    """`spawn` runs a function in a greenlet; `clock` is monotonic, `wall` tells seconds since 1970."""

    xeps = (Xep(12, "Last Activity"),)
    server_features = (ns.LAST_ACTIVITY,)
    account_features = (ns.LAST_ACTIVITY,)

    def __init__(
        self,
        store: Store,
        departures: Departures,
        sessions: Sessions,
        directory: Directory,
        rosters: Rosters,
        spawn: Callable[[Callable[[], None]], object],
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._departures = departures
        self._sessions = sessions
        self._directory = directory
        self._rosters = rosters
        self._spawn = spawn
        self._clock = clock
        self._wall = wall
        self._started_at = clock()

    @iq("get", ns.LAST_ACTIVITY, "query")
    def uptime(self, request: Request) -> bytes:
        """How long this node has been running (§5)."""
        return _answer(self._clock() - self._started_at)

    @iq("get", ns.LAST_ACTIVITY, "query", at=(OWN,))
    def own_activity(self, request: Request) -> bytes:
        """The sender is connected, so it is 0 (§3)."""
        return _answer(0)

    @iq("get", ns.LAST_ACTIVITY, "query", at=(ACCOUNT,), waits=True)
    def activity(self, request: Request) -> bytes:
        """Since when somebody is away, for those who may see their presence (§3, §8).

        To others it is forbidden, whether the user exists or not.
        """
        if not may_see(self._rosters, request.user, request.session.bare):
            raise StanzaError("auth", "forbidden")
        if self._directory.resources(request.user):
            return _answer(0)
        user = jid.parse(request.user).local
        departure = self._departures.get(user) or self._store.last_activity(user)
        if departure is None:
            raise StanzaError("cancel", "item-not-found", "Never seen here")
        at, status = departure
        return _answer(self._wall() - at, status)

    def session_ended(self, session: Session, farewell: Stanza | None) -> None:
        """Remember when, unless the user has another session here, which will be remembered when it ends.

        One on another node is no reason: if both end at once, each would leave it to the other.
        """
        if any(other is not session for other in self._sessions.of(session.bare)):
            return
        if self._departures.add(session.user, self._wall(), _status(farewell)):
            self._spawn(self._departures.write)

    def turned(self, now: float) -> None:
        if len(self._departures):  # the store may have been down
            self._spawn(self._departures.write)


def _status(farewell: Stanza | None) -> str:
    if farewell is None or _STATUS not in farewell.children:
        return ""
    text: str | None = tree(farewell.raw).findtext("{" + _STATUS)
    return (text or "")[:MAX_STATUS]


def _answer(seconds: float, status: str = "") -> bytes:
    start = f"<query xmlns='{ns.LAST_ACTIVITY}' seconds='{max(0, int(seconds))}'"
    return (f"{start}>{escape(status)}</query>" if status else f"{start}/>").encode()
