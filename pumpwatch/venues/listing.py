"""What the readers of instrument lists share: going through entries of which some may be broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from pumpwatch.errors import VenueError
from pumpwatch.venues.spec import Listed, ListPage, Status

Entry = dict[str, Any]
SAMPLE_CHARS = 120


def decode(body: bytes, what: str) -> Any:
    """JSON of a list. Raises VenueError where it is none."""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise VenueError(f"{what}: no JSON: {error}: {sample(body)}") from None


def decode_exact(body: bytes, what: str) -> Any:
    """JSON of a list whose numbers must keep their digits: fractions come as Decimal."""
    try:
        return json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise VenueError(f"{what}: no JSON: {error}: {sample(body)}") from None


def entries_at(document: Any, what: str, *keys: str) -> list[Any]:
    """The list below these keys. Raises VenueError where the answer has another shape."""
    found = document
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, list):
        shown = sample(msgspec.json.encode(document, enc_hook=str))
        raise VenueError(f"{what}: no list of {'.'.join(keys) or 'entries'} in the answer: {shown}")
    return found


def read_entries(
    entries: list[Any], name_key: str, read_one: Callable[[Entry], Listed | None]
) -> ListPage:
    """Read what can be read; an entry that cannot is named with its reason, not fatal.

    ``read_one`` returns None for what is not one of ours (dated futures, other margins).
    """
    listed: list[Listed] = []
    refused: list[str] = []
    for entry in entries:
        try:
            if (one := read_one(entry)) is not None:
                listed.append(one)
        except (KeyError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            name = entry.get(name_key) if isinstance(entry, dict) else None
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            refused.append(f"{name or sample(repr(entry).encode())}: {reason}")
    return ListPage(listed=listed, refused=refused)


def text(entry: Entry, key: str) -> str:
    """A field that must be a text. Raises KeyError or ValueError."""
    value = entry[key]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is {value!r}")
    return value


def number(entry: Entry, key: str) -> Decimal:
    """A field that must be a number, as text or as number. Raises KeyError or ValueError."""
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise ValueError(f"{key} is {value!r}")  # noqa: TRY004 - one reason, one kind of error
    try:
        return Decimal(str(value))
    except ArithmeticError:
        raise ValueError(f"{key} is {value!r}") from None


def status_among(entry: Entry, key: str, known: Mapping[str, Status]) -> Status:
    """Our word for the venue's. Raises KeyError, or ValueError for a word that is not known.

    An unknown word is refused, not guessed: the log then names it.
    """
    word = entry[key]
    if not isinstance(word, str) or word not in known:
        raise ValueError(f"{key} is {word!r}")
    return known[word]


def positive(entry: Entry, key: str) -> Decimal:
    """A finite number above 0: a contract value. Raises KeyError or ValueError."""
    value = number(entry, key)
    if not value.is_finite() or value <= 0:
        raise ValueError(f"{key} is {entry[key]!r}")
    return value


def plain(value: Decimal) -> str:
    """Exact decimal text without exponent and trailing zeros."""
    shown = format(value, "f")
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def approximate(entry: Entry, key: str) -> float:
    """A volume; 0 where the entry has none."""
    try:
        value = float(entry.get(key) or 0)
    except (TypeError, ValueError):
        return 0.0
    return value if 0 <= value < float("inf") else 0.0


def sample(body: bytes) -> str:
    """The start of an answer, on one line."""
    return " ".join(body[:SAMPLE_CHARS].decode("utf-8", "replace").split())
