"""Group commit, merged reads, what happens to a bad operation, bounds; on both databases."""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

import gevent
import pytest

from tests.node.store.rows import account, row
from xcluster.node.store import sql_accounts
from xcluster.node.store.gather import Gatherer
from xcluster.node.store.mailbox import Mailbox, Operation
from xcluster.node.store.protocol import RosterItem
from xcluster.node.store.sql import SqlStore
from xcluster.shared.errors import StoreError

Open = Callable[..., SqlStore]


def test_two_hundred_waiting_greenlets_share_few_transactions(opened: Open) -> None:
    store = opened()
    store.create_account(account("alice"))
    writer = store.engine.writer
    before = writer.transactions, writer.operations
    added = [gevent.spawn(store.add_offline, [row(number)], 1000) for number in range(200)]
    gevent.joinall(added, raise_error=True)
    assert [one.value for one in added] == [["stored"]] * 200
    assert writer.operations - before[1] == 200
    assert writer.transactions - before[0] <= 20
    assert store.count_offline("alice") == 200


def test_log_in_storm_shares_few_reads(opened: Open) -> None:
    store = opened(reader_threads=2)
    users = [f"user{number}" for number in range(100)]
    store.provision([account(user) for user in users], [])
    before = sum(reader.transactions for reader in store.engine.readers)
    read = [gevent.spawn(method, user) for user in users for method in (store.account, store.roster)]
    gevent.joinall(read, raise_error=True)
    assert [one.value.user for one in read[::2]] == users
    assert sum(reader.transactions for reader in store.engine.readers) - before <= 20


def test_batches_are_bounded(opened: Open) -> None:
    store = opened(max_batch=10)
    store.create_account(account("alice"))
    before = store.engine.writer.transactions
    added = [gevent.spawn(store.add_offline, [row(number)], 1000) for number in range(100)]
    gevent.joinall(added, raise_error=True)
    assert store.engine.writer.transactions - before >= 10


def test_bad_operation_fails_alone(opened: Open) -> None:
    store = opened()
    for user in ("alice", "bob"):
        store.create_account(account(user))

    def bad(*sides: object) -> tuple[RosterItem, RosterItem]:
        raise KeyError("a bug in a feature")

    def good(*sides: object) -> tuple[RosterItem, RosterItem]:
        return RosterItem("bob@x"), RosterItem("alice@x")

    added = [gevent.spawn(store.add_offline, [row(number)], 1000) for number in range(50)]
    failed = gevent.spawn(store.change_rosters, "alice", "bob@x", "bob", bad, 10)
    surrogate = gevent.spawn(store.set_vcard, "bob\udc00", b"")  # can't be encoded by any database
    changed = gevent.spawn(store.change_rosters, "alice", "bob@x", "bob", good, 10)
    gevent.joinall([*added, failed, surrogate, changed])
    assert [one.value for one in added] == [["stored"]] * 50
    assert isinstance(failed.exception, KeyError)
    assert isinstance(surrogate.exception, UnicodeEncodeError)
    assert changed.value.user_version == changed.value.contact_version == 1
    assert store.count_offline("alice") == 50
    assert store.healthy


def test_full_queue_is_refused_at_once(opened: Open) -> None:
    store = opened(queue=10)
    store.create_account(account("alice"))
    added = [gevent.spawn(store.add_offline, [row(number)], 1000) for number in range(50)]
    gevent.joinall(added)
    refused = [one for one in added if one.exception is not None]
    assert refused
    assert all(isinstance(one.exception, StoreError) for one in refused)
    assert store.count_offline("alice") == 50 - len(refused) >= 10


def test_any_thread_may_call(opened: Open) -> None:
    store = opened()
    created: list[bool] = []
    threads = [
        threading.Thread(target=lambda user=user: created.append(store.create_account(account(user))))
        for user in ("alice", "bob", "carol", "alice")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert sorted(created) == [False, True, True, True]


def test_loop_callback_is_told_to_use_a_greenlet(opened: Open) -> None:
    store = opened()
    raised: list[str] = []

    def callback() -> None:
        try:
            store.account("alice")
        except RuntimeError as error:
            raised.append(str(error))

    gevent.get_hub().loop.run_callback(callback)
    gevent.sleep(0)
    assert raised == ["the store was called by a loop callback: use a greenlet, or ask"]


def test_killed_greenlet_leaves_nothing_waiting(opened: Open) -> None:
    store = opened()
    store.create_account(account("alice"))
    added = gevent.spawn(store.add_offline, [row(1)], 10)
    gevent.sleep(0)
    added.kill()
    assert store.add_offline([row(2)], 10) == ["stored"]
    assert store.count_offline("alice") in (1, 2)


def test_close_finishes_what_is_queued(opened: Open) -> None:
    store = opened()
    store.create_account(account("alice"))
    added = [gevent.spawn(store.add_offline, [row(number)], 1000) for number in range(100)]
    gevent.sleep(0)
    store.close()
    gevent.joinall(added, raise_error=True)
    with pytest.raises(StoreError, match="not open"):
        store.account("alice")
    store.close()
    assert opened().count_offline("alice") == 100


def test_fork_can_neither_use_nor_harm_the_store(opened: Open) -> None:
    store = opened()
    store.create_account(account("alice"))
    child = os.fork()
    if child == 0:
        try:
            store.close()
            store.account("alice")
        except StoreError:
            os._exit(42)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    assert store.account("alice") == account("alice")


def test_questions_of_one_moment_are_read_together(opened: Open) -> None:
    store = opened(reader_threads=2)
    users = [f"user{number}" for number in range(100)]
    store.provision([account(user) for user in users], [])
    before = sum(reader.transactions for reader in store.engine.readers)
    answers: list[object] = []
    for user in users:
        store.ask_account(user, lambda answer: answers.append(answer()))
        store.ask_offline(user, lambda answer: answers.append(answer()))
    assert not answers, "called back from the loop, not at once"
    with gevent.Timeout(10):
        while len(answers) < 200:
            gevent.sleep(0.001)
    assert [one.user for one in answers if one] == users  # type: ignore[attr-defined]
    assert answers.count(0) == 100
    assert sum(reader.transactions for reader in store.engine.readers) - before <= 3


def test_question_that_cannot_be_asked_is_answered_with_the_error(opened: Open) -> None:
    store = opened(queue=5)
    refused: list[str] = []
    answered: list[object] = []

    def then(answer: Callable[[], object]) -> None:
        try:
            answered.append(answer())
        except StoreError as error:
            refused.append(str(error))

    for _ in range(8):
        store.ask_account("nobody", then)
    assert refused == ["too many operations are waiting for the store"] * 3
    with gevent.Timeout(10):
        while len(answered) < 5:
            gevent.sleep(0.001)
    store.close()
    store.ask_account("nobody", then)
    assert refused[3:] == ["the store is not open in this process"]


def test_question_of_the_turn_in_which_the_store_closes_goes_nowhere() -> None:
    queue: SimpleQueue[list[Operation] | None] = SimpleQueue()
    gatherer = Gatherer(queue, 10)
    mailbox = Mailbox()
    gatherer.add(Operation(sql_accounts.account, ("alice",), 1, 0.0, mailbox))
    gatherer.close()
    gevent.sleep(0.01)  # its callback has run, on a timer that is closed
    assert queue.empty()
    mailbox.close()
