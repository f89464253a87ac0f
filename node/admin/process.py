"""(I/O) The memory of this process as the kernel and the C library see it."""

import ctypes
import os
import sqlite3  # noqa: F401, so that its library is there to be asked
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import cast

from xcluster.node.admin.memory import Outside
from xcluster.shared.parsers import Parser

# What Python does not know of: measured with mallinfo2 over 100 of each; tests/node/admin/test_process.py does
# it again, roughly.
SECURED = ssl.SSLSocket
HIDDEN: dict[type, int] = {
    SECURED: 13_800,  # OpenSSL 3, after the handshake and a record each way
    Parser: 6_200,  # expat, and the names of its first stanzas
}


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks",
            "keepcost",
        )
    ]  # fmt: skip


_libc = ctypes.CDLL(None)
_mallinfo2 = getattr(_libc, "mallinfo2", None)  # glibc 2.33
_malloc_trim = getattr(_libc, "malloc_trim", None)  # glibc; musl has none
if _mallinfo2 is not None:
    _mallinfo2.restype = _Mallinfo2
if _malloc_trim is not None:
    _malloc_trim.argtypes = [ctypes.c_size_t]


def _of_sqlite() -> Callable[[], int] | None:
    """The function that tells what SQLite holds; None unless Python uses the system's library."""
    try:
        function = ctypes.CDLL("libsqlite3.so.0", mode=os.RTLD_NOLOAD).sqlite3_memory_used
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_longlong
    return cast(Callable[[], int], function)


_sqlite_memory_used = _of_sqlite()


def outside() -> Outside:
    """This process now."""
    in_use = free = 0
    if _mallinfo2 is not None:
        info = _mallinfo2()
        in_use, free = info.uordblks + info.hblkhd, info.fordblks
    sqlite = _sqlite_memory_used() if _sqlite_memory_used is not None else 0
    return Outside(pss(), in_use, free, sqlite, sys.getallocatedblocks())


def pss() -> int:
    """Proportional set size in bytes; 0 where the kernel does not tell."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def can_trim() -> bool:
    return _malloc_trim is not None


def trim() -> None:
    """Give the pages that are free back to the kernel. Slow: may run in a thread, the GIL is released."""
    if _malloc_trim is not None:
        _malloc_trim(0)
