"""Failed log-ins per account and per address, counted on every node alike (events LoginFailed)."""

import ipaddress
from collections import OrderedDict

MAX_KEYS = 100_000  # accounts and addresses remembered; beyond: the oldest is forgotten


class Failures:
    """Failures by key, within a window that begins with the first of them."""

    def __init__(self, limit: int, window_s: float) -> None:
        self.limit = limit
        self.window_s = window_s
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, key: str, now: float) -> None:
        """One more failure of an account or an address."""
        since, count = self._counts.pop(key, (now, 0))
        if now - since > self.window_s:
            since, count = now, 0
        self._counts[key] = since, count + 1
        if len(self._counts) > MAX_KEYS:
            self._counts.popitem(last=False)

    def is_over(self, key: str, now: float) -> bool:
        """Whether the key has failed too often to be let try again."""
        since, count = self._counts.get(key, (now, 0))
        return 0 < self.limit <= count and now - since <= self.window_s

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)


def network(address: str) -> str:
    """Who counts as one: an IPv4 address, an IPv6 /64, which is what one customer gets at least."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
