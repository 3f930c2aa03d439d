"""The check of ``verify`` that asks a venue: its list of latest trades beside the table's rows."""

from __future__ import annotations

from pumpwatch.capture.overlap import CLOCKS_APART_NS, name_rows, plain, without_cut_instant
from pumpwatch.errors import VenueError
from pumpwatch.model import Instrument
from pumpwatch.moments import iso_ns
from pumpwatch.rest import RestClient
from pumpwatch.store.gap_rows import Questions
from pumpwatch.venues.history import Span as Hole
from pumpwatch.venues.history import first_request
from pumpwatch.venues.spec import FeedSpec
from pumpwatch.verify_book import Book, Difference, Span

SHOWN_MAX = 20
SECOND_NS = 10**9
ROWS_SQL = (
    "SELECT timestamp::long AS exchange_ns, trade_id, side, price, quantity FROM trades"
    " WHERE timestamp >= cast(%s AS TIMESTAMP_NS) AND timestamp < cast(%s AS TIMESTAMP_NS)"
    " AND exchange = %s AND market_type = %s AND symbol = %s"
)


async def compare_with_venue(
    sql: Questions, rest: RestClient, spec: FeedSpec, instrument: Instrument, book: Book, span: Span
) -> list[Difference]:
    """Rows of the venue's list that lie in the span: each is stored, under one time, as told."""

    def difference(what: str, reason: str = "") -> Difference:
        return Difference(feed=spec.name, symbol=instrument.symbol, check="venue", what=what,
                          reason=reason)  # fmt: skip

    page = spec.recent
    hole = Hole(from_ns=span.from_ns, to_ns=span.to_ns)
    request = first_request(page, instrument.venue_symbol, hole)
    try:
        body = await rest.get(spec, page.path, request.params, page.weight)
        rows = name_rows(page.read(body, instrument.venue_symbol).trades, instrument)
    except VenueError as error:
        return [difference("not compared", f"the venue did not answer: {error}")]
    if len(rows) >= page.rows_max:
        rows = without_cut_instant(rows)
    latest_ns = span.to_ns - CLOCKS_APART_NS
    rows = [row for row in rows if span.from_ns <= row.exchange_ns < latest_ns]
    if not rows:
        return []
    stored = await sql.query_dicts(
        ROWS_SQL,
        [rows[0].exchange_ns - 2 * SECOND_NS, rows[-1].exchange_ns + 2 * SECOND_NS,
         spec.exchange, spec.market_type, instrument.symbol],
    )  # fmt: skip
    by_key = {(row["exchange_ns"], row["trade_id"]): row for row in stored}
    times = {row["trade_id"]: row["exchange_ns"] for row in stored}
    found = []
    for row in rows:
        at = f"trade {row.trade_id} of {iso_ns(row.exchange_ns)}"
        same = by_key.get((row.exchange_ns, row.trade_id))
        if same is None and row.ordinal < 0 and row.trade_id in times:
            other = iso_ns(times[row.trade_id])
            found.append(difference(f"{at} is stored with the time {other}"))
        elif same is None:
            gap = book.explains_time(instrument.symbol, row.exchange_ns, row.exchange_ns)
            reason = (
                "" if gap is None else f"{gap.state}: {gap.reason or gap.cause}, gap {gap.gap_id}"
            )
            found.append(difference(f"{at} is not there", reason))
        else:
            price = float(plain(row.trade.price, exponent=instrument.price_exponent))
            quantity = float(plain(row.trade.quantity, instrument.contract_value))
            told = (row.trade.side, price, quantity)
            if told != (same["side"], same["price"], same["quantity"]):
                kept = (same["side"], same["price"], same["quantity"])
                found.append(difference(f"{at} is {kept}, the venue says {told}"))
    return found[:SHOWN_MAX]
