"""What each session was told of its contacts' presence, against what it should have been told."""

from collections import Counter

import msgspec

RING = 15  # contacts on either side, as `xcluster provision` makes them


def contacts(user: int, users: int, reach: int = RING) -> set[int]:
    """A user's ring neighbours."""
    return {(user + step) % users for step in range(-reach, reach + 1)} - {user}


class Verdict(msgspec.Struct):
    """How what was seen differs from what should have been seen."""

    expected: int = 0
    missing: int = 0  # never told
    repeated: int = 0  # told again without a change
    strange: int = 0  # told of somebody who is no contact, or was not there
    examples: list[str] = msgspec.field(default_factory=list)

    @property
    def faults(self) -> int:
        return self.missing + self.repeated + self.strange

    def fault(self, kind: str, count: int, text: str) -> None:
        if count:
            setattr(self, kind, getattr(self, kind) + count)
            if len(self.examples) < 20:
                self.examples.append(f"{kind}: {text}")

    def merge(self, other: "Verdict") -> None:
        for name in ("expected", "missing", "repeated", "strange"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.examples = (self.examples + other.examples)[:20]


class Sightings:
    """Everything that was seen in one phase: (who, whom) by how often."""

    def __init__(self) -> None:
        self._seen: dict[int, Counter[int]] = {}

    def saw(self, user: int, contact: int) -> None:
        self._seen.setdefault(user, Counter())[contact] += 1

    def complete(self, expected: dict[int, set[int]]) -> bool:
        """Whether everybody has been told of everyone expected (perhaps of more)."""
        return all(whom <= self._seen.get(user, Counter()).keys() for user, whom in expected.items())

    def missing(self, expected: dict[int, set[int]]) -> int:
        return sum(len(whom - self._seen.get(user, Counter()).keys()) for user, whom in expected.items())

    def judge(self, expected: dict[int, set[int]], what: str) -> Verdict:
        """Compare with who should have been told of whom, each once."""
        verdict = Verdict(expected=sum(map(len, expected.values())))
        for user, whom in expected.items():
            seen = self._seen.get(user, Counter())
            for contact in sorted(whom | seen.keys()):
                text = f"user {user} was told {seen[contact]} times that {contact} is {what}"
                if contact not in whom:
                    verdict.fault("strange", seen[contact], text)
                elif not seen[contact]:
                    verdict.fault("missing", 1, text)
                else:
                    verdict.fault("repeated", seen[contact] - 1, text)
        return verdict
