"""ejabberd from Debian, one Erlang node or several: its own configuration, database folder and ports (I/O).

Started without ejabberdctl, which changes the user; users come in as XEP-0227. Nodes find each other without
epmd: each has its own loopback address, all the same port. A listen queue longer than its own of 5 takes
bursts of log-ins without lost SYNs. Two settings make it cheaper than as shipped, so these are what it is
compared with (`shipped` leaves them out): schedulers that sleep instead of spinning when there is nothing to
do, and the tables that it keeps on disc only (rosters, offline messages) also in RAM.
"""

import os
import secrets
import shutil
import subprocess
import time
from functools import partial
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

IMPORT_S = 900.0
STOP_S = 20.0
NO_SPINNING = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]

CONFIGURATION = """
hosts: ["{domain}"]
loglevel: warning
certfiles: ["{certificate}", "{key}"]
auth_method: internal
auth_password_format: {passwords}
default_db: mnesia
listen:
  - {{port: {port}, ip: "127.0.0.1", module: ejabberd_c2s, starttls: true, backlog: 1024}}
acl: {{local: {{user_regexp: ""}}}}
access_rules: {{local: {{allow: local}}}}
modules:
  mod_roster: {{versioning: true}}
  mod_offline: {{}}
  mod_disco: {{}}
  mod_ping: {{}}
  mod_last: {{}}
"""

IMPORT = """
OnDisc = [Table || Table <- mnesia:system_info(tables),
                   mnesia:table_info(Table, storage_type) =:= disc_only_copies],
Keep = fun(Kind) -> [{{atomic, ok}} = mnesia:change_table_copy_type(Table, node(), Kind) || Table <- OnDisc,
                     mnesia:table_info(Table, storage_type) =/= Kind] end,
Keep(disc_copies),
ok = ejabberd_piefxis:import_file("{file}"),
Keep({kind}),
ok = file:write_file("{done}", ""), init:stop().
"""
JOIN = 'ok = ejabberd_cluster:join(\'{first}\'), ok = file:write_file("{done}", "").'


class Ejabberd:
    """Erlang nodes, joined in one cluster; each started from the users' database as it was at first."""

    package = "ejabberd"
    tells_once = False  # a probe and the broadcast cross

    def __init__(self, *, shipped: bool = False) -> None:
        self.name = "ejabberd shipped" if shipped else "ejabberd"
        self.about = (
            f"{version()}, {'as shipped' if shipped else 'no busy waiting (+sbwt none), tables in RAM'}"
        )
        self._shipped = shipped
        self._processes: list[subprocess.Popen[bytes]] = []
        self._cookie = secrets.token_hex(16)
        self._port = 0  # of each node, for the others

    def installed(self) -> bool:
        return shutil.which("erl") is not None and _libraries() is not None

    def can(self, setup: Setup) -> bool:
        return True

    def start(self, setup: Setup, folder: Path, users: int) -> Running:
        folder = folder / setup.passwords
        folder.mkdir(parents=True, exist_ok=True)
        self._port = free_port()
        provisioned = folder / f"database-{users}"
        if not provisioned.exists():
            self._provision(setup, folder, users, provisioned)
        addresses = []
        for index in range(setup.nodes):
            own = folder / f"node{index}"
            shutil.rmtree(own, ignore_errors=True)
            own.mkdir()
            if index == 0:
                shutil.copytree(provisioned, own / "database")
            joined = own / "joined"
            join = JOIN.format(first=_name(0), done=joined)
            port = free_port()
            process = self._launch(setup, own, index, port, join if index else None)
            addresses.append(f"127.0.0.1:{port}")
            wait_until(
                partial(_is_up, addresses[-1], joined if index else own), f"ejabberd (see {own})", process
            )
        roots = [process.pid for process in self._processes]
        return Running(roots, addresses, roots)

    def _launch(
        self, setup: Setup, folder: Path, index: int, port: int, then: str | None
    ) -> "subprocess.Popen[bytes]":
        """A node; `then` is what it evaluates when ejabberd has started."""
        certificate, key = make_certificate(folder)
        configuration = folder / "ejabberd.yml"
        passwords = "plain" if setup.passwords == "clear" else "scram"
        configuration.write_text(
            CONFIGURATION.format(
                domain=DOMAIN, certificate=certificate, key=key, port=port, passwords=passwords
            )
        )
        environment = os.environ | {
            "ERL_LIBS": str(_libraries()), "EJABBERD_CONFIG_PATH": str(configuration), "HOME": str(folder),
            "ERL_MAX_PORTS": "32000", "EJABBERD_LOG_PATH": str(folder / "ejabberd.log"),
            "ERL_CRASH_DUMP_BYTES": "0",
        }  # fmt: skip
        command = [
            "erl", "+K", "true", "+P", "250000", *([] if self._shipped else NO_SPINNING), "-noinput",
            "-name", _name(index), "-setcookie", self._cookie, "-start_epmd", "false",
            "-erl_epmd_port", str(self._port),
            "-kernel", "inet_dist_use_interface", f"{{127,0,0,{index + 1}}}",
            "-mnesia", "dir", f'"{folder / "database"}"', "-s", "ejabberd",
        ]  # fmt: skip
        if then is not None:
            command += ["-eval", then]
        with (folder / "bench.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder
            )
        self._processes.append(process)
        return process

    def _provision(self, setup: Setup, folder: Path, users: int, database: Path) -> None:
        """The database that every start begins with."""
        own, file = folder / "import", folder / "users.xml"
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir()
        write_users(file, users)
        done = own / "done"
        text = IMPORT.format(
            file=file, done=done, kind="disc_only_copies" if self._shipped else "disc_copies"
        )
        process = self._launch(setup, own, 0, free_port(), text)
        until = time.monotonic() + IMPORT_S
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        self.stop()
        if not done.exists():
            raise BenchError(f"ejabberd did not take its users (see {own})")
        (own / "database").rename(database)
        shutil.rmtree(own)

    def stop(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            end(process, limit_s=STOP_S)
        self._processes = []


def _is_up(address: str, mark: Path) -> bool:
    return mark.exists() and answers(address)


def _name(index: int) -> str:
    return f"bench{index}@127.0.0.{index + 1}"


def version() -> str:
    found = (path.name.partition("-")[2] for path in Path("/usr/lib").glob("*/ejabberd-*"))
    return min(found, default="not installed")


def _libraries() -> Path | None:
    """The folder that holds ejabberd's own applications."""
    return next((found.parent for found in Path("/usr/lib").glob("*/ejabberd-*")), None)


def write_users(file: Path, users: int) -> None:
    """XEP-0227: Portable Import/Export Format."""
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
