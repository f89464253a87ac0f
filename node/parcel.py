"""A stanza between the session that sent it and those that get it."""

import msgspec

from xcluster.shared.jid import Jid


class Parcel(msgspec.Struct, gc=False, eq=False):
    """A stanza on its way to sessions of one bare JID."""

    sender: int  # counter of the session that sent it; 0: this server
    from_: str
    to: Jid
    kind: str
    type: str | None
    identity: bytes
    raw: bytes  # stamped: ready for the recipient's stream
    children: tuple[str, ...] = ()  # names of its child elements
    order: int = 0  # among the stanzas of this node
    since: float = 0.0  # when it was submitted
    hopes: int = 0  # targets that may still take it
    delayed: bool = False  # it may have been delivered before, elsewhere
