"""What people are told of a listing: at once, and when it is proven. Sans I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from pumpwatch.listing.certificate import GRADES, Certificate
from pumpwatch.listing.events import MS_NS, ListingEvent
from pumpwatch.moments import iso_ns

SECOND_NS = 10**9
LATE_NS = 10 * SECOND_NS  # a message says that it is late from here on
FEEDS_SHOWN = 12
LINES_MAX = 8


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """What one feed's price did since the announcement."""

    feed: str
    first: float
    highest: float
    last: float

    @property
    def percent(self) -> float:
        """From the first to the highest."""
        return (self.highest / self.first - 1) * 100 if self.first else 0.0


def listed_text(
    events: Sequence[ListingEvent], feeds: Mapping[str, Sequence[str]],
    moves: Mapping[str, Sequence[Move]], now_ns: int,
) -> tuple[str, str]:  # fmt: skip
    """Title and body: all coins of one notice; ``feeds`` and ``moves`` by coin."""
    first = events[0]
    coins = ", ".join(event.symbol for event in events)
    title = f"{first.source} lists {coins} against KRW"
    lines = [first.title, first.url] if first.url else [first.title]
    lines.append(_when(first, now_ns))
    for event in events:
        if event.opening_ns:
            lines.append(f"{event.symbol}: trading opens {iso_ns(event.opening_ns)[:16]}Z")
        names = feeds.get(event.symbol, ())
        shown = ", ".join(names[:FEEDS_SHOWN]) or "no feed"
        lines.append(f"{event.symbol}: {len(names)} of 12 feeds have it: {shown}")
        found = sorted(moves.get(event.symbol, ()), key=lambda move: -move.percent)
        if found:
            best = found[0]
            lines.append(
                f"{event.symbol}: {best.percent:+.1f} % on {best.feed} so far,"
                f" {best.first:g} to {best.highest:g}, now {best.last:g}"
            )
    return title, "\n".join(lines)


def _when(event: ListingEvent, now_ns: int) -> str:
    late_ns = now_ns - event.announced_ns
    told = f"announced {iso_ns(event.announced_ns)[:19]}Z, seen {late_ns / SECOND_NS:.1f} s later"
    if late_ns >= LATE_NS:
        told = f"LATE by {_duration(late_ns)}: {told}"
    return f"{told} by {event.channel}"


def _duration(span_ns: int) -> str:
    seconds = span_ns // SECOND_NS
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def proven_text(certificate: Certificate, where: str, before: str) -> tuple[str, str]:
    """Title and body (``LINES_MAX`` lines) of a verdict; ``before``: the one that was told.

    ``where``: the last line, what to open.
    """
    coin, window = certificate.symbol, certificate.window
    again = "now " if before else ""
    title = f"{coin} ({certificate.source}, {window.kind}): {again}{certificate.verdict}"
    lines = [
        f"{iso_ns(window.from_ns)[:19]} to {iso_ns(window.to_ns)[11:19]} UTC:"
        f" {certificate.rows} trades on {certificate.exchanges_with_data} of 12 feeds"
    ]
    for grade in GRADES:
        named = [feed for feed in certificate.feeds if feed.grade == grade]
        if named:
            told = ", ".join(
                f"{feed.feed} {feed.rows}" if feed.rows else feed.feed for feed in named
            )
            lines.append(f"{grade.replace('_', ' ')}: {told}")
    suspects = [feed.feed for feed in certificate.feeds if feed.is_suspect_identity]
    if suspects:
        lines.append(f"perhaps another coin of this name: {', '.join(suspects)}")
    if certificate.missing:
        lines.append(f"waits for: {'; '.join(certificate.missing[:3])}")
    return title, "\n".join([*lines[: LINES_MAX - 1], where])


def document(kind: str, events: Sequence[ListingEvent], **more: Any) -> bytes:
    """For machines: the live stream and the command of [listing] exec."""
    rows = [
        {
            "source": event.source, "notice_id": event.notice_id, "symbol": event.symbol,
            "title": event.title, "url": event.url, "channel": event.channel,
            "announced_at": iso_ns(event.announced_ns), "detected_at": iso_ns(event.detected_ns),
            "announced_ns": event.announced_ns, "detected_ns": event.detected_ns,
            "opening_at": iso_ns(event.opening_ns) if event.opening_ns else None,
            "trigger_delay_ms": (event.detected_ns - event.announced_ns) // MS_NS,
            "state": event.state,
        }
        for event in events
    ]  # fmt: skip
    return msgspec.json.encode({"type": kind, "events": rows, **more})
