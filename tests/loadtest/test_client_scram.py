import pytest

from xcluster.loadtest import scram
from xcluster.loadtest.scram import Scram
from xcluster.shared.errors import AuthError

# RFC 5802 §5 and RFC 7677 §3.
VECTORS = [
    (
        "SCRAM-SHA-1",
        "fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    (
        "SCRAM-SHA-256",
        "rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
]


@pytest.mark.parametrize(("mechanism", "nonce", "challenge", "final", "success"), VECTORS)
def test_exchange_of_the_rfc(mechanism, nonce, challenge, final, success):
    exchange = Scram(mechanism, "user", "pencil", nonce)
    assert exchange.first() == f"n,,n=user,r={nonce}".encode()
    assert exchange.final(challenge) == final
    exchange.verify(success)
    with pytest.raises(AuthError):
        exchange.verify(b"v=AAAA" + success[6:])


@pytest.mark.parametrize(
    "challenge", [b"r=other,s=QSXCR+Q6sek8bf92,i=4096", b"r=mine,s=AAAA,i=4096", b"nonsense"]
)
def test_challenge_that_does_not_extend_our_nonce_is_refused(challenge):
    with pytest.raises(AuthError):
        Scram("SCRAM-SHA-1", "user", "pencil", "mine").final(challenge)


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256"], None, "SCRAM-SHA-256"),
        (["PLAIN", "SCRAM-SHA-1"], None, "SCRAM-SHA-1"),
        (["PLAIN", "SCRAM-SHA-1"], "PLAIN", "PLAIN"),
    ],
)
def test_best_offered_mechanism_is_chosen(offered, wanted, chosen):
    assert scram.choose(offered, wanted) == chosen


def test_no_common_mechanism_is_an_error():
    with pytest.raises(AuthError):
        scram.choose(["EXTERNAL"], None)
