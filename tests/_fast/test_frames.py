"""The frame scanner: any cutting gives the same messages; what is no WebSocket is refused (RFC)."""

from __future__ import annotations

import zlib

import psutil
import pytest
import wsproto
from hypothesis import given, settings
from hypothesis import strategies as st
from wsproto.events import AcceptConnection, BytesMessage, Ping, Request, TextMessage

from pumpwatch._fast import parse_bybit
from pumpwatch.errors import ProtocolError
from tests._fast.driving import NOW_NS, Drive, as_bytes, bybit_trades
from tests.strategies import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LENGTH_EDGES,
    MIB,
    PING,
    PONG,
    TEXT,
    FrameStream,
    chunkings,
    cut,
    examples,
    frame,
    frame_streams,
    noise,
)

GOOD = frame(TEXT, b"!good")

trade_messages = st.builds(
    lambda numbers: as_bytes(bybit_trades([(str(n), "1.5", "2") for n in numbers])),
    st.lists(st.integers(1, 10**9), min_size=1, max_size=20),
)


def feed_all(drive: Drive, chunks: list[bytes]) -> None:
    for chunk in chunks:
        drive.intake.feed(chunk, NOW_NS)


def run(chunks: list[bytes]) -> tuple[Drive, bytes]:
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    control = b"".join(drive.intake.feed(chunk, NOW_NS) for chunk in chunks)
    return drive, control


def messages_of(drive: Drive) -> list[bytes]:
    """What was no trade: noise goes to quarantine as it came."""
    drive.take()
    return [raw for _, raw, _ in drive.quarantine]


@given(frame_streams(), st.data())
def test_any_cutting_gives_the_same_messages_and_control_frames(
    stream: FrameStream, data: st.DataObject
) -> None:
    drive, control = run(data.draw(chunkings(stream.data)))
    assert control == stream.control
    assert messages_of(drive) == stream.messages
    assert drive.intake.messages == len(stream.messages)
    assert drive.intake.bytes_received == len(stream.data)


@given(frame_streams(trade_messages), st.data())
def test_any_cutting_gives_the_same_trades(stream: FrameStream, data: st.DataObject) -> None:
    whole = Drive(parse_bybit.SPOT, "BTCUSDT")
    expected = whole.message(*stream.messages)
    drive, control = run(data.draw(chunkings(stream.data)))
    assert control == stream.control
    assert drive.take() == expected
    assert expected
    assert drive.counts == whole.counts


@given(frame_streams(size_max=300, messages_max=3))
@settings(max_examples=examples(20))
def test_byte_by_byte(stream: FrameStream) -> None:
    drive, control = run([bytes([byte]) for byte in stream.data])
    assert control == stream.control
    assert messages_of(drive) == stream.messages


