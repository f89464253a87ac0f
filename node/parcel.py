"""A stanza between the session that sent it and those that get it."""

from xcluster.shared.jid import Jid


class Parcel:
    """A stanza on its way to sessions of one bare JID."""

    __slots__ = (
        "children",
        "delayed",
        "from_",
        "hopes",
        "identity",
        "kind",
        "order",
        "raw",
        "sender",
        "since",
        "to",
        "type",
    )

    def __init__(
        self,
        sender: int,
        from_: str,
        to: Jid,
        kind: str,
        type: str | None,
        identity: bytes,
        raw: bytes,
        children: tuple[str, ...] = (),
    ) -> None:
        self.sender = sender  # counter of the session that sent it; 0: this server
        self.from_ = from_
        self.to = to
        self.kind = kind
        self.type = type
        self.identity = identity
        self.raw = raw  # stamped: ready for the recipient's stream
        self.children = children  # names of its child elements
        self.order = 0  # among the stanzas of this node
        self.since = 0.0  # when it was submitted
        self.hopes = 0  # targets that may still take it
        self.delayed = False  # it may have been delivered before, elsewhere
