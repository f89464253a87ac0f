"""Self-signed certificates: ECDSA P-256, for a domain that has no other yet (RFC 6120 §13.7)."""

import datetime
import fcntl
import os
from pathlib import Path

import idna
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError

CERTIFICATE_NAME = "cert.pem"
KEY_NAME = "key.pem"
DAYS = 825
_ONE_DAY = datetime.timedelta(days=1)


def self_signed(domain: str, days: int = DAYS) -> tuple[bytes, bytes]:
    """A new certificate for `domain`, and its private key, both PEM."""
    name = ascii_domain(domain)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _ONE_DAY)  # a client's clock may be slow
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def write_pair(folder: Path, domain: str, days: int = DAYS) -> tuple[Path, Path]:
    """Make a pair of files in `folder`; the key is for its owner's eyes only."""
    certificate, key = self_signed(domain, days)
    _write(folder / KEY_NAME, key, 0o600)
    _write(folder / CERTIFICATE_NAME, certificate, 0o644)
    return folder / CERTIFICATE_NAME, folder / KEY_NAME


def ensure(config: Config) -> Config:
    """Fill tls.certificate and tls.key: with what is configured, or with a self-signed pair in data_dir.

    Processes that start together on one folder make one pair between them.
    """
    if config.tls.certificate:
        return config
    folder = config.data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(folder / "certificate.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_good(folder / CERTIFICATE_NAME, folder / KEY_NAME, config.server.domain):
            write_pair(folder, config.server.domain)
    config.tls.certificate = str(folder / CERTIFICATE_NAME)
    config.tls.key = str(folder / KEY_NAME)
    return config


def is_good(certificate: Path, key: Path, domain: str) -> bool:
    """Whether both files are there, and the certificate names `domain` and lasts for another day."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    lasts = parsed.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + _ONE_DAY
    return key.is_file() and lasts and ascii_domain(domain) in names.get_values_for_type(x509.DNSName)


def ascii_domain(domain: str) -> str:
    """The domain as certificates write it: A-labels."""
    try:
        return idna.encode(domain, uts46=True).decode()
    except idna.IDNAError as error:
        raise ConfigError("server.domain", domain, f"is no domain name: {error}") from error


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(data)
    os.replace(fresh, path)
