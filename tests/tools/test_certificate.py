"""Self-signed certificates."""

import ssl
import stat
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from xcluster.shared.config import load
from xcluster.shared.errors import ConfigError
from xcluster.tools.certificate import ensure, is_good, self_signed, write_pair
from xcluster.tools.main import run


@pytest.mark.parametrize(
    ("domain", "named"),
    [("example.org", "example.org"), ("localhost", "localhost"), ("bücher.example", "xn--bcher-kva.example")],
)
def test_certificate_names_the_domain(domain, named):
    certificate = x509.load_pem_x509_certificate(self_signed(domain)[0])
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [named]
    assert isinstance(certificate.public_key().curve, ec.SECP256R1)


def test_pair_can_be_loaded_and_the_key_is_private(tmp_path):
    certificate, key = write_pair(tmp_path / "new", "example.org")
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_client_that_trusts_it_accepts_the_domain_and_no_other(tmp_path):
    certificate, key = write_pair(tmp_path, "example.org")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    shake(client, server, "example.org")
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(client, server, "elsewhere.example")


def shake(client, server, name):
    """A TLS handshake in memory."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(down, up, server_hostname=name), server.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


@pytest.mark.parametrize(
    ("domain", "days", "expected"),
    [("example.org", 30, True), ("elsewhere.example", 30, False), ("example.org", 1, False)],
)
def test_certificate_is_good_for_its_domain_while_it_lasts(tmp_path, domain, days, expected):
    certificate, key = write_pair(tmp_path, "example.org", days)
    assert is_good(certificate, key, domain) is expected


def test_pair_without_key_is_not_good(tmp_path):
    certificate, key = write_pair(tmp_path, "example.org")
    key.unlink()
    assert not is_good(certificate, key, "example.org")


ENSURE = """
import pathlib, sys
from xcluster.shared.config import load
from xcluster.tools.certificate import ensure
config = ensure(load(None, ["server.data_dir=" + sys.argv[1], "server.domain=example.org"]))
print(pathlib.Path(config.tls.certificate).read_text())
"""


def test_processes_that_start_together_make_one_certificate(tmp_path):
    command = [sys.executable, "-P", "-c", ENSURE, str(tmp_path / "data")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(4)]
    seen = {process.communicate(timeout=60)[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert len(seen) == 1
    assert is_good(tmp_path / "data" / "cert.pem", tmp_path / "data" / "key.pem", "example.org")


def test_configured_certificate_is_left_alone(tmp_path):
    config = load(None, [f"server.data_dir={tmp_path}/data", "tls.certificate=a.pem", "tls.key=b.pem"])
    assert ensure(config).tls.certificate == "a.pem"
    assert not (tmp_path / "data").exists()


def test_command_makes_a_pair_and_replaces_it_only_by_force(tmp_path, capsys):
    command = ["cert", "generate", "--domain", "example.org", "--out", str(tmp_path / "tls")]
    assert run(command) == 0
    assert str(tmp_path / "tls" / "cert.pem") in capsys.readouterr().out
    first = (tmp_path / "tls" / "cert.pem").read_bytes()
    assert run(command) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert run([*command, "--force"]) == 0
    assert (tmp_path / "tls" / "cert.pem").read_bytes() != first


def test_name_that_is_no_domain_is_refused():
    with pytest.raises(ConfigError, match="is no domain name"):
        self_signed("a b..example")
