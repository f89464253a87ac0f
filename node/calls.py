"""(I/O) Questions of one node to another: a task with one answer, within max_execution_s (design.md §7)."""

import logging
from collections.abc import Callable
from typing import Any

import gevent
import msgspec
from gevent.event import AsyncResult

from xcluster.bus.messages import Answer, Call, Origin, Task
from xcluster.node.exchange import Exchange
from xcluster.shared.errors import BusError, NodeDown, TaskTimeout, WireError
from xcluster.shared.log import kv

log = logging.getLogger(__name__)

MAX_WAITING = 10_000  # questions without an answer yet


class Calls:
    """Asks peers, answers them. `ask` blocks its greenlet; answers are given from greenlets."""

    def __init__(self, exchange: Exchange, limit_s: float) -> None:
        self._exchange = exchange
        self._limit_s = limit_s
        self._id = 0
        self._waiting: dict[int, tuple[Origin, AsyncResult]] = {}
        self._verbs: dict[str, Callable[[Any], Any]] = {}

    def serve(self, verb: str, function: Callable[[Any], Any]) -> None:
        """Answer calls of `verb` with what `function` returns for their argument; both msgpack values."""
        if verb in self._verbs:
            raise TypeError(f"two answers for {verb}")
        self._verbs[verb] = function

    def ask(self, origin: Origin, verb: str, argument: Any = None, limit_s: float | None = None) -> Any:
        """The answer of a node; raises TaskTimeout, NodeDown, or BusError for one that failed there."""
        if origin == self._exchange.me:
            return self._verbs[verb](argument)
        if len(self._waiting) >= MAX_WAITING:
            raise TaskTimeout("too many questions are waiting for an answer")
        self._id += 1
        number, result = self._id, AsyncResult()
        if not self._exchange.mesh.send(
            origin, Call(number, verb, msgspec.Raw(msgspec.msgpack.encode(argument)))
        ):
            raise NodeDown(f"{origin} is not a live node")
        self._waiting[number] = origin, result
        try:
            return result.get(timeout=self._limit_s if limit_s is None else limit_s)
        except gevent.Timeout as timeout:
            raise TaskTimeout(f"{origin} did not answer {verb} in time") from timeout
        finally:
            self._waiting.pop(number, None)

    def asked(self, origin: Origin, task: Task) -> None:
        """A Call or an Answer has come."""
        if isinstance(task, Call):
            gevent.spawn(self._answer, origin, task)
        elif isinstance(task, Answer) and task.id in self._waiting:
            result = self._waiting.pop(task.id)[1]
            if task.error:
                result.set_exception(BusError(task.error))
                return
            try:
                result.set(msgspec.msgpack.decode(task.value))
            except msgspec.MsgspecError as error:
                result.set_exception(WireError(f"unreadable answer: {error}"))

    def died(self, origin: Origin) -> None:
        """Who asked a node that is dead need not wait."""
        for asked, result in list(self._waiting.values()):
            if asked == origin:
                result.set_exception(NodeDown(f"{origin} has died"))

    def _answer(self, origin: Origin, call: Call) -> None:
        value, error = None, ""
        verb = self._verbs.get(call.verb)
        if verb is None:
            error = f"unknown verb {call.verb}"
        else:
            try:
                value = verb(msgspec.msgpack.decode(call.argument))
            except Exception as failure:
                log.exception("call_failed", extra=kv(verb=call.verb, node=origin))
                error = f"{type(failure).__name__}: {failure}"
        self._exchange.mesh.send(origin, Answer(call.id, msgspec.Raw(msgspec.msgpack.encode(value)), error))
