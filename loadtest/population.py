"""Who visits, who stays away, and to whom a visitor writes.

Users are `<prefix>0` .. `<prefix>N-1`. A reserved part at the end never logs in while the scenario runs:
what is written to them is kept. Each of them is written to from one node only, so that "another node" is
left to fetch it from.
"""

import random
from collections import deque

import msgspec

RECENT = 16  # of the last arrivals on a node, one is written to: they stay longest


class Visitor(msgspec.Struct, eq=False):
    """Somebody who is there or on the way."""

    user: int
    node: int
    visit: int  # number of this visit, for a resource that is never used again


class Population:
    """One process's share of the users: those whose number is `part` modulo `parts`."""

    def __init__(
        self, users: int, nodes: int, *, part: int = 0, parts: int = 1, away_share: float = 0.2,
        cross_share: float = 0.8, seed: int = 1,
    ) -> None:  # fmt: skip
        self._random = random.Random(seed * 1000 + part)
        self._nodes = nodes
        self._cross_share = cross_share
        here = range(part, users, parts)
        away = max(nodes, round(len(here) * away_share))
        if away >= len(here):
            raise ValueError(f"{users} users are too few for {nodes} nodes and {parts} processes")
        visitors = list(here[:-away])
        self._random.shuffle(visitors)  # else a visitor's contacts would be there at the same time
        self._idle = deque(visitors)
        self._away = [list(here[len(here) - away + node :: nodes]) for node in range(nodes)]
        self._there: list[dict[int, Visitor]] = [{} for _ in range(nodes)]  # by node, oldest first
        self._visits = 0
        self._next_away = [0] * nodes

    def arrive(self) -> Visitor | None:
        """The next visitor, nodes in turn; None when everybody is there already."""
        if not self._idle:
            return None
        visitor = Visitor(self._idle.popleft(), self._visits % self._nodes, self._visits)
        self._visits += 1
        return visitor

    def entered(self, visitor: Visitor) -> None:
        """From now on others may write to this visitor."""
        self._there[visitor.node][visitor.user] = visitor

    def leaving(self, visitor: Visitor) -> None:
        self._there[visitor.node].pop(visitor.user, None)

    def left(self, visitor: Visitor) -> None:
        """The visitor is gone and may come again."""
        self.leaving(visitor)
        self._idle.append(visitor.user)

    def partner(self, visitor: Visitor) -> Visitor | None:
        """Somebody who is there now, on another node for `cross_share` of the calls if there are several."""
        others = [node for node in range(self._nodes) if node != visitor.node and self._there[node]]
        here = self._recent(visitor.node, visitor.user)
        if others and (not here or self._random.random() < self._cross_share):
            return self._random.choice(self._recent(self._random.choice(others), visitor.user))
        return self._random.choice(here) if here else None

    def away_from(self, node: int) -> int:
        """The user who is away and is written to from this node; each in turn."""
        users = self._away[node]
        self._next_away[node] += 1
        return users[self._next_away[node] % len(users)]

    def there(self) -> int:
        return sum(len(visitors) for visitors in self._there)

    def _recent(self, node: int, but: int) -> list[Visitor]:
        found: list[Visitor] = []
        for user, visitor in reversed(self._there[node].items()):
            if user != but:
                found.append(visitor)
                if len(found) == RECENT:
                    break
        return found


def other_node(nodes: int, used: set[int]) -> int:
    """A node that is none of `used` where there is one."""
    first = (min(used) + 1) % nodes if used else 0
    return next((node % nodes for node in range(first, first + nodes) if node % nodes not in used), first)
