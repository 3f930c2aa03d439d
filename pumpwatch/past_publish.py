"""The bundle of a listing of before the recording: rows of archive_trades, grade ``archive``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from pumpwatch.config import FEED_NAMES
from pumpwatch.listing.archive import Archive, read_map
from pumpwatch.listing.bundle import BundleDraft
from pumpwatch.listing.certificate import FeedEvidence, certify
from pumpwatch.listing.events import ListingEvent
from pumpwatch.listing.evidence import Window
from pumpwatch.listing.rows import read_pieces
from pumpwatch.listing.signing import load_signer
from pumpwatch.listing.window import KEPT_NS
from pumpwatch.listing_publish import Published, Publisher
from pumpwatch.model import Instrument
from pumpwatch.moments import iso_ns
from pumpwatch.past_journal import FeedHad
from pumpwatch.report.write import write_report
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_model import FeedAnswer, UsedInstrument
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.version import VERSION

if TYPE_CHECKING:
    from pumpwatch.daemon import Daemon

TABLE = "archive_trades"
NOT_RECORDED = "it was not recorded: what venues' lists and daily files still had"
in_thread = trio.to_thread.run_sync


async def publish_past(
    daemon: Daemon, sql: Sql, event: ListingEvent, window: Window,
    used: Mapping[str, Sequence[Instrument]], had: Mapping[str, Sequence[FeedHad]],
) -> Published:  # fmt: skip
    """Make it, signed, and put it in place. Raises ServerError, OSError, BundleError."""
    data_dir = daemon.config.data_dir
    archive = Archive(data_dir)
    signer = await in_thread(load_signer, data_dir)
    publisher = Publisher(sql, archive, data_dir, signer, write_report)
    staged = archive.staging(event.key, window)
    units = {(name, one.symbol): one.unit for name, some in used.items() for one in some}
    names = {(name, one.symbol): one.venue_symbol for name, some in used.items() for one in some}
    draft = await in_thread(BundleDraft, staged, event, window, FEED_NAMES, units)
    try:
        symbols = sorted({symbol for _, symbol in units})
        span = (window.at_ns - KEPT_NS, window.at_ns + KEPT_NS)
        async for frame in read_pieces(sql, symbols, *span, names, table=TABLE):
            await in_thread(draft.add, frame)
        await in_thread(draft.end_rows)
        evidence = await in_thread(_evidence, daemon, draft, used, had)
        held = await in_thread(archive.published, event.key, window)
        now_ns = daemon.clock.wall_ns()
        revision = 1 if held is None else held.revision + 1
        certificate = certify(
            event, window, evidence, software=VERSION, revision=revision, state="partial",
            missing=[NOT_RECORDED], made_at_ns=now_ns, kept_to_ns=min(span[1], now_ns),
        )  # fmt: skip
        return await publisher.put_in_place(draft, certificate)
    except BaseException:
        draft.discard()
        raise


def _evidence(
    daemon: Daemon, draft: BundleDraft, used: Mapping[str, Sequence[Instrument]],
    had: Mapping[str, Sequence[FeedHad]],
) -> list[FeedEvidence]:  # fmt: skip
    digests, prices = draft.digests(), draft.prices_before()
    mapped = read_map(daemon.config.data_dir).coins.get(draft.event.symbol, {})
    window, found = draft.window, []
    for name in FEED_NAMES:
        rows = {symbol: tally for (feed, symbol), tally in draft.rows.items() if feed == name}
        instruments = tuple(
            UsedInstrument(instrument=one, first_seen_ns=0, is_used=True, note="")
            for one in used.get(name, ())
        )
        absence = "" if instruments else "no instrument of this coin is known"
        answer = FeedAnswer(
            feed=name, instruments=instruments, rows=sum(one.count for one in rows.values()),
            covered_from_ns=window.from_ns, covered_to_ns=window.to_ns, open_gaps=(), note=absence,
        )  # fmt: skip
        found.append(
            FeedEvidence(
                answer=answer, ids=FEEDS_BY_NAME[name].ids.value, rows=rows, sha256=digests[name],
                absence=absence, price=prices.get(name, 0.0), mapped=mapped.get(name, ""),
                archive=[describe(one, window) for one in had[name]] if instruments else [],
            )
        )  # fmt: skip
    return found


def describe(had: FeedHad, window: Window) -> str:
    """One instrument's line of the certificate."""
    rows = f"{had.symbol}: {had.from_list} rows of the venue's list"
    rows += f", {had.from_file} of daily files" if had.from_file else ""
    if had.is_window_reached:
        return f"{rows}; the window is as the venue shows it"
    if not had.from_list + had.from_file:
        return f"{had.symbol}: nothing was to be had: {had.text}"
    return f"{rows}, from {iso_ns(had.reached_ns)[:19]} on only: {had.text}"
