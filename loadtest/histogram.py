"""A histogram of durations: logarithmic buckets, 2 % wide, that can be added up."""

import math

import msgspec

_GROWTH = math.log(1.02)
_SMALLEST_S = 1e-6


class Histogram(msgspec.Struct):
    """Counts of durations by bucket; what a percentile says is right within 2 %."""

    buckets: dict[int, int] = msgspec.field(default_factory=dict)
    count: int = 0
    longest_s: float = 0.0

    def add(self, seconds: float) -> None:
        bucket = round(math.log(max(seconds, _SMALLEST_S) / _SMALLEST_S) / _GROWTH)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.count += 1
        self.longest_s = max(self.longest_s, seconds)

    def merge(self, other: "Histogram") -> None:
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.count += other.count
        self.longest_s = max(self.longest_s, other.longest_s)

    def percentile(self, share: float) -> float | None:
        """The duration that `share` (0 to 1) of all do not exceed; None when there are none."""
        wanted = math.ceil(share * self.count)
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(_SMALLEST_S * math.exp(bucket * _GROWTH), self.longest_s)
        return None
