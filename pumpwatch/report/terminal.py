"""The report as tables in the terminal, from report.json. Sans I/O."""

from __future__ import annotations

import msgspec
from rich.console import Group
from rich.table import Table
from rich.text import Text

from pumpwatch.errors import BundleError
from pumpwatch.report import format as show
from pumpwatch.report.buying import ALL
from pumpwatch.report.document import Measure, Report
from pumpwatch.report.movers import BY_VENUE

SIZE_SHOWN = 10_000.0


def decode(data: bytes, what: str) -> Report:
    """report.json. Raises BundleError for another version's."""
    try:
        return msgspec.json.decode(data, type=Report)
    except msgspec.DecodeError as error:
        raise BundleError(f"{what}: another version's report: {error}") from None


def tables(report: Report) -> Group:
    """Sentences and tables, the most asked for first."""
    told = [Text(report.proof[0], style="bold"), *(Text(f"- {one}") for one in report.findings)]
    return Group(
        *told, _feeds(report), _movers(report), _before(report), Text(report.leak.text),
        _purchases(report),
    )  # fmt: skip


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    return table


def _feeds(report: Report) -> Table:
    table = _table("feeds", "feed", "proof", "trades", "USDT", "bought", "highest", "at the end")
    for one in report.feeds:
        name = f"{one.feed} (another coin?)" if one.is_suspect_identity else one.feed
        table.add_row(
            name, one.grade, f"{one.trades:,}", show.money(one.volume_quote),
            show.percent(one.taker_buy_percent), show.change(one.rise_percent),
            show.change(one.change_percent),
        )  # fmt: skip
    return table


def _movers(report: Report) -> Table:
    table = _table("who rose first by 3 %", "feed", "at", "behind, venue's clock", "±",
                   "behind, our clock", "±")  # fmt: skip
    by = {ranking.by: {one.feed: one for one in ranking.movers} for ranking in report.rankings}
    venue = by.pop(BY_VENUE, {})
    ours = next(iter(by.values()), {})
    for feed, one in venue.items():
        cells = [feed, f"{one.relative_ms / 1000:+.3f} s"]
        for mover in (one, ours.get(feed)):
            tie = " tie" if mover is not None and mover.is_tie else ""
            cells += [f"{show.millis(mover.behind_ms)}{tie}", show.millis(mover.error_ms)] if (
                mover is not None) else [show.NONE, show.NONE]  # fmt: skip
        table.add_row(*cells)
    return table


def _measure(measure: Measure, text: str) -> str:
    if measure.percentile is None:
        return text
    return f"{text} (> {measure.percentile:.0f} %)"


def _before(report: Report) -> Table:
    held = f"before, against {report.past_s:,} s of the coin's past"
    table = _table(held, "last", "price", "coins", "trades", "bought by takers")
    for one in report.before:
        price = show.change(one.change.value) + (" less BTC" if one.is_btc_adjusted else "")
        table.add_row(
            show.span(one.span_s), _measure(one.change, price),
            _measure(one.coins, show.money(one.coins.value)),
            _measure(one.trades, show.money(one.trades.value)),
            _measure(one.taker_buy, show.percent(one.taker_buy.value)),
        )  # fmt: skip
    return table


def _purchases(report: Report) -> Table:
    title = f"what {show.money(SIZE_SHOWN)} USDT could buy, from trades, not from the book"
    table = _table(title, "after", "delay", "paid", "against before", "filled in", "then 10 s",
                   "then 60 s")  # fmt: skip
    for one in report.purchases:
        if one.feed == ALL and one.size_quote == SIZE_SHOWN:
            table.add_row(
                one.anchor.replace("_", " "), f"{one.delay_s:g} s", show.price(one.price),
                show.change(one.slippage_percent), show.millis(one.fill_ms),
                show.change(one.mark_10_s_percent), show.change(one.mark_60_s_percent),
            )  # fmt: skip
    return table
