"""Stream errors (RFC 6120 §4.9) and SASL failures (§6.5) as bytes."""

from xcluster.shared import ns
from xcluster.shared.stanza import escape


def stream_error(
    condition: str, text: str = "", *, content: str = "", detail: str = "", header: bytes = b""
) -> bytes:
    """The error and the end of the stream.

    `content` is what <see-other-host/> says; `detail` an element of the application's (§4.9.4); `header` is the
    response stream header, where none was sent yet.
    """
    error = f"<{condition} xmlns='{ns.STREAM_ERRORS}'>{escape(content)}</{condition}>{detail}"
    if text:
        error += f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>{escape(text)}</text>"
    return header + f"<stream:error>{error}</stream:error></stream:stream>".encode()


def sasl_failure(condition: str, text: str = "") -> bytes:
    """The failure of one SASL exchange."""
    note = f"<text xml:lang='en'>{escape(text)}</text>" if text else ""
    return f"<failure xmlns='{ns.SASL}'><{condition}/>{note}</failure>".encode()
