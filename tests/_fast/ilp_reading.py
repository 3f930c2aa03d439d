"""A slow, independent reader of line protocol, written from QuestDB's description of it.

It shares nothing with the code that writes lines: it goes byte by byte and takes no shortcut.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from decimal import Decimal

BINARY_MARK = b"="
BINARY_DOUBLE = 0x10


class Nanoseconds(int):
    """A timestamp field (``123n``), told apart from an integer (``123i``)."""


# float: a binary double; Decimal: a number as text; str: quoted text.
FieldValue = float | Decimal | int | Nanoseconds | str | bool


@dataclass(frozen=True)
class Line:
    """One line: what the server would make of it."""

    table: str
    symbols: dict[str, str]
    fields: dict[str, FieldValue]
    timestamp_ns: int


def digits_of(value: FieldValue) -> str:
    """What a reader of the table sees of a number: plain digits, no exponent, no trailing zeros."""
    assert isinstance(value, float | Decimal)
    number = Decimal(repr(value)) if isinstance(value, float) else value
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def read_lines(payload: bytes) -> list[Line]:
    """Every line of ``payload``; ValueError where a server would refuse it."""
    reader = _Reader(payload)
    lines = []
    while reader.at < len(payload):
        lines.append(reader.line())
    return lines


class _Reader:
    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.at = 0

    def peek(self) -> bytes:
        return self.payload[self.at : self.at + 1]

    def take(self, wanted: bytes) -> None:
        if not self.payload.startswith(wanted, self.at):
            raise ValueError(
                f"{wanted!r} wanted at {self.at}, got {self.payload[self.at :][:20]!r}"
            )
        self.at += len(wanted)

    def text_until(self, ends: bytes) -> str:
        """Text up to an unescaped byte of ``ends``; a backslash makes the next byte plain."""
        out = bytearray()
        while self.peek() not in [bytes([end]) for end in ends]:
            if self.peek() == b"\\":
                self.at += 1
            if self.at >= len(self.payload):
                raise ValueError("the payload ends inside a name or value")
            if self.peek() == b"\n":
                raise ValueError(f"a line break at {self.at}")
            out += self.peek()
            self.at += 1
        return out.decode()

    def quoted(self) -> str:
        out = bytearray()
        self.take(b'"')
        while self.peek() != b'"':
            if self.peek() == b"\\":
                self.at += 1
            if self.at >= len(self.payload):
                raise ValueError("the payload ends inside quotes")
            out += self.peek()
            self.at += 1
        self.take(b'"')
        return out.decode()

    def field_value(self) -> FieldValue:
        if self.peek() == b'"':
            return self.quoted()
        if self.peek() == BINARY_MARK:
            self.take(BINARY_MARK + bytes([BINARY_DOUBLE]))
            (number,) = struct.unpack_from("<d", self.payload, self.at)
            self.at += 8
            return float(number)
        text = self.text_until(b", \n")
        if text in {"t", "f"}:
            return text == "t"
        if text.endswith("i"):
            return int(text[:-1])
        if text.endswith("n"):
            return Nanoseconds(text[:-1])
        if not text[:1].isdigit() and text[:1] != "-":
            raise ValueError(f"{text!r} is no number")
        return Decimal(text)

    def line(self) -> Line:
        table = self.text_until(b", ")
        symbols: dict[str, str] = {}
        fields: dict[str, FieldValue] = {}
        while self.peek() == b",":
            self.take(b",")
            key = self.text_until(b"=")
            self.take(b"=")
            if key in symbols:
                raise ValueError(f"{key} twice")
            symbols[key] = self.text_until(b", ")
            if not symbols[key]:
                raise ValueError(f"{key} is empty")
        self.take(b" ")
        while True:
            key = self.text_until(b"=")
            self.take(b"=")
            if key in fields or key in symbols:
                raise ValueError(f"{key} twice")
            fields[key] = self.field_value()
            if self.peek() != b",":
                break
            self.take(b",")
        self.take(b" ")
        timestamp = self.text_until(b"\n")
        if not timestamp.isdigit():
            raise ValueError(f"{timestamp!r} is no timestamp")
        self.take(b"\n")
        return Line(table, symbols, fields, int(timestamp))
