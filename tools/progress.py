"""Progress for people: a bar on a terminal, a line every few seconds elsewhere."""

import contextlib
import time
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

_LINE_EVERY_S = 5.0


class Progress:
    """How much of `total` is done; use it as a context manager."""

    def __init__(self, what: str, total: int, stream: TextIO) -> None:
        self._what = what
        self._total = total
        self._stream = stream
        self._done = 0
        self._told_at = time.monotonic()
        self._stack = contextlib.ExitStack()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if self._stream.isatty():
            columns = (TextColumn(self._what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = self._stack.enter_context(Bar(*columns, console=Console(file=self._stream)))
            self._task = self._bar.add_task(self._what, total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def advance(self, count: int) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.advance(self._task, count)
        elif time.monotonic() - self._told_at >= _LINE_EVERY_S:
            self._told_at = time.monotonic()
            print(f"{self._what}: {self._done} of {self._total}", file=self._stream, flush=True)
