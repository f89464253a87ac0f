"""How many bytes objects take, from samples of them.

As with a process's proportional set size, what several places refer to is divided among them: a string with n
references counts 1/n in each. So the kinds of node/admin/memory.py may share strings and still add up, as long
as all places are looked at. Of a container with more than `SAMPLE` entries only `SAMPLE` are looked at and stand
for all (of one within another `INNER`): chosen at random from both ends. To walk over a table, even without
looking, means to touch each of its objects: 50 ms with 19,000 sessions.
"""

import gc
import random
import sys
from array import array
from collections import deque
from collections.abc import Collection, Mapping, Reversible
from itertools import chain, islice
from types import MethodType
from typing import Any

import msgspec

SAMPLE = 64  # entries of one container that are looked at
INNER = 8
WINDOW = 512  # entries at each end of a container from which they are chosen
MAX_DEPTH = 12
SHARED = 8  # an object of ours in more places than this is not its finder's own: it is divided as well
_OURS = "xcluster."
_CONTAINERS = (dict, list, tuple, set, frozenset, deque)
_LEAVES = (str, bytes, bytearray, int, float, array, type(None))
_GRAIN, _SMALL, _HEAD = 16, 512, 16  # CPython's small blocks and their limit; what malloc adds to larger ones
_INSPECTING = 5  # references to an object that are ours while `add` looks at it


class Weights:
    """Bytes and objects by kind, collected while walking from what is given to `add`.

    `homes`: types that belong to a kind wherever they are found; None: counted by somebody else, not here.
    `hidden`: bytes of a type's instances that Python does not know of, such as those of a C library."""

    def __init__(self, homes: Mapping[type, str | None], hidden: Mapping[type, int]) -> None:
        self.bytes: dict[str, float] = {}
        self.counts: dict[str, float] = {}
        self._homes = homes
        self._hidden = hidden

    def add(self, kind: str, found: Any, share: float = 1.0, depth: int = 0) -> None:
        """Count an object and what it leads to, `share` times."""
        cls = type(found)
        if isinstance(found, _LEAVES):
            self._count(kind, taken(found) * share / _references(found))
        elif isinstance(found, _CONTAINERS):
            share /= _references(found)  # on its own: as an argument `found` would count once more
            self._container(kind, found, share, depth)
        elif cls in self._homes:
            home = self._homes[cls]
            if home is not None:
                self.counts[home] = self.counts.get(home, 0.0) + share
                self.whole(home, found, share, depth)
        elif is_one_of_many(cls):
            references = _references(found)
            self.whole(kind, found, share / references if references > SHARED else share, depth)
        elif not _is_landmark(found):
            self._count(kind, taken(found) * share)

    def whole(self, kind: str, found: Any, share: float = 1.0, depth: int = 0) -> None:
        """Count this object as the kind's own, whatever its type, and what it leads to."""
        self._count(kind, (taken(found) + self._hidden.get(type(found), 0)) * share)
        if depth < MAX_DEPTH:
            for part in _parts(found):
                self.add(kind, part, share, depth + 1)

    def sampled(self, kind: str, found: Collection[Any]) -> None:
        """Count each of these as the kind's own; few of them are looked at."""
        self.counts[kind] = self.counts.get(kind, 0.0) + len(found)
        chosen = sample(found)
        for one in chosen:
            self.whole(kind, one, len(found) / len(chosen))

    def tables(self, kinds: Mapping[str, str], kind: str, holder: Any) -> None:
        """Count the containers that an object keeps in its attributes; `kinds`: other kinds, by attribute."""
        for name, table in vars(holder).items():
            if isinstance(table, _CONTAINERS) and not isinstance(table, tuple):
                own = kinds.get(name, kind)
                self._container(own, table, 1.0, 0)
                self.counts[own] = max(self.counts.get(own, 0.0), len(table))

    def known(self, kind: str, count: int, size: float) -> None:
        """Count what somebody else has counted."""
        self.counts[kind] = self.counts.get(kind, 0.0) + count
        self._count(kind, size)

    def _count(self, kind: str, size: float) -> None:
        self.bytes[kind] = self.bytes.get(kind, 0.0) + size

    def _container(self, kind: str, found: Any, share: float, depth: int) -> None:
        self._count(kind, taken(found) * share)
        if depth >= MAX_DEPTH or not found:
            return
        most = INNER if depth else SAMPLE
        if isinstance(found, dict):
            entries = [part for entry in sample(found.items(), most) for part in entry]
            share *= len(found) / (len(entries) / 2)
        else:
            entries = sample(found, most)
            share *= len(found) / len(entries)
        for entry in entries:
            self.add(kind, entry, share, depth + 1)


def sample(found: Collection[Any], most: int = SAMPLE) -> list[Any]:
    """Up to `most` of them. At random: what comes in turns would fall into step with even distances."""
    if isinstance(found, list):
        return random.sample(found, min(most, len(found)))
    if len(found) <= 2 * WINDOW:
        entries = list(found)
    elif isinstance(found, Reversible):
        entries = list(chain(islice(found, WINDOW), islice(reversed(found), WINDOW)))
    else:
        entries = list(islice(found, 2 * WINDOW))
    return random.sample(entries, min(most, len(entries)))


def taken(found: Any) -> int:
    """The bytes that an object itself takes from the allocator."""
    size = sys.getsizeof(found)
    return (size if size <= _SMALL else size + _HEAD) + _GRAIN - 1 & -_GRAIN


def is_one_of_many(cls: type) -> bool:
    """Whether instances are followed: by our convention what there are many of has slots, or is a Struct."""
    return cls.__module__.startswith(_OURS) and not cls.__dictoffset__


def _is_landmark(found: Any) -> bool:
    """Modules, types, functions, and the parts of a node: there is one of each."""
    return not isinstance(found, MethodType) and (callable(found) or hasattr(found, "__dict__"))


def _parts(found: Any) -> list[Any]:
    if isinstance(found, msgspec.Struct):
        return [getattr(found, name) for name in found.__struct_fields__]
    return gc.get_referents(found)


def _references(found: Any) -> int:
    return max(1, sys.getrefcount(found) - _INSPECTING)
