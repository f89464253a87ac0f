"""(I/O) TLS of client connections: the context, and what binds SASL to it."""

import hashlib
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from xcluster.node.hooks import Xep
from xcluster.shared.errors import ConfigError

XEPS = (Xep(368, "SRV records for XMPP over TLS"),)


def context(certificate: str, key: str) -> ssl.SSLContext:
    """A server context: TLS 1.2 and later, no session tickets, ALPN for XEP-0368; raises ConfigError."""
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    result.minimum_version = ssl.TLSVersion.TLSv1_2
    result.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!MD5")
    result.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    result.num_tickets = 0  # a resumption saves nothing here, a ticket costs 20 to 80 us
    result.set_alpn_protocols(["xmpp-client"])  # XEP-0368 §4
    try:
        result.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError("tls.certificate", certificate, f"cannot be used: {error}") from error
    return result


def end_point(certificate: str) -> dict[str, bytes]:
    """The tls-server-end-point channel binding (RFC 5929 §4.1): a hash of our certificate."""
    found = x509.load_pem_x509_certificate(Path(certificate).read_bytes())
    algorithm = found.signature_hash_algorithm
    name = algorithm.name if algorithm is not None else "sha256"
    if name in ("md5", "sha1"):
        name = "sha256"
    return {"tls-server-end-point": hashlib.new(name, found.public_bytes(Encoding.DER)).digest()}
