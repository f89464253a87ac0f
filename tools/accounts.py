"""The store, opened for a command; accounts and keys as commands make them."""

import contextlib
import os
import time
from collections.abc import Iterator

from xcluster.node.store.protocol import Account, Notice, Store
from xcluster.node.store.stores import open_store
from xcluster.node.stream.scram import SALT_BYTES, derive
from xcluster.shared.config import Config
from xcluster.shared.errors import ConfigError
from xcluster.shared.jid import JidError, parse


@contextlib.contextmanager
def opened(config: Config) -> Iterator[Store]:
    """The cluster's store, for the time of a command."""
    if not config.store.url:
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    store = open_store(config)
    try:
        yield store
    finally:
        store.close()


def localpart(name: str, domain: str) -> str:
    """The prepared localpart of a user given as `alice` or `alice@domain`; raises ConfigError."""
    try:
        jid = parse(name if "@" in name else f"{name}@{domain}")
    except JidError as error:
        raise ConfigError("USER", name, f"is no user name: {error}") from error
    if not jid.local or jid.resource:
        raise ConfigError("USER", name, "write a user name or a bare JID")
    if jid.domain != parse(domain).domain:
        raise ConfigError("USER", name, f"this cluster serves {domain}")
    return jid.local


def new_account(user: str, password: str, iterations: int, created_at: float | None = None) -> Account:
    """An account with fresh salts; takes some milliseconds of CPU. Raises ConfigError."""
    try:
        sha1 = derive(password, os.urandom(SALT_BYTES), iterations, "sha1")
        sha256 = derive(password, os.urandom(SALT_BYTES), iterations, "sha256")
    except ValueError as error:
        raise ConfigError("--password", "...", f"cannot be a password: {error}") from error
    return Account(user, sha1, sha256, created_at=time.time() if created_at is None else created_at)


def close_sessions(store: Store, user: str) -> None:
    """Tell all nodes to end the user's sessions; they read notices once a second."""
    store.add_notices([Notice("close", user)])
