"""(I/O) Checking PLAIN passwords: a millisecond of PBKDF2 in a bounded pool, behind a cache of keyed hashes.

The cache's key includes the account's StoredKey as just read from the store, so a changed password counts
everywhere at once; what is kept of a password is a keyed hash that is of no use outside this process.
"""

import hashlib
import os
from collections import OrderedDict

from gevent.threadpool import ThreadPool

from xcluster.node.store.protocol import ScramKey
from xcluster.node.stream import scram
from xcluster.shared.errors import AuthError


class Passwords:
    """One a process."""

    def __init__(self, threads: int, queue: int, cached: int) -> None:
        self._pool = ThreadPool(max(threads, 1))
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

    def check(self, user: str, password: str, key: ScramKey, hash_name: str) -> bool:
        """Derive and compare, in a thread; raises AuthError when too many wait."""
        if self._waiting >= self._queue:
            self.counters["overfull"] += 1
            raise AuthError("temporary-auth-failure", "too many log-ins at once")
        self._waiting += 1
        try:
            self.counters["derived"] += 1
            is_right: bool = self._pool.apply(scram.matches, (password, key, hash_name))
        finally:
            self._waiting -= 1
        if is_right:
            self._good[self._mark(user, password, key)] = None
            if len(self._good) > self._cached:
                self._good.popitem(last=False)
        return is_right

    def derive(self, password: str, salt: bytes, iterations: int, hash_name: str) -> ScramKey:
        """A new key, in a thread."""
        key: ScramKey = self._pool.apply(scram.derive, (password, salt, iterations, hash_name))
        return key

    def _mark(self, user: str, password: str, key: ScramKey) -> bytes:
        text = b"\0".join((user.encode(), key.stored_key, password.encode()))
        return hashlib.blake2b(text, digest_size=16, key=self._secret).digest()
