"""XEP-0160: messages for people who are away, in the store (design.md §8, rows).

A message enters as a free row, by a writer that commits what has collected in one transaction. A session that
becomes available (priority not negative) takes its user's rows before anything live reaches it, portion by portion;
a row goes once the kernel has taken it for the client, and is free again when that did not happen. Rows whose
announcement was lost are found by a poll. While the store is away messages wait here, in order, within a bound.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

from xcluster.bus.messages import Delta, OfflineWaiting, Origin
from xcluster.node.directory import Directory, Record, bare
from xcluster.node.hooks import Feature, Xep, service
from xcluster.node.parcel import Parcel
from xcluster.node.session import Session, Sessions
from xcluster.node.store.protocol import OfflineRow, Store
from xcluster.shared import ns
from xcluster.shared.config import Config
from xcluster.shared.errors import StoreError
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza, with_delay

log = logging.getLogger(__name__)

BATCH = 500
PORTION_BYTES = 262_144  # of what is stored, given to a client at once; the next when the kernel has taken it
LOOK_S = 0.02  # how often that is looked for
TAKE_S = 60.0  # how long a portion may take; whoever is slower must not keep its rows in our memory
MAX_LATELY = 100_000  # users for whom a message was stored lately; beyond: only the poll finds their rows
REST_S = 0.01  # between the starts of two commits
RETRY_S = (0.1, 2.0)  # first and longest pause while the store is away
_CHAT_STATES = "http://jabber.org/protocol/chatstates}"
_THREAD = "jabber:client}thread"

Refuse = Callable[[Parcel, str, str], None]


class Offline(Feature):
    """Keeps, announces, hands over."""

    xeps = (Xep(160, "Best Practices for Handling Offline Messages"), Xep(203, "Delayed Delivery"))
    server_features = (ns.OFFLINE_FEATURE,)

    def __init__(
        self,
        config: Config,
        store: Store,
        sessions: Sessions,
        directory: Directory,
        announce: Callable[[Delta], None],
        is_behind: Callable[[], bool],
        refuse: Refuse,
        spawn: Callable[..., object],
        sleep: Callable[[float], None],
        wall: Callable[[], float],
    ) -> None:
        self._config = config
        self._store = store
        self._sessions = sessions
        self._directory = directory
        self._announce = announce
        self._is_behind = is_behind
        self._refuse = refuse
        self._spawn = spawn
        self._sleep = sleep
        self._wall = wall
        self._queue: deque[tuple[OfflineRow, Parcel | None, Callable[[], None] | None]] = deque()
        self._is_writing = False
        self._rest_until = 0.0
        self._seen = 0  # cursor of the poll
        self._poll_at = 0.0
        self._is_polling = False
        self._stored_lately: dict[str, float] = {}  # user -> when; until every node has polled since
        self.counters = {"stored": 0, "full": 0, "unknown": 0, "flushed": 0, "taken": 0}

    @property
    def waiting(self) -> int:
        """Messages that are not committed yet."""
        return len(self._queue)

    # keeping

    @service
    def keep(self, parcel: Parcel, done: Callable[[], None]) -> None:
        """Store a message; `done` when it is committed or was refused."""
        if not _is_kept(parcel.children):
            done()
            return
        if len(self._queue) >= self._config.store.queue:
            self._refuse(parcel, "wait", "resource-constraint")
            done()
            return
        self._enqueue(OfflineRow(parcel.to.local, parcel.identity, parcel.raw, self._wall()), parcel, done)

    @service
    def give_back(self, user: str, stanzas: list[tuple[bytes, bytes]]) -> None:
        """Live messages (identity, raw) that a session ended before it got."""
        for identity, raw in stanzas:
            if identity:
                self._enqueue(OfflineRow(user, identity, raw, self._wall()), None, None)

    def _enqueue(self, row: OfflineRow, parcel: Parcel | None, done: Callable[[], None] | None) -> None:
        self._queue.append((row, parcel, done))
        if not self._is_writing:
            self._is_writing = True
            self._spawn(self._run_writer)

    def _run_writer(self) -> None:
        """Commit what has collected, in order, until nothing is left; a moment apart, so that it is more."""
        pause_s = RETRY_S[0]
        while self._queue:
            rest_s = self._rest_until - self._wall()
            if rest_s > 0:
                self._sleep(min(rest_s, REST_S))  # a wall clock may jump
            self._rest_until = self._wall() + REST_S
            batch = [self._queue[index] for index in range(min(BATCH, len(self._queue)))]
            try:
                answers = self._store.add_offline(
                    [row for row, _, _ in batch], self._config.offline.max_messages
                )
            except StoreError as error:
                log.warning("offline_write_delayed", extra=kv(waiting=len(self._queue), error=error))
                self._sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S[1])
                continue
            pause_s = RETRY_S[0]
            for _ in batch:
                self._queue.popleft()
            self._settle(batch, answers)
        self._is_writing = False

    def _settle(
        self, batch: list[tuple[OfflineRow, Parcel | None, Callable[[], None] | None]], answers: list[str]
    ) -> None:
        users: dict[str, None] = {}
        for (row, parcel, done), answer in zip(batch, answers, strict=True):
            self.counters[answer] += 1
            if answer == "stored":
                users[row.user] = None
            elif parcel is not None:  # the same for "full" and "unknown": nobody learns who exists
                self._refuse(parcel, "cancel", "service-unavailable")
            if done is not None:
                done()
        now = self._wall()
        for user in users:
            if len(self._stored_lately) < MAX_LATELY:
                self._stored_lately[user] = now
            self._wake(user)

    def _wake(self, user: str) -> None:
        """The rows are there: whoever came on line meanwhile gets them."""
        records = self._directory.resources(f"{user}@{self._config.server.domain}")
        able = [record for record in records if record.presence and record.priority >= 0]
        if any(record.origin == self._directory.me for record in able):
            self._take_for(user)
        elif able or self._is_behind():  # otherwise nobody can have a session of theirs
            self._announce(OfflineWaiting(user))

    # handing over

    def presence_changed(self, session: Session, before: bytes) -> None:
        """Called before the directory hears of it: its record is what the session was until now."""
        old = self._directory.own(session.counter)
        was_able = old is not None and bool(old.presence) and old.priority >= 0
        if session.presence and session.priority >= 0 and not was_able:
            self.fetch(session)

    def record_changed(self, old: Record | None, new: Record | None, farewell: bytes) -> None:
        """Somebody comes on line elsewhere for whom a message was stored here before we knew of that."""
        if not self._stored_lately or new is None or new.origin == self._directory.me:
            return
        user = bare(new.jid).partition("@")[0]
        if new.presence and new.priority >= 0 and user in self._stored_lately:
            self._announce(OfflineWaiting(user))

    def happened(self, origin: Origin, event: Delta) -> None:
        if isinstance(event, OfflineWaiting) and origin != self._directory.me:
            self._take_for(event.user)

    def _take_for(self, user: str) -> None:
        sessions = self._sessions.of(f"{user}@{self._config.server.domain}")
        able = [session for session in sessions if session.presence and session.priority >= 0]
        if able:
            self.fetch(max(able, key=lambda session: session.priority))

    @service
    def fetch(self, session: Session) -> None:
        """What is stored goes to the session before anything that comes from now on."""
        session.intake.fetch()
        # A look first: it costs no transaction, and waits for nobody who holds the database's lock. It is made
        # when this turn is over: what is committed after it finds this session in the directory (`_wake`).
        self._store.ask_offline(session.user, partial(self._looked, session))

    def _looked(self, session: Session, count: Callable[[], int]) -> None:
        try:
            has_some = count() > 0
        except StoreError:
            has_some = True  # perhaps: `_run_fetch` asks until the store is back
        if has_some:
            self._spawn(self._run_fetch, session)
        elif session.is_bound:
            self._hand_over(session, [])

    def _run_fetch(self, session: Session) -> None:
        pause_s = RETRY_S[0]
        rows: list[OfflineRow] = []
        holder = self._holder(session)
        while session.is_bound:
            live = [str(record.sid) for record in self._directory.resources(session.bare)]
            try:
                rows = self._store.take_offline(session.user, holder, [holder, *live])
                break
            except StoreError as error:
                log.warning("offline_read_delayed", extra=kv(jid=session.jid, error=error))
                self._sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S[1])
        if not session.is_bound:
            if rows:
                self._free(holder)
            return
        if rows:
            self._run_portions(session, holder, rows)
        else:
            self._hand_over(session, [])

    def _run_portions(self, session: Session, holder: str, rows: list[OfflineRow]) -> None:
        """However much it is: a client is cut only for what it does not read, and loses nothing by that."""
        portions = list(_portions(rows))
        for number, portion in enumerate(portions, 1):
            if number < len(portions):
                session.intake.fetch()  # what is live waits on
            self._hand_over(session, portion)
            if not self._is_written(session):
                self._free(holder)
                return
            self.counters["flushed"] += len(portion)
            self._run_drop(session.user, [row.identity for row in portion])
            if not session.is_bound:
                self._free(holder)
                return

    def _is_written(self, session: Session) -> bool:
        """Wait until the kernel has taken all that the client was given, or never will; who takes too long is cut."""
        pause_s = waited_s = 0.0  # until the turn ends: usually that is it
        while session.line.unsent:
            if waited_s >= TAKE_S:
                session.line.end("connection-timeout", "stored messages were not read")
                return False
            self._sleep(pause_s)
            waited_s += pause_s
            pause_s = LOOK_S
        return not session.line.has_lost

    def _hand_over(self, session: Session, rows: list[OfflineRow]) -> None:
        domain = self._config.server.domain
        stanzas = [(row.identity, with_delay(row.stanza, domain, _stamp(row.stored_at))) for row in rows]
        for raw in session.intake.fetched(stanzas):
            session.send(raw)

    def _holder(self, session: Session) -> str:
        me = self._directory.me
        return f"{me.name}/{me.incarnation}/{session.counter}"

    def _run_drop(self, user: str, identities: list[bytes]) -> None:
        """They are written to the client: the rows go. A store that is away is asked again."""
        pause_s = RETRY_S[0]
        for _ in range(20):
            try:
                self._store.drop_offline(user, identities)
                return
            except StoreError:
                self._sleep(pause_s)
                pause_s = min(pause_s * 2, RETRY_S[1])
        log.error("offline_drop_failed", extra=kv(user=user, rows=len(identities)))

    def _free(self, holder: str) -> None:
        try:
            for user in self._store.free_offline(holder):
                self._wake(user)
        except StoreError as error:  # whoever logs in next takes them: their holder is gone
            log.warning("offline_free_failed", extra=kv(holder=holder, error=error))

    def session_ended(self, session: Session, farewell: Stanza | None) -> None:
        held = session.intake.give_up()
        if held:
            self.give_back(session.user, held)

    # the poll

    def turned(self, now: float) -> None:
        if self._stored_lately:
            since = self._wall() - self._config.offline.poll_s
            self._stored_lately = {user: at for user, at in self._stored_lately.items() if at >= since}
        if now >= self._poll_at and not self._is_polling:
            self._poll_at = now + self._config.offline.poll_s
            self._is_polling = True
            self._spawn(self._run_poll)

    def _run_poll(self) -> None:
        try:
            self._seen, users = self._store.waiting_offline(self._seen)
            for user in users:
                self._take_for(user)
        except StoreError as error:
            log.debug("offline_poll_failed", extra=kv(error=error))
        finally:
            self._is_polling = False


def _portions(rows: list[OfflineRow]) -> Iterator[list[OfflineRow]]:
    """Some rows in order, each portion of at most PORTION_BYTES, or one row."""
    portion: list[OfflineRow] = []
    size = 0
    for row in rows:
        if portion and size + len(row.stanza) > PORTION_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(row)
        size += len(row.stanza)
    yield portion


def _is_kept(children: tuple[str, ...]) -> bool:
    """Nobody wants to read tomorrow that somebody was typing today (XEP-0160 §3)."""
    if not children:
        return True
    return not all(child.startswith(_CHAT_STATES) or child == _THREAD for child in children)


def _stamp(at: float) -> str:
    """XEP-0082."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
