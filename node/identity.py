"""What a message is known by in every copy, row and archive (XEP-0359; design.md §8, identity).

An identity is given where a message enters: the origin that took it, and a number that grows. So two identities
of one origin also tell which message came first.
"""

from functools import lru_cache

from xcluster.bus.messages import Origin

NUMBER = 8  # bytes, big-endian


@lru_cache(maxsize=8)  # it is asked for with every message, and changes with the incarnation
def prefix(origin: Origin) -> bytes:
    """What all identities given by an incarnation begin with."""
    return f"{origin.name}/{origin.incarnation}/".encode()


def make(prefix: bytes, number: int) -> bytes:
    return prefix + number.to_bytes(NUMBER, "big")


def is_before(one: bytes, other: bytes) -> bool:
    """Whether both were given by one origin, `one` first."""
    return one < other and len(one) == len(other) and one[:-NUMBER] == other[:-NUMBER]


def text(identity: bytes) -> str:
    """For <stanza-id id=''/> and logs."""
    return f"{identity[:-NUMBER].decode()}{int.from_bytes(identity[-NUMBER:], 'big')}"
