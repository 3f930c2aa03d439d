"""The recorded messages, moved by whole seconds so that each symbol's newest is now (R5)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import resources

from pumpwatch.sim.venue import Recorded, RecordedRow

SECOND_NS = 1_000_000_000
SESSION_GAP_NS = 60 * SECOND_NS  # recordings further apart come from different sittings
SESSION_STEP_BACK_NS = 5 * SECOND_NS  # in one sitting, times may fall by that much
_TIME = re.compile(
    r'("(?:E|T|ts|time|time_ms|create_time|create_time_ms|dts|mts)":"?)(\d{10})(?=\d{0,9}\D)'
)
_PHEMEX_ROW = re.compile(r'(\[)(\d{10})(?=\d{9},")')


def read_samples(feed: str, read: Callable[[str], Recorded | None]) -> dict[str, list[Recorded]]:
    """The trade messages of a feed's sample file by venue symbol, in the file's order.

    A snapshot comes before all others: a venue sends it only on subscribing.
    """
    path = resources.files("pumpwatch.sim") / "samples" / f"{feed}.jsonl"
    found: dict[str, list[Recorded]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        message = read(line)
        if message is not None:
            found.setdefault(message.venue_symbol, []).append(message)
    for messages in found.values():
        messages.sort(key=lambda message: not message.is_snapshot)
    return found


def move(messages: list[Recorded], now_ns: int) -> list[Recorded]:
    """One symbol's messages with new times, in the same order; the newest is under a second old."""
    sittings: list[list[Recorded]] = []
    newest_ns = 0
    for message in messages:
        first_ns, last_ns = _span(message)
        step_ns = first_ns - newest_ns
        if not sittings or not -SESSION_STEP_BACK_NS <= step_ns <= SESSION_GAP_NS:
            sittings.append([])
        sittings[-1].append(message)
        newest_ns = last_ns
    end_ns = now_ns
    moved: list[Recorded] = []
    for sitting in reversed(sittings):
        spans = [_span(message) for message in sitting]
        shift_s = (end_ns - max(last for _, last in spans)) // SECOND_NS
        moved[:0] = [_shifted(message, shift_s) for message in sitting]
        end_ns = min(first for first, _ in spans) + shift_s * SECOND_NS
    return moved


def renumber(messages: list[Recorded], pattern: re.Pattern[str]) -> list[Recorded]:
    """The same with ids that follow each other: recordings of different days leave holes.

    ``pattern`` finds the digits of an id in the text, in the order of the rows.
    """
    number: int | None = None
    found = []
    for message in messages:
        rows = []
        for row in message.rows:
            number = row.number if number is None else number + 1
            assert number is not None
            sequence = number if row.sequence == row.number else row.sequence
            rows.append(row._replace(number=number, sequence=sequence))
        text = _replace_in_turn(message.text, pattern, (row.number for row in rows))
        found.append(message._replace(text=text, rows=rows))
    return found


def _replace_in_turn(text: str, pattern: re.Pattern[str], numbers: Iterable[int | None]) -> str:
    turn = iter(numbers)

    def one(match: re.Match[str]) -> str:
        start, end = match.span(1)
        whole = match.group()
        offset = match.start()
        return f"{whole[: start - offset]}{next(turn)}{whole[end - offset :]}"

    return pattern.sub(one, text)


def _span(message: Recorded) -> tuple[int, int]:
    times = [row.ns for row in message.rows]
    return min(times), max(times)


def _shifted(message: Recorded, shift_s: int) -> Recorded:
    def one(match: re.Match[str]) -> str:
        return f"{match.group(1)}{int(match.group(2)) + shift_s}"

    text = _PHEMEX_ROW.sub(one, _TIME.sub(one, message.text))
    rows = [row._replace(ns=row.ns + shift_s * SECOND_NS) for row in message.rows]
    return message._replace(text=text, rows=rows)


def without_rows(message: Recorded, drops: Callable[[RecordedRow], bool]) -> Recorded:
    """A Phemex message without some of its rows (newest first in the text)."""
    gone = {row.ns for row in message.rows if drops(row)}
    text = message.text
    for ns in gone:
        text = re.sub(rf"\[{ns},[^\]]*\],?", "", text)
    text = text.replace(",]", "]")
    return message._replace(text=text, rows=[row for row in message.rows if row.ns not in gone])
