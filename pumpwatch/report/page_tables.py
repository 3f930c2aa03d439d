"""The page's tables. Sans I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from pumpwatch.report import format as show
from pumpwatch.report.before import span_text
from pumpwatch.report.buying import ALL
from pumpwatch.report.document import FeedFigures, Measure, Mover, Purchase, Report
from pumpwatch.report.movers import BY_RECEIPT, BY_VENUE

__all__ = ["before", "buckets", "feeds", "largest", "pumps", "purchases", "rankings", "span_text"]

GRADE_TONES = {"proven": "good", "covered": "accent", "incomplete": "bad", "archive": "warn",
               "not_listed": ""}  # fmt: skip
PUMPS_SHOWN = 12
HIGH_PERCENTILE = 95
ANCHORS = {
    "announcement": "after the notice's time", "opening": "after the opening",
    "detection": "after we saw the notice", "first_mover": "after the first feed had risen by 3 %",
}  # fmt: skip


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], none: str) -> str:
    """Rows of cells that are HTML already; a heading that begins with < is at the left."""
    heads = "".join(
        f'<th class="l">{escape(one[1:])}</th>'
        if one.startswith("<")
        else f"<th>{escape(one)}</th>"
        for one in headings
    )
    body = "".join(_row(row) for row in rows)
    body = body or f'<tr><td class="empty" colspan="{len(headings)}">{escape(none)}</td></tr>'
    whole = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{whole}</div>'


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(
        one if one.startswith("<td") else f"<td>{one}</td>" for one in cells
    ) + "</tr>"  # fmt: skip


def _change(value: float | None) -> str:
    tone = "" if not value else ("up" if value > 0 else "down")
    return f'<span class="{tone}">{show.change(value)}</span>'


def _name(feed: str) -> str:
    return escape(feed.replace("_", " "))


def feeds(report: Report) -> str:
    """What is proven and traded of each of the twelve."""
    headings = ("feed", "<proof", "trades", "USDT", "bought", "highest", "at the end", "large",
                "arrives after", "<why no better, or why not at all")  # fmt: skip
    return table(headings, (_feed(one) for one in report.feeds), "")


def _feed(one: FeedFigures) -> Sequence[str]:
    tone = GRADE_TONES.get(one.grade, "")
    chip = f'<span class="chip {tone}">{escape(one.grade.replace("_", " "))}</span>'
    if one.is_suspect_identity:
        chip += ' <span class="chip warn">another coin?</span>'
    reasons = [one.suspicion] if one.suspicion else []
    why = f'<td class="why">{escape("; ".join([*reasons, *one.reasons[:3]]))}</td>'
    name = f"<td>{_name(one.feed)}<small>{escape(', '.join(one.symbols))}</small></td>"
    if not one.trades:
        return (name, f'<td class="l">{chip}</td>', "0" if one.symbols else show.NONE,
                *[show.NONE] * 6, why)  # fmt: skip
    return (
        name, f'<td class="l">{chip}</td>', f"{one.trades:,}", show.money(one.volume_quote),
        show.percent(one.taker_buy_percent), _change(one.rise_percent),
        _change(one.change_percent), f"{one.large_trades}", show.millis(one.lag_ms_median), why,
    )  # fmt: skip


def rankings(report: Report) -> str:
    """One row a feed, by both clocks."""
    by = {ranking.by: {one.feed: one for one in ranking.movers} for ranking in report.rankings}
    venue, receipt = by.get(BY_VENUE, {}), by.get(BY_RECEIPT, {})
    rows = []
    for feed, one in venue.items():
        here = receipt.get(feed)
        rows.append(
            (
                f"<td>{_name(feed)}</td>", f"{one.relative_ms / 1000:+.3f} s",
                _behind(one), show.error(one.error_ms), _behind(here),
                show.error(here.error_ms) if here else show.NONE,
            )
        )  # fmt: skip
    headings = ("feed", "rose by 3 % at", "behind, venue's clock", "", "behind, our clock", "")
    return table(headings, rows, "No feed rose by 3 % within a second.")


def _behind(one: Mover | None) -> str:
    if one is None:
        return show.NONE
    if one.is_first:
        return '<span class="chip good">first</span>'
    return show.millis(one.behind_ms) + (' <span class="chip">tie</span>' if one.is_tie else "")


def pumps(report: Report) -> str:
    """The first ones, in time's order."""
    if not report.pumps:
        return ""
    rows = [
        (
            f"<td>{_name(one.feed)}</td>", f"{one.relative_ms / 1000:+.3f} s",
            _change(one.change_percent),
            f"{show.price(one.start_price)} to {show.price(one.peak_price)}",
            f"{one.trades:,}", show.money(one.volume_quote),
            f"{one.volume_ratio:,.1f} times" if one.volume_ratio is not None else show.NONE,
            f"{one.intensity:.1f}",
        )
        for one in report.pumps[:PUMPS_SHOWN]
    ]  # fmt: skip
    more = len(report.pumps) - PUMPS_SHOWN
    tail = f'<p class="lead">and {more} more in report.json</p>' if more > 0 else ""
    headings = ("feed", "at", "rise", "price", "trades", "USDT", "usual volume", "intensity")
    return f"<h3>Pumps</h3>{table(headings, rows, '')}{tail}"


