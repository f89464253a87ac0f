"""XEP-0077 before log-in: strangers create accounts (§3.1), where the configuration lets them.

An address may create so many accounts an hour, on each node. node/features/registration.py answers those who
have logged in.
"""

import logging
from collections.abc import Callable
from xml.etree.ElementTree import Element

import msgspec

from xcluster.node.failures import network
from xcluster.node.store.protocol import Account, ScramKey, Store
from xcluster.shared import jid, ns
from xcluster.shared.config import Config
from xcluster.shared.errors import StanzaError, StoreError
from xcluster.shared.log import kv
from xcluster.shared.stanza import Stanza, error_reply, iq_result, tree

log = logging.getLogger(__name__)

MAX_ADDRESSES = 10_000  # remembered; beyond, the hour of the one that came first is forgotten
HOUR_S = 3600.0
TAKEN_NAMES = 10  # told for each account that is allowed: enough to find a free one, too few to harvest

Derive = Callable[[str], tuple[ScramKey, ScramKey]]
"""SHA-1 and SHA-256 keys of a password, made in a thread. Raises ValueError for an impossible one."""

FIELDS = f"{{{ns.REGISTER}}}"
_FORM = (
    f"<query xmlns='{ns.REGISTER}'><instructions>Choose a username and password.</instructions>"
    "<username/><password/></query>"
).encode()


class Allowance:
    """How often addresses did something within their hour, which begins with the first time."""

    def __init__(self) -> None:
        self._spent: dict[str, tuple[float, int]] = {}  # since when, how often

    def spend(self, address: str, limit: int, now: float) -> bool:
        """Once more; False when that is once too often."""
        key = network(address)
        since, times = self._spent.get(key, (now, 0))
        if now - since >= HOUR_S:
            del self._spent[key]
            since, times = now, 0
        if times >= limit:
            return False
        self._spent[key] = since, times + 1
        if len(self._spent) > MAX_ADDRESSES:
            del self._spent[next(iter(self._spent))]
        return True

    def give_back(self, address: str) -> None:
        """It came to nothing."""
        key = network(address)
        since, times = self._spent.get(key, (0.0, 0))
        if times > 0:
            self._spent[key] = since, times - 1


class Registrar:
    """`clock` is monotonic, `wall` tells the seconds since 1970."""

    def __init__(
        self,
        config: Config,
        domain: str,
        store: Store,
        derive: Derive,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._config = config
        self._domain = domain
        self._store = store
        self._derive = derive
        self._clock = clock
        self._wall = wall
        self._accounts = Allowance()
        self._taken_names = Allowance()

    def answer(self, stanza: Stanza, address: str) -> bytes:
        """The reply to an IQ that came before log-in from this IP address. Waits; runs in a greenlet."""
        try:
            payload = self._handle(stanza, address)
        except StanzaError as error:
            return self._refuse(stanza, error)
        except StoreError as error:
            log.warning("registration_failed", extra=kv(address=address, error=str(error)))
            return self._refuse(stanza, StanzaError("wait", "internal-server-error"))
        return iq_result(stanza, payload, from_=self._domain)

    def _handle(self, stanza: Stanza, address: str) -> bytes:
        if not self._config.registration.enabled:
            raise StanzaError("cancel", "service-unavailable")
        if stanza.type == "get":
            return _FORM
        query = tree(stanza.raw)[0]
        if query.find(FIELDS + "remove") is not None:  # §3.2: nobody has logged in here
            raise StanzaError("wait", "unexpected-request")
        self._create(*_wanted(query), address)
        return b""

    def _create(self, user: str, password: str, address: str) -> None:
        self._spend(self._accounts, address)  # before anything waits: a hundred at once are a hundred
        created = False
        try:
            created = self._store.account(user) is None and self._store.create_account(
                Account(user, *keys_of(self._derive, password), created_at=self._wall())
            )
        finally:
            if not created:
                self._accounts.give_back(address)
        if not created:
            self._spend(self._taken_names, address, TAKEN_NAMES)
            raise StanzaError("cancel", "conflict")
        log.info("account_registered", extra=kv(user=user, address=address))

    def _spend(self, allowance: Allowance, address: str, times: int = 1) -> None:
        limit = self._config.registration.per_hour * times
        if not allowance.spend(address, limit, self._clock()):
            raise StanzaError("wait", "policy-violation", "Too many accounts from your address, try later")

    def _refuse(self, stanza: Stanza, error: StanzaError) -> bytes:
        bare = msgspec.structs.replace(stanza, raw=b"<iq/>")  # §3.3: passwords are not repeated
        return error_reply(bare, error.type, error.condition, error.text, from_=self._domain)


def keys_of(derive: Derive, password: str) -> tuple[ScramKey, ScramKey]:
    """Derive, refusing what can be no password (RFC 8265 §4) as not-acceptable."""
    try:
        return derive(password)
    except ValueError:
        raise StanzaError("modify", "not-acceptable", "The password can't be used") from None


def _wanted(query: Element) -> tuple[str, str]:
    """User and password; a missing or empty field is not-acceptable (§3.1)."""
    username = query.findtext(FIELDS + "username")
    password = query.findtext(FIELDS + "password")
    if not username or not password:
        raise StanzaError("modify", "not-acceptable", "Username and password are required")
    try:
        return jid.prepare_local(username), password
    except jid.JidError as error:
        raise StanzaError("modify", "not-acceptable", f"The username can't be used: {error}") from error
