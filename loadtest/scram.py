"""The client's half of SASL: PLAIN (RFC 4616), SCRAM-SHA-1 and SCRAM-SHA-256 (RFC 5802, RFC 7677).

Without channel binding; names and passwords are plain ASCII here, so that SASLprep changes nothing.
"""

import base64
import hashlib
import hmac
from functools import lru_cache

from xcluster.shared.errors import AuthError

MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")  # the one we like best first
_HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


def choose(offered: list[str], wanted: str | None = None) -> str:
    """The mechanism to use; raises AuthError when there is none."""
    for mechanism in (wanted,) if wanted else MECHANISMS:
        if mechanism in offered:
            return mechanism
    raise AuthError("invalid-mechanism", f"offered: {', '.join(offered) or 'none'}")


def plain(user: str, password: str) -> bytes:
    return f"\0{user}\0{password}".encode()


@lru_cache(maxsize=65_536)
def _salted(hash_name: str, password: str, salt: bytes, iterations: int) -> bytes:
    # Salts stay the same from log-in to log-in; a second one of the same user costs nothing here.
    return hashlib.pbkdf2_hmac(hash_name, password.encode(), salt, iterations)


class Scram:
    """One authentication: `first`, then `final` of the challenge, then `verify` of the success."""

    def __init__(self, mechanism: str, user: str, password: str, nonce: str) -> None:
        self._hash = _HASHES[mechanism]
        self._password = password
        self._nonce = nonce
        escaped = user.replace("=", "=3D").replace(",", "=2C")
        self._first_bare = f"n={escaped},r={nonce}"
        self._server_signature = b""

    def first(self) -> bytes:
        return b"n,," + self._first_bare.encode()

    def final(self, challenge: bytes) -> bytes:
        """The client-final-message; raises AuthError when the challenge is none of SCRAM."""
        fields = _fields(challenge)
        try:
            nonce, salt, iterations = fields["r"], base64.b64decode(fields["s"]), int(fields["i"])
        except (KeyError, ValueError) as error:
            raise AuthError("malformed-request", f"challenge {challenge!r}") from error
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise AuthError("malformed-request", "the server's nonce does not extend ours")
        salted = _salted(self._hash, self._password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", self._hash)
        stored_key = hashlib.new(self._hash, client_key).digest()
        without_proof = f"c=biws,r={nonce}"
        message = f"{self._first_bare},{challenge.decode()},{without_proof}".encode()
        signature = hmac.digest(stored_key, message, self._hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        server_key = hmac.digest(salted, b"Server Key", self._hash)
        self._server_signature = hmac.digest(server_key, message, self._hash)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, success: bytes) -> None:
        """Check that the server knows the password too; raises AuthError."""
        try:
            told = base64.b64decode(_fields(success).get("v", ""))
        except ValueError as error:
            raise AuthError("malformed-request", f"success {success!r}") from error
        if not hmac.compare_digest(told, self._server_signature):
            raise AuthError("not-authorized", "the server's signature is wrong")


def _fields(message: bytes) -> dict[str, str]:
    return {part[:1]: part[2:] for part in message.decode().split(",") if part[1:2] == "="}
