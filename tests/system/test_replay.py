"""PumpWatch fed from a replayed bundle stores the bundle's rows, and no others."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import trio

from pumpwatch import research
from pumpwatch.capture.flight import FlightRecorder
from pumpwatch.clock import SystemClock
from pumpwatch.config import FEED_NAMES
from pumpwatch.drills.stage import daemon_process, is_subscribed
from pumpwatch.errors import EXIT_GOOD
from pumpwatch.listing.canonical import canonical_line
from pumpwatch.listing.verify import read_certificate
from pumpwatch.replay_frames import messages_as_recorded
from pumpwatch.replay_verb import read_instruments, told
from pumpwatch.research.bundles import Bundle
from pumpwatch.research.replaying import in_receive_order
from pumpwatch.sim.process import Simulator
from tests.research.making import NS, Shape, make_bundle

pytestmark = [pytest.mark.questdb, pytest.mark.slow]

SEED = 20_261_125
DETECTED_S_MAX = 60.0
ORDER = ("timestamp", "symbol", "sequence_number", "trade_id")


def digests(rows: pl.DataFrame) -> dict[str, str]:
    """As the certificate has them: of each feed's rows in canonical form (R4)."""
    plain = rows.with_columns(pl.col("timestamp").cast(pl.Int64)).sort(ORDER)
    found = {feed: hashlib.sha256() for feed in FEED_NAMES}
    for row in plain.iter_rows(named=True):
        found[row["feed"]].update(canonical_line(row))
    return {feed: digest.hexdigest() for feed, digest in found.items()}


async def test_a_replayed_listing_is_stored_byte_for_byte(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    at_ns = (time.time_ns() // NS - 300) * NS  # what is older than an hour would be history
    place = make_bundle(tmp_path, Shape(at_ns=at_ns, rate_per_s=20.0, seed=SEED))
    command = [sys.executable, "-m", "pumpwatch", "replay", str(place), "--serve", "127.0.0.1:0",
               "--speed", "10", "--wait", "600"]  # fmt: skip
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        ready = json.loads(bytes(await process.stdout.receive_some(65_536)))
        replayed = Simulator(process, ready, tmp_path)
        async with daemon_process(tmp_path / "run", replayed) as daemon:
            daemon.start()
            await daemon.until(is_subscribed, "subscribed")
            await trio.to_thread.run_sync(start, replayed.control_url("/control/start"))
            certificate = read_certificate(place)[0]
            await daemon.until(
                lambda document: (
                    document["store"]["applied_rows"] >= certificate.rows
                    and not document["store"]["pending_rows"]
                ),
                "applied",
            )
            settings = daemon.config_file
            window = research.events(place).row(0, named=True)
            stored = await trio.to_thread.run_sync(
                research.trades, "POD", window["from"] - timedelta(minutes=2),
                window["to"] + timedelta(minutes=2), settings,
            )  # fmt: skip
            assert len(stored) == certificate.rows > 5_000
            assert digests(stored) == {proof.feed: proof.sha256 for proof in certificate.feeds}
            with trio.fail_after(DETECTED_S_MAX):  # the replayed board is polled as a real one
                while not (notices := await notices_of(settings, "POD")):  # noqa: ASYNC110
                    await trio.sleep(0.5)
            assert notices == [certificate.notice_id]
            daemon.signal(2)
            assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()
            await compare_with_recorder(daemon.data_dir, place, stored)
    finally:
        process.kill()
        await process.wait()


async def compare_with_recorder(data_dir: Path, place: Path, stored: pl.DataFrame) -> None:
    """What the flight recorder kept of it can be played back as it came (R17)."""
    recorder = FlightRecorder(data_dir / "flight", SystemClock(), minutes=60, disk_max_mib=1 << 20)
    instruments = read_instruments(Bundle(place))
    names = {one.feed: [one.venue_symbol] for one in instruments}
    found = await recorder.extract(names, 0, time.time_ns())
    trades = [told(row) for row in in_receive_order(stored)]
    messages = messages_as_recorded(found.frames, trades, instruments, SystemClock())
    print(f"{len(found.frames)} frames, {len(messages)} messages, absent: {found.absent}")
    raw = {frame.payload.decode() for frame in found.frames}
    assert {message.text for message in messages} <= raw
    recorded = {row for message in messages for row in message.rows}
    streamed = stored.filter(origin="stream")
    if not found.absent:  # a busy machine switches it off
        assert len(recorded) == len(streamed) > 5_000
    assert len(recorded) == sum(len(message.rows) for message in messages) > 0


async def notices_of(settings: Path, coin: str) -> list[str]:
    """Of the coin's events in the running daemon's table."""
    events = await trio.to_thread.run_sync(research.events, settings)
    return list(events.filter(coin=coin)["notice_id"])


def start(url: str) -> None:
    """Ask for the beginning."""
    import httpx

    httpx.post(url, timeout=30, trust_env=False).raise_for_status()
