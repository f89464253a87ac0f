"""Logging: one line an event, `key=value`, to standard error, and never in the way.

    log = logging.getLogger(__name__)
    log.info("session_bound", extra=kv(jid=jid, sid=sid))

`setup` is called once by a process. Its handler writes only what standard error takes at once: a reader that
stands still (a stopped supervisor, a terminal on hold) must not stop the loop of a node. What was dropped
meanwhile is counted and told by the next line that gets through.
"""

import json
import logging
import os
import select
import sys
import time
from typing import Any

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:/@+,[]()%*<>#!?~")
_MAX_LINE = select.PIPE_BUF  # a pipe that polls as writable takes this much whole, without blocking


def kv(**fields: object) -> dict[str, Any]:
    """The `extra` of a log call."""
    return {"kv": fields}


def setup(level: str = "info", format: str = "text", process: str = "") -> None:
    """Send everything from `level` up to standard error, as "text" or "json" lines."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter(process) if format == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """`2026-11-22T18:00:00.123Z info xcluster.node.server node_ready name=n1`"""

    def format(self, record: logging.LogRecord) -> str:
        words = [timestamp(record.created), record.levelname.lower(), record.name, record.getMessage()]
        words += [f"{key}={_text(value)}" for key, value in _fields(record).items()]
        if record.exc_info:
            words.append("\n" + self.formatException(record.exc_info))
        return " ".join(words)


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, process, event, and the fields beside them."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "event": record.getMessage(),
        }
        for key, value in _fields(record).items():
            line[f"{key}_" if key in line else key] = value
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class StderrHandler(logging.Handler):
    """Write a line if standard error takes it now; count it as dropped if not."""

    def __init__(self, descriptor: int | None = None) -> None:
        super().__init__()
        self._descriptor = sys.stderr.fileno() if descriptor is None else descriptor
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)
        self.dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            for start in range(0, len(data), _MAX_LINE):
                if not self._write(data[start : start + _MAX_LINE]):
                    break
        except Exception:
            self.handleError(record)

    def _write(self, data: bytes) -> bool:
        if not any(event & select.POLLOUT for _, event in self._poll.poll(0)):
            self.dropped += 1
            return False
        if self.dropped:
            note = f"{timestamp(time.time())} warning {__name__} log_lines_dropped lines={self.dropped}\n"
            self.dropped = 0
            os.write(self._descriptor, note.encode())
            return self._write(data)
        os.write(self._descriptor, data)
        return True


def timestamp(seconds: float) -> str:
    """UTC with milliseconds (RFC 3339)."""
    whole = int(seconds)
    utc = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{utc}.{int((seconds - whole) * 1000):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = getattr(record, "kv", {})
    return fields


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if text and _SAFE.issuperset(text) else json.dumps(text, ensure_ascii=False)
