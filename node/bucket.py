"""Token buckets: a client may send so much a second, and a burst (design.md, limits)."""

from xcluster.shared.config import Limits


class Bucket:
    """One client's stanzas and bytes. Over the limit it is slowed, never killed."""

    __slots__ = ("_at", "_bytes", "_limits", "_stanzas")

    def __init__(self, limits: Limits, now: float) -> None:
        self._limits = limits
        self._at = now
        self._stanzas = float(limits.stanzas_burst)
        self._bytes = float(limits.bytes_burst)

    def spend(self, size: int, stanzas: int, now: float) -> float:
        """Take what has come; returns for how many seconds to stop reading (0.0: go on)."""
        limits = self._limits
        passed = now - self._at
        self._at = now
        self._stanzas = min(self._stanzas + passed * limits.stanzas_per_s, limits.stanzas_burst) - stanzas
        self._bytes = min(self._bytes + passed * limits.bytes_per_s, limits.bytes_burst) - size
        if self._stanzas >= 0 and self._bytes >= 0:
            return 0.0
        return max(
            -self._stanzas / max(limits.stanzas_per_s, 0.1), -self._bytes / max(limits.bytes_per_s, 1.0)
        )
