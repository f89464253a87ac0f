"""xcluster user: accounts, one at a time."""

import json
import sys
import time

import click
import msgspec

from xcluster.node.store.protocol import Account, Notice, Store
from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError, XclusterError
from xcluster.tools.accounts import close_sessions, localpart, new_account, opened
from xcluster.tools.options import config_options, json_option, resolve

_PAGE = 1000

password_option = click.option(
    "--password", help="Default: asked for, or read from standard input when that is no terminal."
)


@click.group()
def user() -> None:
    """Accounts. Changes reach a running cluster within a second."""


@user.command()
@click.argument("name", metavar="USER")
@password_option
@config_options
def add(
    name: str, password: str | None,
    data: str | None, config_file: str | None, settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Create an account.

    \b
      xcluster user add --data xcluster-data alice
      echo "$SECRET" | xcluster user add --data xcluster-data bob@example.org
    """
    config = resolve(data, config_file, settings)
    who = localpart(name, config.server.domain)
    account = new_account(who, password_given(password), config.sasl.iterations)
    with opened(config) as store:
        if not store.create_account(account):
            raise XclusterError(f"{who} exists already; `xcluster user passwd` changes the password")
    click.echo(f"added {who}@{config.server.domain}")
    return 0


@user.command()
@click.argument("name", metavar="USER")
@password_option
@config_options
def passwd(
    name: str, password: str | None,
    data: str | None, config_file: str | None, settings: tuple[str, ...],
) -> int:  # fmt: skip
    """Change a password and end the user's sessions on all nodes.

    \b
      xcluster user passwd --data xcluster-data alice
    """
    config = resolve(data, config_file, settings)
    who = localpart(name, config.server.domain)
    fresh = new_account(who, password_given(password), config.sasl.iterations)
    with opened(config) as store:
        account = existing(store, who)
        update(store, msgspec.structs.replace(account, sha1=fresh.sha1, sha256=fresh.sha256))
        close_sessions(store, who)
    click.echo(f"changed the password of {who}@{config.server.domain}")
    return 0


@user.command()
@click.argument("name", metavar="USER")
@config_options
def remove(name: str, data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """Delete an account and all that is its own; ends its sessions, leaves no roster holding it.

    \b
      xcluster user remove --data xcluster-data alice
    """
    config = resolve(data, config_file, settings)
    who = localpart(name, config.server.domain)
    with opened(config) as store:
        existing(store, who)
        contacts = store.remove_account(who, config.server.domain)
        store.add_notices([Notice("close", who), *(Notice("roster", contact) for contact in contacts)])
    click.echo(f"removed {who}@{config.server.domain}, a contact of {len(contacts)}")
    return 0


@user.command()
@click.argument("name", metavar="USER")
@config_options
def disable(name: str, data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """Refuse further log-ins and end the user's sessions on all nodes.

    \b
      xcluster user disable --data xcluster-data alice
    """
    return _set_disabled(resolve(data, config_file, settings), name, True)


@user.command()
@click.argument("name", metavar="USER")
@config_options
def enable(name: str, data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """Let a disabled user log in again.

    \b
      xcluster user enable --data xcluster-data alice
    """
    return _set_disabled(resolve(data, config_file, settings), name, False)


@user.command("list")
@json_option
@config_options
def list_users(as_json: bool, data: str | None, config_file: str | None, settings: tuple[str, ...]) -> int:
    """List accounts, by name.

    \b
      xcluster user list --data xcluster-data --json
    """
    config = resolve(data, config_file, settings)
    with opened(config) as store:
        after = ""
        while page := store.accounts(after, _PAGE):
            for account in page:
                click.echo(_line(account, as_json))
            after = page[-1].user
    return 0


def password_given(password: str | None) -> str:
    """The password of the option, of a person at the terminal, or the first line of standard input."""
    if password is None:
        if sys.stdin.isatty():
            password = str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
        else:
            password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise ConfigError("--password", "", "must not be empty")
    return password


def existing(store: Store, user: str) -> Account:
    account = store.account(user)
    if account is None:
        raise XclusterError(f"there is no user {user}")
    return account


def update(store: Store, account: Account) -> None:
    if not store.update_account(account):
        raise XclusterError(f"there is no user {account.user} any more")


def _set_disabled(config: Config, name: str, disabled: bool) -> int:
    who = localpart(name, config.server.domain)
    with opened(config) as store:
        update(store, msgspec.structs.replace(existing(store, who), disabled=disabled))
        if disabled:
            close_sessions(store, who)
    click.echo(f"{'disabled' if disabled else 'enabled'} {who}@{config.server.domain}")
    return 0


def _line(account: Account, as_json: bool) -> str:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(account.created_at))
    if as_json:
        return json.dumps({"user": account.user, "disabled": account.disabled, "created_at": created})
    return f"{account.user:<32} {'disabled' if account.disabled else 'enabled ':<8} {created}"
