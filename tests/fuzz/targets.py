"""What is fuzzed: one function of bytes per target, which raises where a promise is broken.

Wherever there is a second opinion it is asked: the plain readings for the parsers, another cutting
for the frames, the slow line reader for the lines.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import partial

from bench.messages import FORMS, Form, Stream, frame
from pumpwatch._fast import parse_bybit
from pumpwatch._fast.ilp import split_lines
from pumpwatch._fast.utf8 import is_text
from pumpwatch.errors import ProtocolError, SpoolError
from pumpwatch.store import segment
from tests._fast.driving import NOW_NS, Drive, bybit_trades
from tests._fast.ilp_reading import digits_of, read_lines
from tests._fast.parser_laws import sample_lines
from tests._fast.plain_json import Exact, MalformedError
from tests._fast.test_road import READ, as_stored

Target = Callable[[bytes], None]
CONTROL = (b"\x89\x00", b"\x8a\x04beat", b"\x88\x05\x03\xe8bye")
NUMBERS = ("0.0001", "61685.99000000", "1e-5", "9007199254740993", "9" * 38, "0", "-1", "1E22")
COLUMNS = {"price", "quantity", "trade_id", "sequence_number", "received_at"}
KEPT_BYTES_MAX = 4096  # of a seed: mutations of a 60 KB snapshot reach nothing new


def fuzz_frames(data: bytes) -> None:
    """However bytes are cut, the same comes out or the same error is raised at the same message."""
    if not data:
        return
    step, stream = data[0] % 64 + 1, data[1:]
    whole = frames_told([stream])
    pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
    assert frames_told(pieces) == whole


def frames_told(chunks: list[bytes]) -> tuple[object, ...]:
    drive = Drive(parse_bybit.SPOT, "BTCUSDT", history_s=10**9)
    control, code = b"", 0
    try:
        for chunk in chunks:
            control += drive.intake.feed(chunk, NOW_NS)
    except ProtocolError as error:
        code = error.close_code
        control = b""  # those of the chunk that raised are not told
    lines = drive.take()
    return code, lines, drive.quarantine, drive.session, drive.news, control if not code else b""


def fuzz_parser(form: Form, data: bytes) -> None:
    """The C parser and the plain reading agree about anything that is text."""
    reading = form.parser.parse(data)
    if is_text(data):
        assert reading == READ[form.feed](data), (reading, READ[form.feed](data))
    else:
        assert reading[0] in ("trades", "other", "malformed")


def fuzz_ilp(data: bytes) -> None:
    """Numbers come out of a line as they went in; our lines are found by both readers."""
    price, _, quantity = data.partition(b"|")
    fuzz_numbers(price.decode("latin-1")[:600], quantity.decode("latin-1")[:600])
    try:
        lines = read_lines(data)
    except (ValueError, struct.error, InvalidOperation):
        split_lines(data)
    else:
        ends = split_lines(data)
        # A quote in a field's name, which is no name of ours, looks like a value's to the fast one.
        if all(line.fields.keys() <= COLUMNS for line in lines):
            assert len(ends) == len(lines)


def fuzz_numbers(price: str, quantity: str) -> None:
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    lines = drive.message(json.dumps(bybit_trades([("1", price, quantity)]), separators=(",", ":")))
    try:
        wanted = [Exact(price), Exact(quantity)]
    except MalformedError:
        wanted = []
    if not wanted or any(number.is_negative for number in wanted):
        assert lines == []
        assert [reason for reason, _, _ in drive.quarantine] == ["malformed"]
        return
    [line] = lines
    for number, name in zip(wanted, ("price", "quantity"), strict=True):
        if abs(number.exponent) < 250:  # beyond it a double is 0 or infinite
            assert as_stored(Decimal(digits_of(line.fields[name]))) == as_stored(
                Decimal(number.text)
            )


def fuzz_spool(data: bytes) -> None:
    """A segment's records and damage tile it in order; every record given out is sound."""
    try:
        first = segment.decode_file_header(data, "fuzz")
    except (ValueError, SpoolError):
        first = None
    view, at = memoryview(data), segment.FILE_HEADER_BYTES
    ordinal = first or 0
    for item in segment.scan(data, first):
        if isinstance(item, segment.Damage):
            assert item.offset <= item.end <= max(len(data), item.offset)
            at = max(at, item.end)
            continue
        assert item.offset >= at
        assert segment.record_at(view, item.offset) == item
        assert item.first_ordinal >= ordinal
        assert item.end <= len(data)
        at, ordinal = item.end, item.first_ordinal + item.rows


def frame_seeds() -> list[bytes]:
    """Streams of sample messages and control frames, whole and in fragments."""
    lines = [line[:2000] for line in sample_lines("bybit_spot")]
    rng = random.Random(1)
    seeds = []
    for _ in range(20):
        parts = [frame(rng.choice(lines)) for _ in range(3)] + [rng.choice(CONTROL)]
        line = rng.choice(lines)[:100]
        parts += [b"\x01" + frame(line[:50])[1:], b"\x80" + frame(line[50:])[1:]]
        seeds.append(rng.randbytes(1) + b"".join(parts))
    return seeds


def line_payload(form: Form) -> bytes:
    """Lines as they are built of a synthetic message."""
    stream = Stream(form, seed=1, symbols=2)
    drive = Drive(form.parser, *(form.symbol(market.base) for market in stream.markets))
    for _ in range(3):
        drive.intake.feed(frame(stream.message(2)), NOW_NS)
    return drive.rows.take()[0]


def spool_seeds() -> list[bytes]:
    """Segments of one to five records, whole, cut, and with a flipped bit."""
    seeds = []
    for count in range(1, 6):
        data, ordinal = segment.encode_file_header(7, NOW_NS), 7
        for form in FORMS[:count]:
            payload = line_payload(form)
            rows = len(split_lines(payload))
            data += segment.encode_record_header(payload, rows, 1, 1, 1, ordinal) + payload
            ordinal += rows
        broken = bytearray(data)
        broken[len(data) // 2] ^= 1
        seeds += [data, data[:-9], bytes(broken)]
    return seeds


def parser_seeds(form: Form) -> list[bytes]:
    """Recorded messages, and synthetic ones in today's spelling."""
    stream = Stream(form, seed=1, symbols=3)
    lines = [*sample_lines(form.feed), stream.message(1), stream.message(3)]
    return [line for line in lines if len(line) <= KEPT_BYTES_MAX]


def ilp_seeds() -> list[bytes]:
    """Pairs of numbers, and lines."""
    pairs = [f"{a}|{b}".encode() for a, b in zip(NUMBERS, reversed(NUMBERS), strict=True)]
    return pairs + [line_payload(form) for form in FORMS]


TARGETS: dict[str, tuple[Target, Callable[[], list[bytes]]]] = {
    "frames": (fuzz_frames, frame_seeds),
    "ilp": (fuzz_ilp, ilp_seeds),
    "spool": (fuzz_spool, spool_seeds),
    **{form.feed: (partial(fuzz_parser, form), partial(parser_seeds, form)) for form in FORMS},
}
