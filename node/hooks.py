"""The extension manual: what a feature can be told and asked.

A feature is a subclass of `Feature`, one module each in node/features, listed there in order. It overrides the
hooks that it needs, marks its IQ handlers with `@iq`, names what it adds to disco, and gets what it uses through
its constructor. A public method that is neither a hook nor marked (`@iq`, `@service`) is refused when the class
is defined, so that a misspelt hook can't go unnoticed. Hooks run in the loop and must not wait; a handler marked
`waits=True` runs in a greenlet and may call the store; one marked `later=True` answers by a callback, which costs
no greenlet.
"""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec

from xcluster.bus.messages import Delta, Origin
from xcluster.node.directory import Record
from xcluster.node.session import Session
from xcluster.shared import stanza as stanzas
from xcluster.shared.stanza import Stanza

SERVER = "server"  # addressed to the domain
OWN = "own"  # without `to`, or to the sender's own bare JID
ACCOUNT = "account"  # to another user's bare JID

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class Xep(NamedTuple):
    """What a feature implements, for the table in the README."""

    number: int
    name: str


class IqHandler(NamedTuple):
    """How a method marked with `@iq` is called."""

    type: str
    name: str  # namespace}localname of the payload
    at: tuple[str, ...]
    waits: bool
    later: bool


class Request(msgspec.Struct, gc=False):
    """An IQ get or set to be answered: by the payload that the handler returns, or the StanzaError it raises."""

    session: Session
    stanza: Stanza
    at: str  # SERVER, OWN or ACCOUNT
    user: str  # bare JID it is addressed to; the sender's own for OWN, "" for SERVER

    @property
    def payload(self) -> Any:
        """The request's one child, as an ElementTree element."""
        return stanzas.tree(self.stanza.raw)[0]


# Takes what makes the payload, or raises StanzaError or StoreError, when it is called.
Reply = Callable[[Callable[[], bytes]], None]


def iq(
    type: str,
    namespace: str,
    element: str,
    at: tuple[str, ...] = (SERVER,),
    *,
    waits: bool = False,
    later: bool = False,
) -> Callable[[_Handler], _Handler]:
    """Mark a method as the handler of IQs of this type whose payload is this element.

    `waits`: it runs in a greenlet. `later`: it gets a `Reply` besides the request, and calls it once."""

    def mark(handler: _Handler) -> _Handler:
        marks = getattr(handler, "iq_handlers", ())
        handler.iq_handlers = (*marks, IqHandler(type, f"{namespace}}}{element}", at, waits, later))  # type: ignore[attr-defined]
        return handler

    return mark


def service(method: _Handler) -> _Handler:
    """Mark a public method that other parts of the node call by name: no hook, and no misspelt one."""
    method.is_service = True  # type: ignore[attr-defined]
    return method


class Identity(NamedTuple):
    """An identity in disco#info (XEP-0030 §3.1)."""

    category: str
    type: str
    name: str = ""


class Feature:
    """No-op hooks: override what you need."""

    xeps: ClassVar[tuple[Xep, ...]] = ()
    server_features: ClassVar[tuple[str, ...]] = ()  # in disco#info of the domain
    account_features: ClassVar[tuple[str, ...]] = ()  # in disco#info of a bare JID
    account_identities: ClassVar[tuple[Identity, ...]] = ()

    def stream_features(self) -> bytes:
        """What to offer in stream features after log-in."""
        return b""

    def session_bound(self, session: Session) -> None:
        """A client of ours has bound its resource."""

    def session_ended(self, session: Session, farewell: Stanza | None) -> None:
        """A session of ours is over; `farewell` is the unavailable presence it sent, if it did."""

    def presence_changed(self, session: Session, before: bytes) -> None:
        """A session of ours has become available, changed its presence, or become unavailable."""

    def record_changed(self, old: Record | None, new: Record | None, farewell: bytes) -> None:
        """What a full JID resolves to has changed anywhere in the cluster (node/directory.py)."""

    def happened(self, origin: Origin, event: Delta) -> None:
        """An event came from a node, perhaps this one (bus/messages.py)."""

    def missed(self, origin: Origin) -> None:
        """Events of an origin may have been missed: drop what they would have invalidated."""

    def turned(self, now: float) -> None:
        """About a second has passed."""

    def __init_subclass__(cls) -> None:
        for name, member in vars(cls).items():
            marked = hasattr(member, "iq_handlers") or hasattr(member, "is_service")
            if callable(member) and not (name.startswith("_") or name in _HOOKS or marked):
                raise TypeError(
                    f"{cls.__name__}.{name} is no hook of Feature; name it _{name} if it is private"
                )


_HOOKS = frozenset(name for name in vars(Feature) if not name.startswith("_"))
