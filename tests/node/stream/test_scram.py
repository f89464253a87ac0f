"""SCRAM, server side: the vectors of RFC 5802 §5 and RFC 7677 §3, and what must fail."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping

import pytest

from xcluster.node.store.protocol import Account, ScramKey
from xcluster.node.stream import scram
from xcluster.shared.errors import AuthError

SHA1_SALT = b64decode("QSXCR+Q6sek8bf92")
SHA256_SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
VECTORS = [
    (
        "sha1",
        SHA1_SALT,
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "3rfcNHYJY1ZVvWVs7j",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        "sha256",
        SHA256_SALT,
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]
CHANNEL = {"tls-server-end-point": b"certificate hash"}
KEY = scram.derive("pencil", SHA256_SALT, 4096, "sha256")


def server(plus: bool = False, binding: Mapping[str, bytes] | None = None) -> scram.ScramServer:
    return scram.ScramServer("sha256", "example.com", plus, binding or {}, "SERVER")


def proof(first_bare: str, server_first: bytes, without_proof: str, password: str = "pencil") -> bytes:
    """What a client that knows the password sends last."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), SHA256_SALT, 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    auth_message = f"{first_bare},{server_first.decode()},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), auth_message, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{without_proof},p={b64encode(proof).decode()}".encode()


def log_in(
    header: str, plus: bool, binding: Mapping[str, bytes], channel: bytes = b"", password: str = "pencil"
) -> bytes:
    exchange = server(plus, binding)
    exchange.first(f"{header}n=user,r=CLIENT".encode())
    server_first = exchange.challenge(KEY)
    bound = b64encode(header.encode() + channel).decode()
    final = f"c={bound},r=CLIENTSERVER"
    return exchange.final(proof("n=user,r=CLIENT", server_first, final, password))


@pytest.mark.parametrize("vector", VECTORS, ids=["sha1", "sha256"])
def test_vectors(vector: tuple[str, bytes, bytes, str, bytes, bytes, bytes]) -> None:
    hash_name, salt, client_first, nonce, server_first, client_final, server_final = vector
    key = scram.derive("pencil", salt, 4096, hash_name)
    exchange = scram.ScramServer(hash_name, "example.com", False, {}, nonce)
    assert exchange.first(client_first) == "user"
    assert exchange.challenge(key) == server_first
    assert exchange.final(client_final) == server_final


@pytest.mark.parametrize("vector", VECTORS, ids=["sha1", "sha256"])
def test_wrong_password(vector: tuple[str, bytes, bytes, str, bytes, bytes, bytes]) -> None:
    hash_name, salt, client_first, nonce, _, client_final, _ = vector
    exchange = scram.ScramServer(hash_name, "example.com", False, {}, nonce)
    exchange.first(client_first)
    exchange.challenge(scram.derive("pencils", salt, 4096, hash_name))
    with pytest.raises(AuthError) as caught:
        exchange.final(client_final)
    assert caught.value.condition == "not-authorized"


@pytest.mark.parametrize(
    ("header", "plus", "binding", "channel"),
    [
        ("n,,", False, {}, b""),
        ("y,,", False, {}, b""),
        ("n,,", False, CHANNEL, b""),
        ("p=tls-server-end-point,,", True, CHANNEL, b"certificate hash"),
        ("n,a=user@example.com,", False, {}, b""),
    ],
)
def test_channel_bindings_that_fit(
    header: str, plus: bool, binding: Mapping[str, bytes], channel: bytes
) -> None:
    assert log_in(header, plus, binding, channel).startswith(b"v=")


@pytest.mark.parametrize(
    ("header", "plus", "binding", "channel", "condition"),
    [
        ("y,,", False, CHANNEL, b"", "not-authorized"),  # somebody took our -PLUS away
        ("n,,", True, CHANNEL, b"", "malformed-request"),
        ("p=tls-server-end-point,,", False, CHANNEL, b"certificate hash", "malformed-request"),
        ("p=tls-unique,,", True, CHANNEL, b"certificate hash", "malformed-request"),
        ("p=tls-server-end-point,,", True, CHANNEL, b"another hash", "not-authorized"),
        ("p=tls-server-end-point,,", True, CHANNEL, b"", "not-authorized"),
        ("p=,,", True, CHANNEL, b"", "malformed-request"),
        ("x,,", False, {}, b"", "malformed-request"),
        ("n,a=admin@example.com,", False, {}, b"", "invalid-authzid"),
        ("n,a=user@example.com/r,", False, {}, b"", "invalid-authzid"),
        ("n,a=@,", False, {}, b"", "invalid-authzid"),
        ("n,user,", False, {}, b"", "malformed-request"),
    ],
)
def test_channel_bindings_that_do_not_fit(
    header: str, plus: bool, binding: Mapping[str, bytes], channel: bytes, condition: str
) -> None:
    with pytest.raises(AuthError) as caught:
        log_in(header, plus, binding, channel)
    assert caught.value.condition == condition


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (b"", "malformed-request"),
        (b"n", "malformed-request"),
        (b"n,,", "malformed-request"),
        (b"n,,n=user", "malformed-request"),
        (b"n,,r=a,n=user", "malformed-request"),
        (b"n,,m=ext,n=user,r=a", "malformed-request"),
        (b"n,,n=user,m=ext,r=a", "malformed-request"),
        (b"n,,n=user,r=", "malformed-request"),
        (b"n,,n=user,r=\xc3\xa9", "malformed-request"),
        (b"n,,n=user,r=a b", "malformed-request"),
        (b"n,,n=,r=a", "malformed-request"),
        (b"n,,n=us=er,r=a", "malformed-request"),
        (b"n,,n=us=2cer,r=a", "malformed-request"),
        (b"n,,n=\xff,r=a", "malformed-request"),
        (b"n,,n=us er,r=a", "not-authorized"),
        (b"n,,n=us=2Cer@,r=a", "not-authorized"),
    ],
)
def test_first_messages_that_are_refused(message: bytes, condition: str) -> None:
    with pytest.raises(AuthError) as caught:
        server().first(message)
    assert caught.value.condition == condition


