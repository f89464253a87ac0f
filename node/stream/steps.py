"""What a negotiation wants done by whoever owns the connection.

After LookUp, Derive and Bind the owner holds further elements back until it has called the continuation.
"""

from typing import TypeAlias

import msgspec

from xcluster.node.store.protocol import ScramKey
from xcluster.shared.stanza import Stanza


class Reply(msgspec.Struct, frozen=True, gc=False):
    """Write `data`."""

    data: bytes


class Close(msgspec.Struct, frozen=True, gc=False):
    """Write `data`, which ends the stream, and close the connection."""

    data: bytes


class StartTls(msgspec.Struct, frozen=True, gc=False):
    """Write `data`, do the handshake, call `secured`, restart the framer. Bytes that came early end it."""

    data: bytes


class LookUp(msgspec.Struct, frozen=True, gc=False):
    """Load the account of `user` and call `looked_up`, or `refused`."""

    user: str


class Derive(msgspec.Struct, frozen=True, gc=False):
    """Compare the password with the key (`scram.matches`, a millisecond), call `derived`, or `refused`."""

    user: str
    password: str
    key: ScramKey
    hash_name: str


class Authenticated(msgspec.Struct, frozen=True, gc=False):
    """Write `data` and restart the framer. `user` has logged in."""

    data: bytes
    user: str


class Failed(msgspec.Struct, frozen=True, gc=False):
    """A log-in has failed. Write `data`; close if `close`. `user` is "" where none was named."""

    data: bytes
    user: str
    condition: str
    attempts: int
    close: bool


class Register(msgspec.Struct, frozen=True, gc=False):
    """Answer this in-band registration (XEP-0077) of somebody who has not logged in."""

    stanza: Stanza


class Bind(msgspec.Struct, frozen=True, gc=False):
    """Bind the prepared resource, "" for one of the server's choice; call `bound` or `bind_refused`."""

    resource: str


Step: TypeAlias = Reply | Close | StartTls | LookUp | Derive | Authenticated | Failed | Register | Bind
