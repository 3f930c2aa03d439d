"""ILP lines of every table but trades: few rows, built in Python from a mapping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard

TEXT_CHARACTERS_MAX = 16_000  # a field longer than this is cut: a text must not fill a request


def side_row(
    table: str,
    tags: Mapping[str, str | None],
    fields: Mapping[str, str | int | float | bool | None],
    timestamp_ns: int,
    *,
    time_fields: Mapping[str, int | None] | None = None,
) -> bytes:
    """One line with its newline.

    ``tags`` are SYMBOL columns, ``fields`` VARCHAR, LONG, DOUBLE or BOOLEAN ones by their type,
    ``time_fields`` TIMESTAMP_NS ones (ns since 1970 UTC). None leaves a column NULL, and so do
    an empty tag, a time of 0 and a double that is no number (which the server refuses).
    ``timestamp_ns`` is the designated timestamp: fixed here, never at sending (DESIGN section 4).
    Raises ValueError where no field has a value, or the timestamp is none.
    """
    if timestamp_ns <= 0:
        raise ValueError(f"{table}: {timestamp_ns} is no timestamp")
    head = [table] + [f"{name}={_tag(value)}" for name, value in tags.items() if value]
    values = [f"{name}={_field(value)}" for name, value in fields.items() if _is_value(value)]
    values += [f"{name}={value}n" for name, value in (time_fields or {}).items() if value]
    if not values:
        raise ValueError(f"{table}: a row needs at least one field")
    return f"{','.join(head)} {','.join(values)} {timestamp_ns}\n".encode("utf-8", "replace")


def _is_value(value: object) -> TypeGuard[str | int | float | bool]:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _tag(value: str) -> str:
    value = "".join(" " if character < " " else character for character in value)
    for special in ("\\", " ", ",", "="):
        value = value.replace(special, "\\" + special)
    return value


def _field(value: str | float | bool) -> str:
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, int):
        return f"{value}i"
    if isinstance(value, float):
        return repr(value)
    # A line break inside quotes is legal ILP, but makes logs and halving hard to read.
    text = value[:TEXT_CHARACTERS_MAX].replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(" " if character < " " else character for character in text) + '"'
