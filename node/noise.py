"""(I/O) Random bytes, bought wholesale: a system call costs more than the few bytes of a stream id or a nonce."""

import os

PAGE = 4096


class Noise:
    """Bytes of the kernel's generator, each given out once. One a process: a fork would repeat them."""

    def __init__(self) -> None:
        self._page = b""
        self._used = 0

    def __call__(self, count: int) -> bytes:
        """`count` bytes, at most a page."""
        if self._used + count > len(self._page):
            self._page = os.urandom(PAGE)
            self._used = 0
        start = self._used
        self._used += count
        return self._page[start : start + count]
