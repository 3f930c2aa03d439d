"""Log lines: shape, secrets, other libraries' records."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
import structlog

from pumpwatch import log


class FixedClock:
    def wall_ns(self) -> int:
        return 1_700_000_000_123_456_789


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    log.configure(stream, clock=FixedClock())
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_document_a_line_with_time_level_event_first(stream: io.StringIO) -> None:
    structlog.get_logger().warning("gap_confirmed", feed="okx_spot", missing=3, text="a\nb")
    assert lines(stream) == [
        {
            "timestamp": "2023-11-14T22:13:20.123Z",
            "level": "warning",
            "event": "gap_confirmed",
            "feed": "okx_spot",
            "missing": 3,
            "text": "a\nb",
        }
    ]
    assert list(lines(stream)[0])[:3] == ["timestamp", "level", "event"]


def test_loggers_made_before_the_set_up_follow_it(stream: io.StringIO) -> None:
    early = structlog.get_logger(part="spool")
    early.info("one")
    second = io.StringIO()
    log.configure(second, clock=FixedClock())
    early.info("two")
    assert [line["event"] for line in lines(stream)] == ["one"]
    assert [(line["event"], line["part"]) for line in lines(second)] == [("two", "spool")]


def test_debug_is_left_out_unless_wanted(stream: io.StringIO) -> None:
    structlog.get_logger().debug("detail")
    assert stream.getvalue() == ""
    log.configure(stream, level=logging.DEBUG)
    structlog.get_logger().debug("detail")
    assert lines(stream)[0]["level"] == "debug"


@pytest.mark.parametrize(
    "fields",
    [
        {"password": "hush"},
        {"questdb_password": "hush"},
        {"api_key": "hush", "x": 1},
        {"headers": {"Authorization": "hush", "n": [1, {"token": "hush"}]}},
        {"url": "wss://ws.example/?token=hush&connectId=7"},
        {"url": "https://me:hush@db.example/x"},
        {"urls": ["https://me:hush@db.example/x"]},
        {"error": ValueError("GET https://x/y?limit=1&signature=hush failed")},
    ],
)
def test_secrets_never_reach_a_line(stream: io.StringIO, fields: dict[str, Any]) -> None:
    structlog.get_logger().error("failed", **fields)
    assert "hush" not in stream.getvalue()
    assert log.HIDDEN in stream.getvalue()


def test_what_only_looks_like_a_secret_stays() -> None:
    fields = {"feed": "okx_spot", "tokens": 3, "has_password": True, "url": "https://x/y?limit=1"}
    assert log.redact(None, "", dict(fields)) == fields


def test_an_exception_is_part_of_its_line(stream: io.StringIO) -> None:
    try:
        int("https://me:hush@db/")
    except ValueError:
        structlog.get_logger().exception("apply_failed")
    (line,) = lines(stream)
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert "hush" not in line["exception"]


def test_warnings_of_other_libraries_come_as_events(stream: io.StringIO) -> None:
    logging.getLogger("httpx").info("HTTP Request: GET https://x")
    logging.getLogger("httpx").warning("slow %s", "answer", extra={"seconds": 3})
    odd = logging.LogRecord("odd", logging.ERROR, "x.py", 1, "%d", ("no number",), None)
    log.ForeignHandler().emit(odd)
    assert [(line["event"], line["logger"]) for line in lines(stream)] == [
        ("slow answer", "httpx"),
        ("%d", "odd"),
    ]
    assert lines(stream)[0]["seconds"] == 3


def test_a_terminal_gets_text() -> None:
    stream = io.StringIO()
    log.configure(stream, terminal=True, clock=FixedClock())
    structlog.get_logger().info("started", feeds=12)
    assert "started" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_a_closed_stream_takes_nothing_with_it(stream: io.StringIO) -> None:
    stream.close()
    structlog.get_logger().info("nobody_reads_this")
    assert stream.closed
