"""Messages built ahead: templates of whole texts; only digits are changed, for all rows at once.

A venue writes its message as text with marks (private-use characters) where a number changes from
trade to trade. A mark's high digits are written once, when the template is made; the low ones are
patched for thousands of rows in a few numpy calls.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pumpwatch.sim.digits import (
    GROUP,
    UUID_CHARS,
    UUID_HEX_AT,
    Bytes,
    Ints,
    Words,
    low_digits,
    uuid_hex,
    uuid_words,
)

NUMBER = "\ue000"  # the trade's id or number
SEQUENCE = "\ue001"  # the venue's order number of the trade or the message
MS = "\ue002"  # trade time
NS = "\ue003"
SECONDS = "\ue004"
MICROS = "\ue005"  # the three digits behind the milliseconds, and a zero
EVENT_MS = "\ue006"  # when the venue sends it, a little after the trade
EVENT_SECONDS = "\ue007"
EVENT_NS = "\ue008"
UUID = "\ue009"
SHIFTED_NUMBER = "\ue00a"  # the number plus the instrument's offset
_MARKS = re.compile("([\ue000-\ue00a])")

GROUPS = {MS: 2, NS: 4, SECONDS: 2, MICROS: 1, EVENT_MS: 2, EVENT_SECONDS: 2, EVENT_NS: 4}
NUMBER_GROUPS = {NUMBER: 3, SEQUENCE: 3, SHIFTED_NUMBER: 3}
NUMBER_MIN = 10 ** (GROUP - 1)  # a number has at least one whole group
EPOCH_NS = 10**14  # the higher digits of every time stay the same within such a span
EVENT_DELAY_NS = 1_500_000
EPOCH_MARGIN_NS = 10_000_000

TEXT_FRAME = 0x81
HEADER_SHORT_MAX, HEADER_MIDDLE_MAX = 125, 65_535
MIDDLE_HEADER_BYTES = 4


def header(payload_bytes: int) -> bytes:
    """The head of an unmasked text frame (RFC 6455, 5.2)."""
    if payload_bytes <= HEADER_SHORT_MAX:
        return bytes((TEXT_FRAME, payload_bytes))
    if payload_bytes <= HEADER_MIDDLE_MAX:
        return bytes((TEXT_FRAME, 126)) + payload_bytes.to_bytes(2, "big")
    return bytes((TEXT_FRAME, 127)) + payload_bytes.to_bytes(8, "big")


def frame(text: str) -> bytes:
    """One text message."""
    payload = text.encode()
    return header(len(payload)) + payload


def rollover(number: int) -> int:
    """The first number above whose higher digits differ from what its template holds."""
    span: int = 10 ** (GROUP * min(3, len(str(number)) // GROUP))
    return (number // span + 1) * span


@dataclass
class Columns:
    """The numbers of some rows (or messages)."""

    symbol: Ints
    row: Ints
    ns: Ints
    number: Ints
    sequence: Ints
    keys: Words  # of all symbols
    offsets: Ints  # of all symbols

    @cached_property
    def event_ns(self) -> Ints:
        """When they are sent."""
        return self.ns + EVENT_DELAY_NS

    def values(self, mark: str) -> Ints:
        """What stands at a mark."""
        match mark:
            case "\ue000":
                return self.number
            case "\ue001":
                return self.sequence
            case "\ue002":
                return self.ns // 1_000_000
            case "\ue003":
                return self.ns
            case "\ue004":
                return self.ns // 1_000_000_000
            case "\ue005":
                return (self.ns // 1_000 % 1_000) * 10
            case "\ue006":
                return self.event_ns // 1_000_000
            case "\ue007":
                return self.event_ns // 1_000_000_000
            case "\ue008":
                return self.event_ns
            case "\ue00a":
                return self.number + self.offsets[self.symbol]
        raise AssertionError(f"no mark {mark!r}")

    @cached_property
    def uuid_digits(self) -> Bytes:
        """The hexadecimal digits of the rows' UUIDs."""
        return uuid_hex(uuid_words(self.keys[self.symbol], self.row))

    def at(self, index: int) -> dict[str, str]:
        """Every mark's full text for one row, to write a message one by one."""
        this = slice(index, index + 1)
        one = Columns(
            self.symbol[this], self.row[this], self.ns[this], self.number[this],
            self.sequence[this], self.keys, self.offsets,
        )  # fmt: skip
        texts = {mark: str(one.values(mark)[0]) for mark in (*GROUPS, *NUMBER_GROUPS)}
        texts[MICROS] = texts[MICROS].rjust(4, "0")
        text = np.full(UUID_CHARS, ord("-"), dtype=np.uint8)
        text[UUID_HEX_AT] = one.uuid_digits[0]
        texts[UUID] = text.tobytes().decode()
        return texts


def write_out(text: str, values: dict[str, str]) -> str:
    """A text with marks -> the text."""
    return _MARKS.sub(lambda match: values[match.group()], text)


@dataclass(frozen=True)
class _Slot:
    """A place that is patched: the ``occurrence``-th of a mark."""

    mark: str
    groups: int  # of digits, at most


