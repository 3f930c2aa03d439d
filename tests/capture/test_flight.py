"""The flight recorder gives back what was read, in messages, and says what is absent (R17)."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.capture.flight import OFF_S, SUFFIX, FlightRecorder
from pumpwatch.capture.flight_frames import Chunk, messages, naming
from tests.strategies import PING, TEXT, cut, examples, frame

SECOND_NS = 10**9
NOW_NS = 1_790_000_000 * SECOND_NS
NAMES = ("BTCUSDT", "PEPEUSDT", "1000PEPEUSDT", "BTC-USDT", "BTC-USDT-SWAP")


class SetClock:
    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def wall_ns(self) -> int:
        return self.now_ns


def message(name: str, number: int) -> bytes:
    return b'{"s":"%s","t":%d}' % (name.encode(), number)


@settings(max_examples=examples(200), deadline=None)
@given(
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=20),
    places=st.lists(st.integers(0, 400), max_size=8),
    lost=st.integers(0, 60),
)
def test_any_cut_of_a_stream_gives_its_messages_and_a_lost_beginning_only_loses_that(
    names: list[str], places: list[int], lost: int
) -> None:
    wanted = [message(name, number) for number, name in enumerate(names)]
    data = b"".join(frame(TEXT, one) + frame(PING, b"x") for one in wanted)
    pieces = cut(data, [min(place, len(data)) for place in places])
    chunks = [Chunk(NOW_NS + at, piece) for at, piece in enumerate(pieces)]
    assert [payload for _, payload in messages(chunks, is_aligned=True)] == wanted
    rest = [Chunk(NOW_NS, data[lost:])]
    found = [payload for _, payload in messages(rest, is_aligned=False)]
    assert found == wanted[len(wanted) - len(found) :]
    whole = sum(1 for at in range(len(wanted)) if _start(wanted, at) >= lost)
    assert len(found) >= whole


def _start(wanted: list[bytes], number: int) -> int:
    return sum(len(frame(TEXT, one)) + len(frame(PING, b"x")) for one in wanted[:number])


def test_a_name_stands_alone() -> None:
    pattern = naming(["PEPEUSDT", "BTC-USDT"])
    assert pattern.search(b'{"s":"PEPEUSDT"}')
    assert pattern.search(b"pepeusdt@trade")
    assert pattern.search(b"/market/match:BTC-USDT")
    assert not pattern.search(b'{"s":"1000PEPEUSDT"}')
    assert not pattern.search(b'{"instId":"BTC-USDT-SWAP"}')


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*/*{SUFFIX}"))


def recorder(folder: Path, clock: SetClock, **more: object) -> FlightRecorder:
    return FlightRecorder(folder, clock, **({"minutes": 10, "disk_max_mib": 16} | more))  # type: ignore[arg-type]


async def test_only_frames_that_name_the_coin_and_only_of_the_span(tmp_path: Path) -> None:
    clock = SetClock()
    flight = recorder(tmp_path, clock)
    tape = flight.begin("binance_spot")
    for number in range(100):
        data = frame(TEXT, message("PEPEUSDT" if number % 10 == 0 else "BTCUSDT", number))
        tape.note(data, NOW_NS + number * SECOND_NS)
    found = await flight.extract(
        {"binance_spot": ["PEPEUSDT"], "okx_spot": ["PEPE-USDT"]},
        NOW_NS + 20 * SECOND_NS, NOW_NS + 60 * SECOND_NS,
    )  # fmt: skip
    assert [one.payload for one in found.frames] == [
        message("PEPEUSDT", number) for number in (20, 30, 40, 50)
    ]
    assert found.frames[0].receive_ns == NOW_NS + 20 * SECOND_NS
    assert found.absent == ["okx_spot: nothing was recorded in this span"]


async def test_what_is_old_goes_and_so_does_what_is_too_much(tmp_path: Path) -> None:
    clock = SetClock()
    flight = recorder(tmp_path, clock)
    tape = flight.begin("binance_spot")
    for _ in range(15):
        tape.note(frame(TEXT, message("BTCUSDT", 1)), clock.now_ns)
        await flight.extract({}, 0, 1)
        clock.now_ns += 60 * SECOND_NS
    assert len(files(tmp_path)) == 11
    full = recorder(tmp_path, clock, disk_max_mib=0)
    full.begin("okx_spot").note(b"x" * 100, clock.now_ns)
    await full.extract({}, 0, 1)
    assert files(tmp_path) == []


@pytest.mark.usefixtures("inline_threads")
async def test_under_load_it_is_off_says_so_and_comes_back(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    clock, busy = SetClock(), [""]
    flight = recorder(tmp_path, clock, is_busy=lambda: busy[0])
    tape = flight.begin("binance_spot")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(flight.run)
        tape.note(frame(TEXT, message("PEPEUSDT", 1)), NOW_NS)
        await trio.sleep(1)
        busy[0] = "the event loop is late"
        await trio.sleep(1)
        tape.note(frame(TEXT, message("PEPEUSDT", 2)), NOW_NS + 1)
        busy[0] = ""
        await trio.sleep(OFF_S + 1)
        for number in (3, 4):
            tape.note(frame(TEXT, message("PEPEUSDT", number)), NOW_NS + number)
        found = await flight.extract({"binance_spot": ["PEPEUSDT"]}, NOW_NS, NOW_NS + SECOND_NS)
        nursery.cancel_scope.cancel()
    assert [one.payload for one in found.frames][:2] == [
        message("PEPEUSDT", 1), message("PEPEUSDT", 3)
    ]  # fmt: skip
    assert found.absent == ["binance_spot: the event loop is late"]
    assert flight.dropped_bytes == len(frame(TEXT, message("PEPEUSDT", 2)))


async def test_a_torn_file_gives_what_is_whole(tmp_path: Path) -> None:
    clock = SetClock()
    flight = recorder(tmp_path, clock)
    tape = flight.begin("binance_spot")
    for number in range(2):
        tape.note(frame(TEXT, message("PEPEUSDT", number)), NOW_NS + number)
        await flight.extract({}, 0, 1)
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-3])
    found = await flight.extract({"binance_spot": ["PEPEUSDT"]}, NOW_NS, NOW_NS + SECOND_NS)
    assert [one.payload for one in found.frames] == [message("PEPEUSDT", 0)]


async def test_switched_off_it_keeps_nothing(tmp_path: Path) -> None:
    flight = recorder(tmp_path, SetClock(), minutes=0)
    flight.begin("binance_spot").note(b"x", NOW_NS)
    found = await flight.extract({"binance_spot": ["A"]}, 0, 2 * NOW_NS)
    assert (found.frames, files(tmp_path)) == ([], [])
