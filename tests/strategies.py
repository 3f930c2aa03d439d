"""Hypothesis strategies that several tests share: frame streams, cuts, fragments, decimals."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as st

MIB = 1024 * 1024
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
CONTROL_BYTES_MAX = 125
ASCII = bytes(byte & 0x7F for byte in range(256))

# Where the form of the length changes, and the largest message allowed.
LENGTH_EDGES = (0, 1, 125, 126, 127, 65535, 65536, 65537)


def examples(count: int) -> int:
    """So many examples in a usual run, and in proportion where the profile wants fewer."""
    assert settings.default is not None
    return max(1, count * settings.default.max_examples // 100)


def frame(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """One frame as a server sends it: not masked, its length in its shortest form (RFC 6455)."""
    size = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 65536:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` in pieces, cut at ``places`` (equal places give empty pieces)."""
    edges = [0, *sorted(places), len(data)]
    return [data[first:last] for first, last in pairwise(edges)]


@dataclass
class FrameStream:
    """A stream of frames and what must come out of it."""

    data: bytes = b""
    messages: list[bytes] = field(default_factory=list)
    control: bytes = b""

    def add_message(
        self, payload: bytes, places: Sequence[int] = (), controls: Sequence[bytes] = ()
    ) -> None:
        """A text message, fragmented at ``places``; ``controls`` stand between the fragments."""
        pieces = cut(payload, places)
        for number, piece in enumerate(pieces):
            opcode = TEXT if number == 0 else CONTINUATION
            self.data += frame(opcode, piece, final=number == len(pieces) - 1)
            if number < len(controls) and number < len(pieces) - 1:
                self.add_control(controls[number])
        self.messages.append(payload)

    def add_control(self, control: bytes) -> None:
        """A whole control frame."""
        self.data += control
        self.control += control


def control_frames() -> st.SearchStrategy[bytes]:
    """Pings, pongs and closes of every allowed length."""
    return st.builds(
        frame, st.sampled_from([PING, PONG, CLOSE]), st.binary(max_size=CONTROL_BYTES_MAX)
    )


def payload_sizes(size_max: int) -> st.SearchStrategy[int]:
    """Sizes at the edges of the length forms and anywhere between."""
    edges = [size for size in (*LENGTH_EDGES, size_max) if size <= size_max]
    return st.one_of(st.integers(0, 300), st.sampled_from(edges), st.integers(0, size_max))


@st.composite
def frame_streams(
    draw: st.DrawFn,
    payloads: st.SearchStrategy[bytes] | None = None,
    *,
    messages_max: int = 6,
    size_max: int = 70_000,
) -> FrameStream:
    """Text messages, fragmented anyhow, control frames before, between and inside them.

    Without ``payloads`` the messages are noise that no venue's parser takes for its own.
    """
    stream = FrameStream()
    for number in range(draw(st.integers(1, messages_max))):
        if payloads is not None:
            payload = draw(payloads)
        else:
            seed = draw(st.integers(0, 999))
            payload = noise(draw(payload_sizes(size_max)), seed * 10 + number)
        places = draw(st.lists(st.integers(0, len(payload)), max_size=5))
        controls = draw(st.lists(control_frames(), max_size=4))
        if draw(st.booleans()) and controls:
            stream.add_control(controls[0])
        stream.add_message(payload, places, controls)
    return stream


def noise(size: int, seed: int) -> bytes:
    """Text that is no JSON, the same for the same seed."""
    return (b"!" + random.Random(seed).randbytes(size - 1).translate(ASCII)) if size else b""


@st.composite
def chunkings(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` as a socket might give it: cut anywhere, or byte by byte at some stretch."""
    places = draw(st.lists(st.integers(0, len(data)), max_size=12))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(data)))
        places += range(start, min(start + 40, len(data)))
    return [chunk for chunk in cut(data, places) if chunk]


@st.composite
def decimal_texts(draw: st.DrawFn, *, digits_max: int, exponent_max: int = 30) -> str:
    """A number >= 0 as venues write it: plain or with an exponent, trailing zeros or none."""
    digits = str(draw(st.integers(0, 10**digits_max - 1)))
    point = draw(st.integers(0, len(digits)))
    whole, fraction = digits[:point].lstrip("0") or "0", digits[point:]
    text = f"{whole}.{fraction}" if fraction else whole
    if draw(st.booleans()):
        return text
    mark = draw(st.sampled_from(["e", "E", "e+", "E-", "e-"]))
    return f"{text}{mark}{draw(st.integers(0, exponent_max))}"
