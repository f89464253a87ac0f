"""What the hostile tests ask of the server's processes: no traceback, no error in the log, nothing kept."""

import re
import time
from pathlib import Path

from tests.support.cluster import RunningCluster, eventually

_PAGE = 4096
_WRONG = re.compile(r"^.*(?:Traceback| (?:error|critical) [a-z_.]+ ).*$", re.MULTILINE)


def complaints(cluster: RunningCluster) -> list[str]:
    """Lines of all processes' logs that tell of a bug: hostile clients must not cause any."""
    text = cluster.folder.with_name(cluster.folder.name + ".log").read_text(errors="replace")
    return _WRONG.findall(text)


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident(pid: int) -> int:
    """Bytes of memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


class Footprint:
    """What a process had before; `back` waits until it has no more than that again."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descriptors = descriptors(pid)
        self.resident = resident(pid)

    def back(self, spare_bytes: int, seconds: float = 10.0, spare_descriptors: int = 4) -> None:
        eventually(lambda: descriptors(self.pid) <= self.descriptors + spare_descriptors, seconds)
        deadline = time.monotonic() + 2.0
        while resident(self.pid) > self.resident + spare_bytes and time.monotonic() < deadline:
            time.sleep(0.05)
        grown = resident(self.pid) - self.resident
        assert grown <= spare_bytes, f"{grown / 1e6:.1f} MB more than before"
