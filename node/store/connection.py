"""What the verbs may ask of a database: one connection, and what a verb is.

SQL is written once, with `?` for parameters; where the two databases differ there is a method here. The
`sql_*` modules hold the verbs, `sqlite` and `postgres` the connections, `engine` brings them together.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Literal, Protocol, TypeVar

import msgspec

from xcluster.shared.errors import StanzaError

# busy: somebody else has the lock, try again; lost: connect again; bad: this operation can't succeed
Fault = Literal["busy", "lost", "bad"]
T = TypeVar("T")


class Json(msgspec.Struct, frozen=True):
    """How a database makes JSON; {} is an expression. Rows gathered into one text come out in one step: taken one
    by one, each would hand Python's lock to the loop and want it back."""

    array: str
    gather: str  # of the rows of a group; an aggregate
    nested: str  # a text that is JSON itself
    flag: str  # an integer as a boolean


class Connection(Protocol):
    """One connection; used by one thread at a time."""

    types: dict[str, str]  # what the words in the migrations mean here
    json: Json

    def all(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]: ...

    def one(self, sql: str, *parameters: Any) -> tuple[Any, ...] | None: ...

    def run(self, sql: str, *parameters: Any) -> int:
        """Returns how many rows it changed."""

    def among(self, column: str, values: Iterable[Any]) -> tuple[str, tuple[Any, ...]]:
        """`column` is one of `values`: a condition, and its parameters."""

    def insert(
        self, table: str, columns: dict[str, str], rows: Sequence[tuple[Any, ...]], conflict: str = ""
    ) -> None:
        """Insert rows in this order. `columns`: name to PostgreSQL type; `conflict`: what to do then."""

    def bulk(self, table: str, columns: dict[str, str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many rows that conflict with none."""

    def lock_accounts(self, users: Iterable[str]) -> None:
        """Nobody else changes these users' rosters until the transaction ends; in the order of names."""

    def lock_table(self, table: str) -> None:
        """Nobody else inserts into `table` until the transaction ends, so that ids are committed in order."""

    def begin_schema(self) -> None:
        """Begin a transaction in which nobody else migrates; waits for whoever does."""

    def mark(self) -> int:
        """A number for this transaction: see `horizon`."""

    def horizon(self) -> int:
        """Every transaction with a mark below this one has ended: what it wrote is seen now, or never."""

    def begin(self) -> str:
        """Begin to write; returns a ticket for `committed`."""

    def commit(self) -> None: ...

    def rollback(self) -> None:
        """Must not raise: the connection may be gone."""

    def committed(self, ticket: str) -> bool:
        """Whether a transaction of an earlier connection, lost in its commit, was committed after all."""

    def fault(self, error: Exception) -> Fault:
        """What to do about an error that this connection raised."""

    def close(self) -> None: ...


class Verb(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """An operation on the rows: takes the arguments of several calls, returns an answer for each.

    A StanzaError among the answers is raised in its caller; the call must not have written anything.
    """

    name: str
    run: Callable[[Connection, list[Any]], list[T]]
    merges: bool = True  # all calls that are waiting at once in one go; else one after the other
    users: Callable[[Connection, Any], Iterable[str]] | None = None  # whose accounts to lock, by call


def merged(function: Callable[[Connection, list[Any]], list[T]]) -> Verb[T]:
    """A verb that does many calls with few statements."""
    return Verb(name=function.__name__, run=function)


def single(
    function: Callable[..., T], users: Callable[[Connection, Any], Iterable[str]] | None = None
) -> Verb[T]:
    """A verb that does one call at a time."""

    def run(db: Connection, calls: list[Any]) -> list[Any]:
        answers: list[Any] = []
        for call in calls:
            try:
                answers.append(function(db, *call))
            except StanzaError as error:
                answers.append(error)
        return answers

    return Verb(name=function.__name__, run=run, merges=False, users=users)
