"""Logging: an event name plus fields, to stderr; text on a terminal, JSON lines elsewhere.

Modules write ``log = structlog.get_logger()`` and ``log.warning("gap_confirmed", feed=feed)``;
nothing is set up until ``configure`` is called (once, by the command line). What libraries log
through the standard library's logging takes the same road from WARNING on. Secrets are taken out
of every line: fields by their name, and passwords and tokens inside URLs.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec
import structlog

from pumpwatch.clock import Clock, SystemClock

HIDDEN = "(hidden)"
SECRET_FIELD = re.compile(
    r"(^|_)(password|passwd|passphrase|secret|token|api_?key|access_?key|signature|authorization"
    r"|cookie)($|_)",
    re.IGNORECASE,
)
SECRET_IN_TEXT = re.compile(
    r"(?P<user>://)[^/@\s\"']+@"
    r"|(?P<query>[?&](?:token|signature|key|api_?key|access_?key|secret|password)=)[^&\s\"']+",
    re.IGNORECASE,
)
RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
FOREIGN_LEVEL = logging.WARNING  # httpx alone would log a line per request

Fields = structlog.types.EventDict
_encoder = msgspec.json.Encoder(enc_hook=str)


class Stream(Protocol):
    """Where lines go: stderr, or a file that is put aside when it is full (log_file.py)."""

    def write(self, text: str, /) -> object:
        """Append. Raises OSError or ValueError."""
        ...

    def flush(self) -> None:
        """To the kernel."""
        ...

    def isatty(self) -> bool:
        """Whether people read it as it is written."""
        ...


class StreamLogger:
    """Writes finished lines; without a stream, to whatever sys.stderr is at that moment."""

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream

    def msg(self, line: str) -> None:
        """Write one line; a stream that is gone must not take the daemon with it."""
        stream = self._stream or sys.stderr
        try:
            stream.write(line + "\n")
            stream.flush()
        except (OSError, ValueError):
            return

    debug = info = warning = error = critical = exception = fatal = warn = log = msg


class ForeignHandler(logging.Handler):
    """Turns the records of other libraries into lines of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record with its logger's name and its extra fields."""
        extra = {name: v for name, v in vars(record).items() if name not in RECORD_FIELDS}
        fields = {"logger": record.name, **extra}
        if record.exc_info and record.exc_info[0] is not None:
            fields["exc_info"] = record.exc_info
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit the library's own format
            message = str(record.msg)
        level = record.levelname.lower() if record.levelno <= logging.CRITICAL else "critical"
        method = getattr(structlog.get_logger(), level, structlog.get_logger().warning)
        method(message, **fields)


def configure(
    stream: Stream | None = None,
    *,
    terminal: bool | None = None,
    clock: Clock | None = None,
    level: int = logging.INFO,
) -> None:
    """Set logging up; a later call replaces an earlier one.

    Args:
        stream: where lines go; None: stderr.
        terminal: text for people (True) or JSON lines; None: whether the stream is a terminal.
        clock: stamps the lines; None: the host's.
        level: of our own events.
    """
    if terminal is None:
        terminal = (stream or sys.stderr).isatty()
    stamp = _Stamp(clock or SystemClock())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            stamp,
            redact,
            _text_renderer() if terminal else _render_json,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: StreamLogger(stream),
        cache_logger_on_first_use=False,  # so that a later configure() reaches every module
    )
    root = logging.getLogger()
    root.handlers = [h for h in root.handlers if not isinstance(h, ForeignHandler)]
    root.addHandler(ForeignHandler())
    root.setLevel(FOREIGN_LEVEL)


def set_level(name: str) -> None:
    """Change the level of our own events: debug, info, warning or error."""
    level = logging.getLevelNamesMapping()[name.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


class _Stamp:
    """Puts time, level and event first, so that lines can be read down the left edge."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, _logger: object, _method: str, fields: Fields) -> Fields:
        seconds, rest_ns = divmod(self._clock.wall_ns(), 1_000_000_000)
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        event, level = fields.pop("event", ""), fields.pop("level", "info")
        stamp = f"{text}.{rest_ns // 1_000_000:03d}Z"
        return {"timestamp": stamp, "level": level, "event": event, **fields}


def redact(_logger: object, _method: str, fields: Fields) -> Fields:
    """Take secrets out of a line's fields, at any depth."""
    return {name: _clean(name, value) for name, value in fields.items()}


def _clean(name: str, value: object) -> object:
    if SECRET_FIELD.search(name) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", inner) for inner in value]
    return redact_text(value if isinstance(value, str) else str(value))


def redact_text(text: str) -> str:
    """A text without the passwords and tokens of the URLs in it."""

    def hide(match: re.Match[str]) -> str:
        return f"{match['user']}{HIDDEN}@" if match["user"] else f"{match['query']}{HIDDEN}"

    return SECRET_IN_TEXT.sub(hide, text)


def _render_json(_logger: object, _method: str, fields: Fields) -> str:
    return _encoder.encode(fields).decode()


def _text_renderer() -> Any:
    """Colours only; rich's tracebacks would print local variables, secrets among them."""
    return structlog.dev.ConsoleRenderer(
        exception_formatter=structlog.dev.plain_traceback, sort_keys=False
    )