@pytest.mark.parametrize("size", [*LENGTH_EDGES, MIB - 1, MIB])
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_message_sizes(size: int, pieces: int) -> None:
    stream = FrameStream()
    payload = noise(size, seed=size)
    stream.add_message(payload, [size * piece // pieces for piece in range(1, pieces)])
    stream.add_control(frame(PONG, b"after"))
    for step in (len(stream.data), 65536, max(1, len(stream.data) // 7)):
        chunks = cut(stream.data, range(step, len(stream.data), step))
        drive, control = run(chunks)
        assert control == stream.control
        assert messages_of(drive) == [payload]


def test_agrees_with_wsproto_as_the_server() -> None:
    # The strategies build frames themselves; here another implementation does.
    server = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
    client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
    server.receive_data(client.send(Request(host="x", target="/")))
    assert list(server.events())
    server.send(AcceptConnection())
    data, texts = b"", ["!" + "x" * size for size in (0, 124, 125, 65534, 65535, 200_000)]
    for text in texts:
        third = len(text) // 3
        data += server.send(TextMessage(data=text[:third], message_finished=False))
        data += server.send(Ping(payload=b"beat"))
        data += server.send(TextMessage(data=text[third:]))
    data += server.send(BytesMessage(data=b"!binary"))
    drive, control = run([data])
    assert control == frame(PING, b"beat") * len(texts)
    assert messages_of(drive) == [*(text.encode() for text in texts), b"!binary"]
    assert [reason for reason, _, _ in drive.quarantine] == ["malformed"] * len(texts) + ["binary"]


def with_length(code: int, width: int, size: int) -> bytes:
    return bytes([0x80 | TEXT, code]) + size.to_bytes(width, "big")


def fragments(size: int, count: int) -> bytes:
    return frame(TEXT, b"!" * size, final=False) + frame(CONTINUATION, b"!" * size, final=False) * (
        count - 1
    )


def deflated(payload: bytes) -> bytes:
    """A text frame as permessage-deflate sends it (RFC 7692): rsv1, the empty block's end cut."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)
    whole = bytearray(frame(TEXT, data.removesuffix(b"\x00\x00\xff\xff")))
    whole[0] |= 0x40
    return bytes(whole)


COMPRESSED = deflated(as_bytes(bybit_trades([("1", "2", "3")])))

REFUSED = {
    "masked": (b"\x81\x85abcd!good", 1002, "masked"),
    "masked control": (b"\x89\x80abcd", 1002, "masked"),
    "rsv1": (b"\xc1\x05!good", 1002, "reserved"),
    "compressed though nobody negotiated it": (COMPRESSED, 1002, "reserved"),
    "rsv2": (b"\xa1\x05!good", 1002, "reserved"),
    "rsv3 on a control frame": (b"\x99\x00", 1002, "reserved"),
    **{f"opcode {code}": (bytes([0x80 | code, 0]), 1002, "opcode") for code in (3, 7, 11, 15)},
    "long ping": (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002, "control"),
    "fragmented ping": (b"\x09\x00", 1002, "control"),
    "continuation without a start": (frame(CONTINUATION, b"x"), 1002, "continuation"),
    "last continuation without a start": (
        frame(CONTINUATION, b"x", final=False),
        1002,
        "continuation",
    ),
    "start inside a message": (
        frame(TEXT, b"a", final=False) + frame(TEXT, b"b"),
        1002,
        "continuation",
    ),
    "binary inside a message": (
        frame(TEXT, b"a", final=False) + frame(BINARY, b"b"),
        1002,
        "continuation",
    ),
    "16 bits for 125": (with_length(126, 2, 125), 1002, "shortest"),
    "16 bits for 0": (with_length(126, 2, 0), 1002, "shortest"),
    "64 bits for 65535": (with_length(127, 8, 65535), 1002, "shortest"),
    "64 bits for 0": (with_length(127, 8, 0), 1002, "shortest"),
    "1 MiB and a byte": (with_length(127, 8, MIB + 1), 1009, "larger"),
    "2**31": (with_length(127, 8, 2**31), 1009, "larger"),
    "2**32 + 5": (with_length(127, 8, 2**32 + 5), 1009, "larger"),
    "2**63 - 1": (with_length(127, 8, 2**63 - 1), 1009, "larger"),
    "2**63": (with_length(127, 8, 2**63), 1009, "larger"),
    "2**64 - 1": (with_length(127, 8, 2**64 - 1), 1009, "larger"),
    "fragments beyond 1 MiB": (fragments(2**16, 17), 1009, "larger"),
    "a whole and a byte": (
        frame(TEXT, b"!" * MIB, final=False) + frame(CONTINUATION, b"x"),
        1009,
        "larger",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("is_split", [False, True])
def test_what_is_no_websocket_is_refused_behind_the_good_frames(name: str, is_split: bool) -> None:
    bad, close_code, word = REFUSED[name]
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    trades = frame(TEXT, as_bytes(bybit_trades([("1", "2", "3")])))
    data = GOOD + trades + bad
    places = range(1, min(len(data), 400)) if is_split else ()
    with pytest.raises(ProtocolError, match=word) as caught:
        feed_all(drive, cut(data, places))
    assert caught.value.close_code == close_code
    assert len(drive.take()) == 1  # what was received before is kept
    assert drive.quarantine == [("malformed", b"!good", 0)]


NO_TEXT = (b"!\xff", b"!\xc0\xaf", b"!\xed\xa0\x80", b"!\xf4\x90\x80\x80", b"!\xe5\xb8")


@pytest.mark.parametrize("payload", NO_TEXT)
@pytest.mark.parametrize("pieces", [1, 2, 3])
def test_a_text_message_that_is_not_utf_8_ends_the_connection(payload: bytes, pieces: int) -> None:
    stream = FrameStream()
    stream.add_message(b"!good")
    stream.add_message(payload, [len(payload) * piece // pieces for piece in range(1, pieces)])
    stream.add_message(b"!behind it")
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    with pytest.raises(ProtocolError, match="UTF-8") as caught:
        drive.intake.feed(stream.data, NOW_NS)
    assert caught.value.close_code == 1007
    drive.take()
    assert drive.quarantine == [("malformed", b"!good", 0), ("utf8", payload, 0)]
    assert drive.counts["quarantined_messages"] == 2


def test_a_character_may_be_cut_between_fragments() -> None:
    text = "!币安人生\U0001f600".encode()
    for place in range(len(text)):
        stream = FrameStream()
        stream.add_message(text, [place])
        assert messages_of(run([stream.data])[0]) == [text]


def test_binary_messages_need_not_be_text() -> None:
    drive, _ = run([frame(BINARY, b"\xff")])
    drive.take()
    assert drive.quarantine == [("binary", b"\xff", 0)]


def test_control_frames_of_125_bytes_and_of_none() -> None:
    data = frame(PING, b"") + frame(PING, b"x" * 125) + frame(CLOSE, b"\x03\xe8bye")
    drive, control = run([data])
    assert control == data
    assert messages_of(drive) == []


def test_a_great_many_fragments() -> None:
    # 1 MiB in single bytes, with empty fragments between: grows by doubling, ends as one message.
    payload = noise(100_000, seed=1)
    data = frame(TEXT, b"", final=False)
    data += b"".join(
        frame(CONTINUATION, payload[at : at + 1], final=False)
        + frame(CONTINUATION, b"", final=False)
        for at in range(len(payload))
    )
    drive, _ = run(cut(data + frame(CONTINUATION, b""), range(0, len(data), 10_000)))
    assert messages_of(drive) == [payload]


def test_empty_messages() -> None:
    drive, _ = run([frame(TEXT, b""), frame(TEXT, b"", final=False), b"", frame(CONTINUATION, b"")])
    assert messages_of(drive) == [b"", b""]


def test_memory_stays_bounded() -> None:
    # 200 messages of the largest size, in fragments and in odd chunks, and twice as many promises
    # of more: what is held is one message, not what went through.
    payload = b"!" * (MIB - 10)
    stream = FrameStream()
    stream.add_message(payload, range(0, MIB - 10, 50_000))
    drive = Drive(parse_bybit.SPOT, "BTCUSDT")
    process = psutil.Process()
    before = 0
    for turn in range(200):
        for chunk in cut(stream.data, range(99_991, len(stream.data), 99_991)):
            drive.intake.feed(chunk, NOW_NS)
        assert drive.intake.take_kept()[1] == [("malformed", payload, 0)]
        before = before if turn > 5 else process.memory_info().rss
    waiting = [Drive(parse_bybit.SPOT) for _ in range(3)]
    for other in waiting:
        other.intake.feed(with_length(127, 8, MIB), NOW_NS)
    assert process.memory_info().rss - before < 16 * MIB