class TemplateSet:
    """``per_symbol`` texts for each symbol, all with the same marks in the same order."""

    def __init__(
        self, symbols: int, per_symbol: int, *, framed: bool, spare_bytes: int = 0
    ) -> None:
        self._per_symbol = per_symbol
        self._framed = framed
        self._spare_bytes = spare_bytes
        self._slots: list[_Slot] | None = None
        self._rows: Bytes = np.zeros((symbols * per_symbol, 64), dtype=np.uint8)
        self._at: npt.NDArray[np.int32] = np.zeros((0, symbols * per_symbol, 0), dtype=np.int32)
        self._is_short: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self.length: npt.NDArray[np.int32] = np.zeros(symbols * per_symbol, dtype=np.int32)

    def render(self, symbol: int, texts: Sequence[str], values: dict[str, str]) -> None:
        """(Re)write a symbol's templates; ``values`` are the marks' texts as of now."""
        assert len(texts) == self._per_symbol
        parts = [_MARKS.split(text) for text in texts]
        marks = parts[0][1::2]
        assert all(one[1::2] == marks for one in parts)
        slots = self._make_slots(marks)
        written = [values[mark].encode() for mark in marks]
        bodies, ends = self._join(parts, written)
        first = symbol * self._per_symbol
        mine = slice(first, first + self._per_symbol)
        self.length[mine] = [len(body) for body in bodies]
        self._write(mine, bodies)
        for number, (slot, text) in enumerate(zip(slots, written, strict=True)):
            self._at[number, mine] = ends[:, number, None] - self._distances(slot, len(text))
            if slot.mark in NUMBER_GROUPS and len(text) // GROUP < slot.groups:
                self._is_short[number] = True

    def _join(self, parts: list[list[str]], written: list[bytes]) -> tuple[list[bytes], Ints]:
        """Whole texts (frames, if framed), and where each mark's text ends in them: [n, marks]."""
        bodies: list[bytes] = []
        sizes: list[list[int]] = []
        for one in parts:
            fixed = [part.encode() for part in one[::2]]
            body = fixed[0] + b"".join(map(bytes.__add__, written, fixed[1:]))
            head = header(len(body)) if self._framed else b""
            bodies.append(head + body)
            sizes.append([len(head) + len(fixed[0]), *map(len, fixed[1:-1])][: len(written)])
        widths = np.array([len(text) for text in written], dtype=np.int64)
        return bodies, np.cumsum(np.array(sizes, dtype=np.int64) + widths, axis=1)

    def _write(self, mine: slice, bodies: list[bytes]) -> None:
        size_bytes = max(map(len, bodies)) + self._spare_bytes
        if size_bytes > self._rows.shape[1]:
            wider = np.zeros((len(self._rows), (size_bytes + 15) // 8 * 8), dtype=np.uint8)
            wider[:, : self._rows.shape[1]] = self._rows
            self._rows = wider
        width = self._rows.shape[1]
        joined = b"".join([body.ljust(width, b"\0") for body in bodies])
        self._rows[mine] = np.frombuffer(joined, dtype=np.uint8).reshape(-1, width)

    def _make_slots(self, marks: list[str]) -> list[_Slot]:
        if self._slots is None:
            groups = {**NUMBER_GROUPS, **GROUPS}
            self._slots = [_Slot(mark, groups.get(mark, 0)) for mark in marks]
            self._at = np.zeros((len(marks), len(self._rows), 4), dtype=np.int32)
            self._is_short = np.zeros(len(marks), dtype=np.bool_)
        assert [slot.mark for slot in self._slots] == marks
        return self._slots

    @staticmethod
    def _distances(slot: _Slot, width: int) -> Ints:
        """How far before the end of a mark's text each group of four digits stands, lowest first.

        A number too short for its highest groups has them on its lowest one, which is written last.
        """
        if slot.mark == UUID:
            return np.full(4, UUID_CHARS)
        have = min(slot.groups, width // GROUP)
        assert have >= 1
        return np.array([GROUP * (1 + (group if group < have else 0)) for group in range(4)])

    def fill(self, templates: Ints, columns: Columns) -> Bytes:
        """Copies of these templates with the rows' numbers in them, NUL behind their ends."""
        rows = self._rows.take(templates, axis=0)
        width = rows.shape[1]
        flat = rows.reshape(-1)
        base = np.arange(len(templates), dtype=np.int64) * width
        known: dict[str, Bytes] = {}
        for number, slot in enumerate(self._slots or ()):
            at = self._at[number].take(templates, axis=0)
            if slot.mark == UUID:
                flat[(base + at[:, 0])[:, None] + UUID_HEX_AT] = columns.uuid_digits
                continue
            if slot.mark not in known:
                known[slot.mark] = low_digits(columns.values(slot.mark), slot.groups)
            digits = known[slot.mark]
            if not self._is_short[number]:
                lowest = base + at[:, 0] - GROUP * (slot.groups - 1)
                flat[lowest[:, None] + np.arange(GROUP * slot.groups)] = digits
                continue
            for group in range(slot.groups - 1, -1, -1):
                column = GROUP * (slot.groups - 1 - group)
                flat[(base + at[:, group])[:, None] + np.arange(GROUP)] = digits[
                    :, column : column + GROUP
                ]
        return rows


def cut(rows: Bytes) -> list[bytes]:
    """Each row without the NULs behind it."""
    found: list[bytes] = rows.view(f"S{rows.shape[1]}").ravel().tolist()
    return found