def buckets(report: Report) -> str:
    """Parts of the window."""
    rows = [
        (
            f"<td>{escape(one.name)}</td>", f"{_side(one.from_s)} to {_side(one.to_s)} s",
            f"{one.trades:,}", show.money(one.volume_quote), show.percent(one.taker_buy_percent),
            f"{one.large_trades:,}", _change(one.change_percent), str(one.feeds),
        )
        for one in report.buckets
    ]  # fmt: skip
    headings = ("part", "from, to", "trades", "USDT", "bought by takers", "over 1,000 USDT",
                "price, median feed", "feeds")  # fmt: skip
    return table(headings, rows, "")


def _side(seconds: float) -> str:
    return f"{seconds:+.0f}" if seconds else "0"


def before(report: Report) -> str:
    """The last hour, ten minutes, minute, ten seconds; and the sentence on a leak."""
    rows = [
        (
            f"<td>last {show.span(one.span_s)}</td>",
            _measure(one.change, _change(one.change.value)),
            _measure(one.coins, show.money(one.coins.value)),
            _measure(one.trades, show.money(one.trades.value)),
            _measure(one.taker_buy, show.percent(one.taker_buy.value)),
            f"{one.past_spans:,} spans" if one.past_spans else "too little past",
        )
        for one in report.before
    ]
    is_adjusted = all(one.is_btc_adjusted for one in report.before)
    price = "price, less BTC's" if is_adjusted else "price (BTC's is not held)"
    headings = ("", price, "coins", "trades", "bought by takers", "compared with")
    tone = " warn" if report.leak.is_named else ""
    note = f'<p class="note{tone}">{escape(report.leak.text)}</p>'
    return table(headings, rows, "") + note


def _measure(measure: Measure, text: str) -> str:
    if measure.percentile is None:
        return text
    tone = " high" if measure.percentile >= HIGH_PERCENTILE else ""
    bar = f'<span class="rank{tone}"><i style="width:{measure.percentile:.0f}%"></i></span>'
    return f"{text}<small>{show.percentile(measure)}{bar}</small>"


def purchases(report: Report) -> str:
    """A table for each moment to act from: delays down, sizes across; all feeds together."""
    together = [one for one in report.purchases if one.feed == ALL]
    parts = []
    for anchor in dict.fromkeys(one.anchor for one in together):
        of_anchor = [one for one in together if one.anchor == anchor]
        sizes = sorted({one.size_quote for one in of_anchor})
        delays = sorted({one.delay_s for one in of_anchor})
        found = {(one.delay_s, one.size_quote): one for one in of_anchor}
        rows = [
            (f"<td>{delay:g} s</td>", *(_purchase(found[delay, size]) for size in sizes))
            for delay in delays
        ]
        headings = ("bought", *(f"for {show.money(size)} USDT" for size in sizes))
        parts.append(f"<h3>{escape(ANCHORS[anchor])}</h3>{table(headings, rows, '')}")
    if not parts:
        return '<p class="note">No trades are held after these moments.</p>'
    return "".join(parts) + (
        '<p class="lead">Paid: volume-weighted, against the last price before. Then: what it was'
        " worth 10 s and 60 s after the last fill. Each feed alone is in report.json.</p>"
    )


def _purchase(one: Purchase) -> str:
    if one.price is None:
        return f"{show.NONE}<small>nobody bought in the minute after</small>"
    if not one.is_filled:
        return f"{show.NONE}<small>only {show.money(one.filled_quote)} were bought</small>"
    marks = f"then {show.change(one.mark_10_s_percent)}, {show.change(one.mark_60_s_percent)}"
    return (
        f"{show.price(one.price)} ({show.change(one.slippage_percent)})"
        f"<small>in {show.millis(one.fill_ms)}; {marks}</small>"
    )


def largest(report: Report) -> str:
    """The ten largest trades."""
    rows = [
        (
            f"<td>{_name(one.feed)}</td>", f"{one.relative_ms / 1000:+.3f} s", escape(one.side),
            show.price(one.price), show.money(one.quote),
            f'<td class="l"><small>{escape(one.trade_id)}</small></td>',
        )
        for one in report.largest
    ]  # fmt: skip
    headings = ("feed", "at", "taker", "price", "USDT", "<the venue's id")
    return table(headings, rows, "No trade.")
