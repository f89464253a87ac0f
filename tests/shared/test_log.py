"""Log lines: their form, and that they never stop the writer."""

import json
import logging
import os

import pytest

from xcluster.shared.log import JsonFormatter, StderrHandler, TextFormatter, kv, timestamp


def record(message, level=logging.INFO, **fields):
    made = logging.LogRecord("xcluster.node.server", level, __file__, 1, message, None, None)
    made.created = 1795370400.1239
    made.__dict__.update(kv(**fields))
    return made


LINES = [
    ({}, ""),
    ({"jid": "a@b/c", "sid": "n1/3/4"}, " jid=a@b/c sid=n1/3/4"),
    ({"silent_s": 2.100000001}, " silent_s=2.1"),
    ({"text": "two words"}, ' text="two words"'),
    ({"text": 'a"b\n'}, ' text="a\\"b\\n"'),
    ({"empty": "", "none": None, "key": "a=b"}, ' empty="" none=None key="a=b"'),
]


@pytest.mark.parametrize(("fields", "expected"), LINES)
def test_text_line(fields, expected):
    line = TextFormatter().format(record("session_bound", **fields))
    assert line == f"{timestamp(1795370400.1239)} info xcluster.node.server session_bound{expected}"


def test_time_is_utc_with_milliseconds():
    assert timestamp(0.9999) == "1970-01-01T00:00:00.999Z"
    assert timestamp(1795370400.0) == "2026-11-22T18:00:00.000Z"


def test_json_line_is_one_object():
    line = JsonFormatter("n1").format(record("node_suspected", logging.WARNING, node="n2", event="x"))
    assert json.loads(line) == {
        "time": timestamp(1795370400.1239), "level": "warning", "logger": "xcluster.node.server",
        "process": "n1", "event": "node_suspected", "node": "n2", "event_": "x",
    }  # fmt: skip
    assert "\n" not in line


def test_reader_that_stands_still_costs_lines_and_not_the_writer():
    read_end, write_end = os.pipe()
    try:
        handler = StderrHandler(write_end)
        handler.setFormatter(TextFormatter())
        for number in range(10_000):
            handler.emit(record("event", number=number))
        dropped = handler.dropped
        assert 0 < dropped < 10_000
        seen = b""
        while len(seen) < 40_000:
            seen += os.read(read_end, 65_536)
        handler.emit(record("afterwards"))
        os.close(write_end)
        write_end = -1
        while data := os.read(read_end, 65_536):
            seen += data
        lines = seen.decode().splitlines()
        assert f"log_lines_dropped lines={dropped}" in lines[-2]
        assert lines[-1].endswith("afterwards")
        assert [line.rpartition("=")[2] for line in lines[:-2]] == [str(n) for n in range(10_000 - dropped)]
    finally:
        os.close(read_end)
        if write_end >= 0:
            os.close(write_end)


def test_traceback_is_kept():
    try:
        raise ValueError("why")
    except ValueError as error:
        made = record("broken", logging.ERROR)
        made.exc_info = (type(error), error, error.__traceback__)
    assert "ValueError: why" in TextFormatter().format(made)
    assert "ValueError: why" in json.loads(JsonFormatter("n1").format(made))["traceback"]
