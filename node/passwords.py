"""(I/O) Checking PLAIN passwords: a millisecond of PBKDF2 in a bounded pool, behind a cache of keyed hashes.

The cache's key includes the account's StoredKey as just read from the store, so a changed password counts
everywhere at once; what is kept of a password is a keyed hash that is of no use outside this process.
"""

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from gevent.event import AsyncResult

from xcluster.node.pool import Pool
from xcluster.node.store.protocol import ScramKey, Then
from xcluster.node.stream import scram
from xcluster.shared.errors import AuthError


class Passwords:
    """One a process."""

    def __init__(self, threads: int, queue: int, cached: int) -> None:
        self._pool = Pool(max(threads, 1))
        self._queue = queue
        self._waiting = 0
        self._cached = cached
        self._secret = os.urandom(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self.counters = {"cached": 0, "derived": 0, "overfull": 0}

    def known(self, user: str, password: str, key: ScramKey) -> bool:
        """Whether this very password was right for this very key before; never waits."""
        mark = self._mark(user, password, key)
        if mark not in self._good:
            return False
        self._good.move_to_end(mark)
        self.counters["cached"] += 1
        return True

    def check(self, user: str, password: str, key: ScramKey, hash_name: str, then: Then[bool]) -> None:
        """Derive and compare, in a thread; at once an AuthError when too many wait."""
        if self._waiting >= self._queue:
            self.counters["overfull"] += 1
            then(_refuse)
            return
        self._waiting += 1
        self.counters["derived"] += 1
        mark = self._mark(user, password, key)
        self._pool.do(partial(scram.matches, password, key, hash_name), partial(self._checked, mark, then))

    def _checked(self, mark: bytes, then: Then[bool], answer: Callable[[], bool]) -> None:
        self._waiting -= 1
        then(partial(self._remembered, mark, answer))

    def _remembered(self, mark: bytes, answer: Callable[[], bool]) -> bool:
        is_right = answer()
        if is_right:
            self._good[mark] = None
            if len(self._good) > self._cached:
                self._good.popitem(last=False)
        return is_right

    def derive(self, password: str, salt: bytes, iterations: int, hash_name: str) -> ScramKey:
        """A new key, in a thread; the greenlet waits. Raises ValueError for a bad password."""
        answer: AsyncResult[Callable[[], ScramKey]] = AsyncResult()
        self._pool.do(partial(scram.derive, password, salt, iterations, hash_name), answer.set)
        key: ScramKey = answer.get()()
        return key

    def _mark(self, user: str, password: str, key: ScramKey) -> bytes:
        text = b"\0".join((user.encode(), key.stored_key, password.encode()))
        return hashlib.blake2b(text, digest_size=16, key=self._secret).digest()


def _refuse() -> bool:
    raise AuthError("temporary-auth-failure", "too many log-ins at once")
