"""Every exception that xcluster raises on purpose.

    XclusterError
      ConfigError            the operator can fix it; says which key and what was expected
      StanzaError            answer this stanza with an error, carry on
      StreamError            tell the client, close the stream
      AuthError              SASL failure
      BusError
        WireError            a peer sent what we can't read
        TaskTimeout          no answer within the limit
        NodeDown             the peer that should have answered is dead
      StoreError             the store could not do it (now)

What a peer did wrong is a StanzaError, StreamError or AuthError; what we did wrong is any other
exception. The loop that owns the connection or the socket catches: once, at its top.
"""


class XclusterError(Exception):
    """The root of all that xcluster raises on purpose."""


class ConfigError(XclusterError):
    """An operator's mistake: `key`, the value found there, and the mend, in one line."""

    def __init__(self, key: str, value: object, mend: str) -> None:
        super().__init__(f"{key} = {value!r}: {mend}")
        self.key = key
        self.value = value
        self.mend = mend


class StanzaError(XclusterError):
    """A stanza to be answered with an error of `type` and `condition` (RFC 6120 §8.3)."""

    def __init__(self, type: str, condition: str, text: str = "") -> None:
        super().__init__(text or condition)
        self.type = type
        self.condition = condition
        self.text = text


class StreamError(XclusterError):
    """A stream to be closed with `condition` (RFC 6120 §4.9)."""

    def __init__(self, condition: str, text: str = "") -> None:
        super().__init__(text or condition)
        self.condition = condition
        self.text = text


class AuthError(XclusterError):
    """A SASL failure with `condition` (RFC 6120 §6.5); the client may try again."""

    def __init__(self, condition: str, text: str = "") -> None:
        super().__init__(text or condition)
        self.condition = condition
        self.text = text


class BusError(XclusterError):
    """What goes wrong between processes."""


class WireError(BusError):
    """A peer sent what we can't read."""


class TaskTimeout(BusError):
    """No answer came within the limit of a synchronous task."""


class NodeDown(BusError):
    """The node that should have answered is dead or unknown."""


class StoreError(XclusterError):
    """The store could not do it now; the caller may try again."""
