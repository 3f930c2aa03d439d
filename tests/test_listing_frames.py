from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
import trio
import zstandard

from pumpwatch.capture.flight import FlightRecorder
from pumpwatch.listing import standalone_verify
from pumpwatch.listing_frames import add_frames, take_over
from tests.listing.bundles import SIGNER, WINDOW, make_bundle, market


def text_frame(payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([0x81, len(payload)]) + payload


class AfterTheWindow:
    """A clock that stands 6 s behind the window's end."""

    def wall_ns(self) -> int:
        return WINDOW.to_ns + 6 * 10**9


@pytest.fixture
def recorder(tmp_path: Path) -> FlightRecorder:
    return FlightRecorder(tmp_path / "flight", AfterTheWindow(), minutes=10, disk_max_mib=10)


async def test_the_coins_messages_come_beside_the_bundle(
    tmp_path: Path, recorder: FlightRecorder
) -> None:
    place, _ = make_bundle(tmp_path, market(1, ["okx_spot"]))
    tape = recorder.begin("okx_spot")
    ours, others = b'{"instId":"POD-USDT","px":"1"}', b'{"instId":"BTC-USDT","px":"2"}'
    for number in range(3):
        at_ns = WINDOW.at_ns + number
        tape.note(text_frame(others) + text_frame(ours), at_ns)
    tape.note(text_frame(ours), WINDOW.to_ns + 60 * 10**9)  # long after
    names = {"okx_spot": ["POD-USDT"], "gate_spot": ["POD_USDT"]}
    staged = tmp_path / ".staging/frames"
    assert await add_frames(recorder, place, staged, names, WINDOW, SIGNER) == 3
    packed = (place / "frames/okx_spot.jsonl.zst").read_bytes()
    lines = zstandard.ZstdDecompressor().decompress(packed).splitlines()
    assert [json.loads(one)["text"].encode() for one in lines] == [ours] * 3
    absent = msgspec.json.decode((place / "frames/absent.json").read_bytes())
    assert absent == ["gate_spot: nothing was recorded in this span"]
    assert standalone_verify.check(place) == []
    # A second look adds nothing, and a changed byte is found.
    assert await add_frames(recorder, place, staged, names, WINDOW, SIGNER) == 0
    (place / "frames/okx_spot.jsonl.zst").write_bytes(packed[:-1] + b"x")
    assert standalone_verify.check(place) != []


async def test_a_later_version_takes_them_over(tmp_path: Path, recorder: FlightRecorder) -> None:
    first, _ = make_bundle(tmp_path / "a", market(2, ["okx_spot"]))
    second, _ = make_bundle(tmp_path / "b", market(2, ["okx_spot"]))
    take_over(first, second)
    assert not (second / "frames").exists()
    names = {"okx_spot": ["POD-USDT"]}
    await add_frames(recorder, first, tmp_path / "s", names, WINDOW, SIGNER)
    await trio.to_thread.run_sync(take_over, first, second)
    assert (second / "frames/absent.json").read_bytes() == (
        first / "frames/absent.json"
    ).read_bytes()
