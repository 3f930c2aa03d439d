"""The raw messages of a window beside its bundle, from the flight recorder (R17).

They prove nothing and hold nothing up: they come after the bundle is in place, a later version
takes them over, and where none were kept, absent.json says why.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import trio
import zstandard

from pumpwatch.capture.flight import Extract, FlightRecorder
from pumpwatch.capture.flight_frames import RawFrame
from pumpwatch.listing.bundle import FRAMES, seal_frames
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.signing import Signer

LATE_NS = 5 * 10**9  # a window's trade may be received so long after its end
ABSENT = "absent.json"
SUFFIX = ".jsonl.zst"


async def add_frames(
    flight: FlightRecorder, place: Path, staged: Path, names: Mapping[str, Sequence[str]],
    window: Window, signer: Signer,
) -> int:  # fmt: skip
    """Put the window's frames below ``place``, unless there are some; returns how many.

    ``names``: the venue's symbols of the coin, by feed. Raises OSError.
    """
    if (place / FRAMES).exists() or not names:
        return 0
    found = await flight.extract(names, window.from_ns, window.to_ns + LATE_NS)
    await trio.to_thread.run_sync(put_frames, found, place, staged, signer)
    return len(found.frames)


def put_frames(found: Extract, place: Path, staged: Path, signer: Signer) -> None:
    """Write what was found below ``place``, sealed, by way of ``staged``. Raises OSError."""
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    by_feed: dict[str, list[RawFrame]] = {}
    for frame in found.frames:
        by_feed.setdefault(frame.feed, []).append(frame)
    packer = zstandard.ZstdCompressor(level=3)
    for feed, frames in by_feed.items():
        lines = b"".join(msgspec.json.encode(_line(one)) + b"\n" for one in frames)
        (staged / f"{feed}{SUFFIX}").write_bytes(packer.compress(lines))
    (staged / ABSENT).write_bytes(msgspec.json.format(msgspec.json.encode(found.absent)) + b"\n")
    seal_frames(staged, signer, place.name)
    staged.rename(place / FRAMES)


def _line(frame: RawFrame) -> dict[str, Any]:
    """A message that is text stands there as text, any other in base64."""
    head = {"connection": frame.connection, "receive_ns": frame.receive_ns}
    try:
        return {**head, "text": frame.payload.decode()}
    except UnicodeDecodeError:
        return {**head, "base64": base64.b64encode(frame.payload).decode()}


def take_over(before: Path, folder: Path) -> None:
    """Bring an earlier version's frames along. Raises OSError."""
    if (before / FRAMES).is_dir():
        shutil.copytree(before / FRAMES, folder / FRAMES)
