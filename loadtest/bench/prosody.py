"""Prosody from Debian: its own configuration, data and port."""

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
from pathlib import Path

from xcluster.loadtest.bench.servers import (
    DOMAIN,
    PASSWORD,
    Passwords,
    Running,
    Setup,
    answers,
    end,
    free_port,
    make_certificate,
    wait_until,
)
from xcluster.loadtest.sightings import contacts

ITERATIONS = 4096

CONFIGURATION = """
run_as_root = true
pidfile = "{folder}/prosody.pid"
data_path = "{data}"
certificates = "{folder}"
plugin_paths = {{ }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "ping"; "offline"; "posix" }}
modules_disabled = {{ "s2s"; "c2s_limits" }}
authentication = "{authentication}"
gc = {{ mode = "{gc}" }}
allow_unencrypted_plain_auth = true
c2s_require_encryption = false
c2s_ports = {{ {port} }}
c2s_interfaces = {{ "127.0.0.1" }}
c2s_direct_tls_ports = {{ }}
network_backend = "epoll"
network_settings = {{ tcp_backlog = 1024 }}
log = {{ warn = "{folder}/prosody.log" }}
VirtualHost "{domain}"
  ssl = {{ certificate = "{certificate}"; key = "{key}" }}
"""


class Prosody:
    """One process, `gc` incremental (as shipped) or generational."""

    package = "prosody"
    tells_once = True

    def __init__(self, gc: str = "incremental") -> None:
        self.name = "prosody" if gc == "incremental" else f"prosody {gc}"
        self.about = f"{version()}, {gc} garbage collector"
        self._gc = gc
        self._process: subprocess.Popen[bytes] | None = None

    def installed(self) -> bool:
        return shutil.which("prosody") is not None

    def can(self, setup: Setup) -> bool:
        return setup.nodes == 1

    def start(self, setup: Setup, folder: Path, users: int) -> Running:
        folder = folder / setup.passwords
        folder.mkdir(parents=True, exist_ok=True)
        data = folder / f"data-{users}"
        if not data.exists():
            write_users(data, users, setup.passwords)
        certificate, key = make_certificate(folder)
        port = free_port()
        configuration = folder / "prosody.cfg.lua"
        authentication = "internal_plain" if setup.passwords == "clear" else "internal_hashed"
        text = CONFIGURATION.format(
            folder=folder, data=data, port=port, domain=DOMAIN, certificate=certificate, key=key,
            gc=self._gc, authentication=authentication,
        )  # fmt: skip
        configuration.write_text(text)
        with (folder / "bench.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["prosody", "-F", "--config", str(configuration)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        address = f"127.0.0.1:{port}"
        wait_until(lambda: answers(address), f"prosody (see {folder})", self._process)
        return Running([self._process.pid], [address], [self._process.pid])

    def stop(self) -> None:
        end(self._process)
        self._process = None


def version() -> str:
    try:
        return Path("/usr/lib/prosody/prosody.version").read_text().strip()
    except OSError:
        return "unknown version"


def write_users(data: Path, users: int, passwords: Passwords) -> None:
    """Prosody's own files: a Lua table each."""
    host = data / "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in DOMAIN)
    (host / "accounts").mkdir(parents=True)
    (host / "roster").mkdir()
    for user in range(users):
        (host / "accounts" / f"user{user}.dat").write_text(f"return {{ {_account(passwords)} }};\n")
        items = "".join(
            f'["user{contact}@{DOMAIN}"] = {{ subscription = "both"; groups = {{}}; }};\n'
            for contact in sorted(contacts(user, users))
        )
        text = f"return {{\n[false] = {{ version = 1; pending = {{}}; }};\n{items}}};\n"
        (host / "roster" / f"user{user}.dat").write_text(text)


def _account(passwords: Passwords) -> str:
    if passwords == "clear":
        return f'["password"] = "{PASSWORD}";'
    salt = base64.b64encode(os.urandom(12))
    salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), salt, ITERATIONS)
    stored = hashlib.sha1(hmac.digest(salted, b"Client Key", "sha1")).hexdigest()
    server = hmac.digest(salted, b"Server Key", "sha1").hex()
    return (
        f'["salt"] = "{salt.decode()}"; ["iteration_count"] = {ITERATIONS}; '
        f'["stored_key"] = "{stored}"; ["server_key"] = "{server}";'
    )
