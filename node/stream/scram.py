"""SCRAM-SHA-1 and SCRAM-SHA-256, server side (RFC 5802, RFC 7677), with -PLUS, and the keys it needs.

With stored keys an exchange takes microseconds. Somebody unknown gets the same messages at the same cost
as somebody known: the salt comes from a secret and the name, and the proof is checked against nonsense.
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping

from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from precis_i18n import get_profile

from xcluster.node.store.protocol import Account, ScramKey
from xcluster.shared import jid
from xcluster.shared.errors import AuthError

SALT_BYTES = 16  # of every account, and of nobody's
HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
_PBKDF2 = {"sha1": SHA1, "sha256": SHA256}

_NONCE = re.compile(r"[!-+\--~]+")  # printable ASCII but the comma
_ESCAPED = re.compile(r"(?:[^=,\0]|=2C|=3D)+")
_opaque = get_profile("OpaqueString")


def prepare_password(password: str) -> str:
    """PRECIS OpaqueString (RFC 8265 §4). Raises ValueError."""
    if password.isascii() and password.isprintable() and password:
        return password
    prepared: str = _opaque.enforce(password)
    return prepared


def derive(password: str, salt: bytes, iterations: int, hash_name: str) -> ScramKey:
    """The key to keep of a password: most of a millisecond, without the GIL. Raises ValueError for a bad one."""
    # cryptography brings an OpenSSL of its own whose PBKDF2 takes half as long as that of the system's 3.0.
    hash = _PBKDF2[hash_name]()
    rounds = PBKDF2HMAC(hash, hash.digest_size, salt, iterations)
    salted = rounds.derive(prepare_password(password).encode())
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    return ScramKey(
        salt,
        iterations,
        hashlib.new(hash_name, client_key).digest(),
        hmac.digest(salted, b"Server Key", hash_name),
    )


def matches(password: str, key: ScramKey, hash_name: str) -> bool:
    """Whether this is the password of that key; takes as long as `derive`."""
    try:
        stored_key = derive(password, key.salt, key.iterations, hash_name).stored_key
    except ValueError:
        return False
    return hmac.compare_digest(stored_key, key.stored_key)


def key_of(account: Account, hash_name: str) -> ScramKey:
    return account.sha1 if hash_name == "sha1" else account.sha256


def nobodys_key(user: str, secret: bytes, iterations: int, hash_name: str) -> ScramKey:
    """A key that no password has, the same each time somebody tries this name."""
    noise = hmac.digest(secret, f"{hash_name} {user}".encode(), "sha512")
    size = hashlib.new(hash_name).digest_size
    return ScramKey(noise[:SALT_BYTES], iterations, noise[-size:], noise[-size:])


def check_authzid(authzid: str, user: str, domain: str) -> None:
    """Nobody may act for somebody else (RFC 6120 §6.3.8)."""
    try:
        allowed = not authzid or jid.parse(authzid).full == f"{user}@{domain}"
    except jid.JidError:
        allowed = False
    if not allowed:
        raise AuthError("invalid-authzid")


def prepare_user(name: str) -> str:
    try:
        return jid.prepare_local(name)
    except jid.JidError:
        raise AuthError("not-authorized") from None


class ScramServer:
    """One exchange: `first`, then `challenge` with the key to use, then `final`. All raise AuthError.

    `binding` has the channel bindings of this connection by name (RFC 5056); `plus` when the client chose a
    mechanism that needs one.
    """

    def __init__(
        self, hash_name: str, domain: str, plus: bool, binding: Mapping[str, bytes], nonce: str
    ) -> None:
        self.hash_name = hash_name
        self._domain = domain
        self._plus = plus
        self._binding = binding
        self._nonce = nonce
        self._bound = b""  # what the client must repeat: its GS2 header and the channel binding
        self._first = ""
        self._server_first = ""
        self._key: ScramKey | None = None

    def first(self, message: bytes) -> str:
        """Read the client's first message; the prepared user name."""
        text = _text(message)
        flag, _, rest = text.partition(",")
        authzid, _, bare = rest.partition(",")
        header = f"{flag},{authzid},".encode()
        self._bound = header + self._channel_binding(flag)
        self._first = bare
        fields = bare.split(",")
        if len(fields) < 2 or fields[0][:2] != "n=" or fields[1][:2] != "r=":
            raise AuthError("malformed-request")  # also where an extension is mandatory (m=)
        if not _NONCE.fullmatch(fields[1], 2):
            raise AuthError("malformed-request")
        self._nonce = fields[1][2:] + self._nonce
        user = prepare_user(_unescape(fields[0][2:]))
        if authzid:
            if authzid[:2] != "a=":
                raise AuthError("malformed-request")
            check_authzid(_unescape(authzid[2:]), user, self._domain)
        return user

    @property
    def challenged(self) -> bool:
        return self._key is not None

    def challenge(self, key: ScramKey) -> bytes:
        """The server's first message."""
        self._key = key
        salt = b64encode(key.salt).decode()
        self._server_first = f"r={self._nonce},s={salt},i={key.iterations}"
        return self._server_first.encode()

    def final(self, message: bytes) -> bytes:
        """Check the client's final message; the server's."""
        key = self._key
        assert key is not None, "challenge comes first"
        without_proof, comma, proof_text = _text(message).rpartition(",p=")
        fields = without_proof.split(",")
        if not comma or len(fields) < 2 or fields[0][:2] != "c=" or fields[1][:2] != "r=":
            raise AuthError("malformed-request")
        bound = _base64(fields[0][2:])
        proof = _base64(proof_text)
        if len(proof) != len(key.stored_key):
            raise AuthError("malformed-request")
        auth_message = f"{self._first},{self._server_first},{without_proof}".encode()
        signature = hmac.digest(key.stored_key, auth_message, self.hash_name)
        client_key = int.from_bytes(proof, "big") ^ int.from_bytes(signature, "big")
        stored_key = hashlib.new(self.hash_name, client_key.to_bytes(len(proof), "big")).digest()
        proven = hmac.compare_digest(stored_key, key.stored_key)
        same_nonce = hmac.compare_digest(fields[1][2:].encode(), self._nonce.encode())
        same_channel = hmac.compare_digest(bound, self._bound)
        if not (proven and same_nonce and same_channel):
            raise AuthError("not-authorized")
        return b"v=" + b64encode(hmac.digest(key.server_key, auth_message, self.hash_name))

    def _channel_binding(self, flag: str) -> bytes:
        """The data that goes with the flag of a GS2 header (RFC 5802 §6)."""
        if flag[:2] == "p=":
            if not self._plus or flag[2:] not in self._binding:
                raise AuthError("malformed-request")
            return self._binding[flag[2:]]
        if flag not in ("n", "y") or self._plus:
            raise AuthError("malformed-request")
        if flag == "y" and self._binding:
            raise AuthError("not-authorized")  # somebody has hidden our -PLUS mechanisms from the client
        return b""


def _text(message: bytes) -> str:
    try:
        return message.decode()
    except UnicodeDecodeError:
        raise AuthError("malformed-request") from None


def _unescape(name: str) -> str:
    if not _ESCAPED.fullmatch(name):
        raise AuthError("malformed-request")
    return name.replace("=2C", ",").replace("=3D", "=")


def _base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise AuthError("malformed-request") from None