@pytest.mark.parametrize(
    ("name", "user"), [(b"User", "user"), (b"a=3Db=2Cc", "a=b,c"), ("\u03a3".encode(), "\u03c3")]
)
def test_user_is_unescaped_and_prepared(name: bytes, user: str) -> None:
    assert server().first(b"n,,n=" + name + b",r=a,future=extension") == user


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (b"", "malformed-request"),
        (b"c=biws,r=CLIENTSERVER", "malformed-request"),
        (b"c=biws,p=AAAA", "malformed-request"),
        (b"r=CLIENTSERVER,c=biws,p=AAAA", "malformed-request"),
        (b"c=*,r=CLIENTSERVER,p=" + b64encode(bytes(32)), "malformed-request"),
        (b"c=biws,r=CLIENTSERVER,p=*", "malformed-request"),
        (b"c=biws,r=CLIENTSERVER,p=" + b64encode(bytes(31)), "malformed-request"),
        (b"c=biws,r=CLIENTSERVER,p=" + b64encode(bytes(32)), "not-authorized"),
        (b"c=biws,r=CLIENTSERVER\xff,p=" + b64encode(bytes(32)), "malformed-request"),
        (
            proof("n=user,r=CLIENT", b"r=CLIENTSERVER,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "c=biws,r=OTHER"),
            None,
        ),
    ],
)
def test_final_messages_that_are_refused(message: bytes, condition: str | None) -> None:
    exchange = server()
    exchange.first(b"n,,n=user,r=CLIENT")
    exchange.challenge(KEY)
    with pytest.raises(AuthError) as caught:
        exchange.final(message)
    assert caught.value.condition == (condition or "not-authorized")


def test_nobody_looks_like_somebody() -> None:
    somebody = server()
    somebody.first(b"n,,n=user,r=a")
    nobody = server()
    nobody.first(b"n,,n=nobody,r=a")
    key = scram.nobodys_key("nobody", b"secret", 4096, "sha256")
    assert len(nobody.challenge(key)) == len(somebody.challenge(KEY))
    assert key == scram.nobodys_key("nobody", b"secret", 4096, "sha256")
    others = {
        scram.nobodys_key("nobody", b"secret", 4096, "sha1").salt,
        scram.nobodys_key("noone", b"secret", 4096, "sha256").salt,
        scram.nobodys_key("nobody", b"other", 4096, "sha256").salt,
    }
    assert len({key.salt, *others}) == 4
    assert len(key.salt) == scram.SALT_BYTES
    assert not scram.matches("pencil", key, "sha256")


def test_matches() -> None:
    assert scram.matches("pencil", KEY, "sha256")
    assert not scram.matches("Pencil", KEY, "sha256")
    assert not scram.matches("pen\x00cil", KEY, "sha256")
    assert not scram.matches("", KEY, "sha256")


def test_key_of_account() -> None:
    sha1 = ScramKey(b"1", 4096, b"", b"")
    account = Account("user", sha1, KEY)
    assert scram.key_of(account, "sha1") is sha1
    assert scram.key_of(account, "sha256") is KEY


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("pencil", "pencil"),
        ("a b", "a b"),
        ("e\u0301", "\xe9"),
        ("\u00a0", " "),
        ("Correct \u265a", "Correct \u265a"),
    ],
)
def test_password_is_prepared(password: str, prepared: str) -> None:
    assert scram.prepare_password(password) == prepared


@pytest.mark.parametrize("password", ["", "\x00", "a\n", "\x7f", "\u200bx\x01"])
def test_password_is_refused(password: str) -> None:
    with pytest.raises(ValueError):
        scram.derive(password, b"salt", 1, "sha1")
