"""Do all nodes have the same rows? Answered from the rows themselves, not from what digests claim.

Nodes are compared while they work, so positions differ from moment to moment: what differs is looked at again
until it agrees or has differed for long enough that it can't be traffic.
"""

from collections.abc import Callable, Iterator
from typing import Any

from xcluster.bus.messages import Origin
from xcluster.bus.replication import row_hash
from xcluster.node.directory import Directory
from xcluster.node.exchange import Exchange
from xcluster.shared.errors import BusError

ROUNDS = 15
PAUSE_S = 0.1

Ask = Callable[[Origin, str, Any], Any]
Digests = dict[str, dict[str, str]]  # origin -> table -> recomputed digest, in hexadecimal


class Verify:
    """Asks every node, compares."""

    def __init__(self, exchange: Exchange, ask: Ask, sleep: Callable[[float], None]) -> None:
        self._exchange = exchange
        self._ask = ask
        self._sleep = sleep

    def digests(self, argument: Any = None) -> Digests:
        """What this node's rows give, for every origin it knows."""
        directory = self._exchange.directory
        origins = [self._exchange.me, *self._exchange.mesh.replicas]
        return {
            str(origin): {"sessions": f"{directory.recomputed_digest(origin):016x}"} for origin in origins
        }

    def rows(self, argument: Any) -> dict[str, list[str]]:
        """This node's rows of an origin: key -> [name, hash]."""
        origin = _origin(argument)
        return dict(_rows(self._exchange.directory, origin))

    def run(self) -> dict[str, Any]:
        """{"equal", "nodes", "differences": [{node, origin, table, key, have, want}], "errors"}."""
        errors: dict[str, str] = {}
        odd: list[tuple[Origin, Origin]] = []
        for _ in range(ROUNDS):
            errors.clear()
            odd = self._compare(errors)
            if not odd and not errors:
                break
            self._sleep(PAUSE_S)
        differences: list[dict[str, Any]] = []
        for node, origin in odd:
            try:
                differences += self._difference(node, origin)
            except BusError as error:
                errors[str(node)] = str(error)
        return {
            "equal": not odd and not errors,
            "nodes": [str(origin) for origin in self._nodes()],
            "differences": differences,
            "errors": errors,
        }

    def _nodes(self) -> list[Origin]:
        return sorted([self._exchange.me, *self._exchange.mesh.replicas])

    def _compare(self, errors: dict[str, str]) -> list[tuple[Origin, Origin]]:
        """(node, origin) pairs in which the node's rows are not what the origin itself has."""
        found: dict[Origin, Digests] = {}
        for node in self._nodes():
            try:
                found[node] = self._ask(node, "digests", None)
            except BusError as error:
                errors[str(node)] = str(error)
        odd = []
        for node, digests in found.items():
            if strangers := digests.keys() - map(str, self._nodes()):
                errors[str(node)] = f"holds sessions of {', '.join(sorted(strangers))}, a node unknown here"
            for origin, own in found.items():
                # Of a node that was reborn meanwhile there is neither.
                if digests.get(str(origin), "") != own.get(str(origin)):
                    odd.append((node, origin))
        return odd

    def _difference(self, node: Origin, origin: Origin) -> Iterator[dict[str, Any]]:
        have = self._ask(node, "rows", list(origin))
        want = self._ask(origin, "rows", list(origin))
        for key in sorted(have.keys() | want.keys()):
            if have.get(key) != want.get(key):
                name, hash_ = want.get(key) or have[key]
                yield {
                    "node": str(node),
                    "origin": str(origin),
                    "table": "sessions",
                    "key": name,
                    "have": have.get(key, ["", ""])[1] or None,
                    "want": hash_ if key in want else None,
                }


def _rows(directory: Directory, origin: Origin) -> Iterator[tuple[str, list[str]]]:
    for record in directory.of(origin):
        yield str(record.counter), [record.jid, f"{row_hash(record.row()):016x}"]


def _origin(argument: Any) -> Origin:
    name, incarnation = argument
    return Origin(str(name), int(incarnation))
