"""ejabberd from Debian: its own configuration, database folder and ports.

Started without ejabberdctl, which changes the user and wants a node name; users come in as XEP-0227.
"""

import json
import os
import shutil
import subprocess
import urllib.request
from pathlib import Path

from xcluster.loadtest.bench.generator import BenchError
from xcluster.loadtest.bench.servers import (
    DOMAIN,
    PASSWORD,
    Running,
    Setup,
    answers,
    end,
    free_port,
    make_certificate,
    wait_until,
)
from xcluster.loadtest.sightings import contacts

IMPORT_S = 600.0

CONFIGURATION = """
hosts: ["{domain}"]
loglevel: warning
certfiles: ["{certificate}", "{key}"]
auth_method: internal
auth_password_format: {passwords}
default_db: mnesia
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, starttls: true, max_stanza_size: 262144}}
  - {{port: {api}, ip: "127.0.0.1", module: ejabberd_http, request_handlers: {{"/api": mod_http_api}}}}
api_permissions:
  "bench": {{who: {{ip: "127.0.0.1/8"}}, what: ["import_piefxis", "status"]}}
acl: {{local: {{user_regexp: ""}}}}
access_rules: {{local: {{allow: local}}}}
modules:
  mod_http_api: {{}}
  mod_roster: {{versioning: true}}
  mod_offline: {{}}
  mod_disco: {{}}
  mod_ping: {{}}
  mod_last: {{}}
"""


class Ejabberd:
    """One Erlang node."""

    name = "ejabberd"
    tells_once = False  # a probe and the broadcast cross

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def installed(self) -> bool:
        return shutil.which("erl") is not None and _libraries() is not None

    def can(self, setup: Setup) -> bool:
        return setup.nodes == 1

    def start(self, setup: Setup, folder: Path, users: int) -> Running:
        folder = folder / setup.passwords
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = make_certificate(folder)
        port, api = free_port(), free_port()
        configuration = folder / "ejabberd.yml"
        passwords = "plain" if setup.passwords == "clear" else "scram"
        configuration.write_text(
            CONFIGURATION.format(
                domain=DOMAIN, certificate=certificate, key=key, port=port, api=api, passwords=passwords
            )
        )
        environment = os.environ | {
            "ERL_LIBS": str(_libraries()), "EJABBERD_CONFIG_PATH": str(configuration),
            "ERL_MAX_PORTS": "32000", "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"), "HOME": str(folder),
        }  # fmt: skip
        with (folder / "bench.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["erl", "+K", "true", "+P", "250000", "-noinput", "-mnesia", "dir",
                 f'"{folder / "database"}"', "-s", "ejabberd"],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        address = f"127.0.0.1:{port}"
        wait_until(
            lambda: answers(address) and answers(f"127.0.0.1:{api}"),
            f"ejabberd (see {folder})",
            self._process,
        )
        provisioned = folder / f"provisioned-{users}"
        if not provisioned.exists():
            _import_users(api, folder, users)
            provisioned.touch()
        return Running(self._process.pid, [address], [self._process.pid])

    def stop(self) -> None:
        end(self._process)
        self._process = None


def _libraries() -> Path | None:
    """The folder that holds ejabberd's own applications."""
    return next((found.parent for found in Path("/usr/lib").glob("*/ejabberd-*")), None)


def _import_users(api: int, folder: Path, users: int) -> None:
    file = folder / "users.xml"
    with file.open("w") as out:
        out.write(f"<server-data xmlns='urn:xmpp:pie:0'><host jid='{DOMAIN}'>")
        for user in range(users):
            items = "".join(
                f"<item jid='user{contact}@{DOMAIN}' subscription='both'/>"
                for contact in sorted(contacts(user, users))
            )
            out.write(
                f"<user name='user{user}' password='{PASSWORD}'>"
                f"<query xmlns='jabber:iq:roster'>{items}</query></user>"
            )
        out.write("</host></server-data>")
    request = urllib.request.Request(
        f"http://127.0.0.1:{api}/api/import_piefxis",
        json.dumps({"file": str(file)}).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=IMPORT_S) as answer:
            answer.read()
    except OSError as error:
        raise BenchError(f"ejabberd did not take its users: {error}") from error
