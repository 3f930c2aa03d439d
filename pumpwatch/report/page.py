"""report.html: one file for people, offline, the same bytes for the same report. Blocking.

Everything in it that others wrote (titles, addresses, reasons) is escaped; the page's own policy
lets it load nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files

import msgspec

from pumpwatch.moments import iso_ns
from pumpwatch.report import format as show
from pumpwatch.report import page_tables as tables
from pumpwatch.report.charts import Chart
from pumpwatch.report.document import Report
from pumpwatch.report.movers import BY_VENUE
from pumpwatch.report.words import MOMENTS, seconds_text

PLOTLY = ("package_data", "plotly.min.js")
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; base-uri 'none'; form-action 'none'"
)
STATE_TONES = {"complete": "good", "partial": "warn"}


def page(report: Report, charts: dict[str, Chart]) -> bytes:
    """The whole file."""
    static = files("pumpwatch.report").joinpath("static")
    plotly = files("plotly").joinpath(*PLOTLY).read_text("utf-8").replace("</script", "<\\/script")
    data = msgspec.json.encode(charts).decode().replace("<", "\\u003c")
    name = MOMENTS[report.kind]
    parts = [
        '<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(report.symbol)}: {name}, {iso_ns(report.at_ns)[:19]}Z</title>",
        f"<style>{static.joinpath('report.css').read_text('utf-8')}</style></head>",
        '<body data-state="waiting">',
        *_top(report), "<main>", *_opening(report), *_tiles(report), *_sections(report, charts),
        "</main>", _footer(report),
        f'<script type="application/json" id="charts">{data}</script>',
        f"<script>{plotly}</script>",
        f"<script>{static.joinpath('report.js').read_text('utf-8')}</script></body></html>",
    ]  # fmt: skip
    return ("\n".join(parts) + "\n").encode()


def _top(report: Report) -> list[str]:
    tone = STATE_TONES[report.state]
    link = escape(report.title or report.notice_id)
    if report.url.startswith(("https://", "http://")):
        link = f'<a href="{escape(report.url)}" rel="noreferrer">{link}</a>'
    return [
        '<header class="top"><div>',
        f"<h1>{escape(report.symbol)}</h1>",
        f'<p class="what">{escape(report.source)}, {_clock(report.at_ns)} UTC:'
        f" {MOMENTS[report.kind]}. {link}</p></div>",
        f'<div class="right"><span class="chip {tone}">{escape(report.state)},'
        f" version {report.revision}</span>",
        '<button id="theme" type="button">dark</button></div></header>',
    ]


def _opening(report: Report) -> list[str]:
    tone = "bad" if any(feed.grade == "incomplete" for feed in report.feeds) else ""
    tone = tone or ("" if report.state == "complete" else "warn")
    items = [f'<li class="fact">{escape(one)}</li>' for one in report.findings]
    items += [f"<li>{escape(one)}</li>" for one in report.proof[1:]]
    return [
        f'<section class="opening {tone}"><p class="first">{escape(report.proof[0])}</p>',
        f"<ul>{''.join(items)}</ul></section>",
    ]


def _tiles(report: Report) -> list[str]:
    most = max(report.pumps, key=lambda pump: pump.change_percent, default=None)
    feeds = sum(feed.trades > 0 for feed in report.feeds)
    tiles = [
        (f"{report.trades:,}", f"trades on {feeds} feeds"),
        (show.money(report.volume_quote), "USDT traded"),
        (show.percent(report.taker_buy_percent), "of it bought by takers"),
        (show.change(most.change_percent) if most else "none",
         f"the highest rise within a second{f', {most.feed}' if most else ''}"),
        _first_tile(report),
        (seconds_text(report.moments.detection_ms), "from the notice's time until we saw it"),
    ]  # fmt: skip
    inner = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(text)}</span></div>'
        for value, text in tiles
    )
    return [f'<div class="tiles">{inner}</div>']


def _first_tile(report: Report) -> tuple[str, str]:
    movers = next((r.movers for r in report.rankings if r.by == BY_VENUE), [])
    if not movers:
        return "nobody", "rose by 3 % within a second"
    ties = sum(one.is_tie for one in movers)
    first, at = movers[0].feed.replace("_", " "), f"{movers[0].relative_ms / 1000:+.2f} s"
    if ties:
        return "a tie", f"{first} and {ties} more rose first by 3 %, at {at}"
    return first, f"rose first by 3 %, at {at}"


def section(title: str, lead: str, *inner: str) -> str:
    """A part of the page; ``lead`` says in words what is shown."""
    return "".join([f"<section><h2>{escape(title)}</h2>", f'<p class="lead">{lead}</p>', *inner,
                    "</section>"])  # fmt: skip


def _sections(report: Report, charts: dict[str, Chart]) -> Iterable[str]:
    moment = "the notice" if report.kind == "announcement" else "the opening"
    yield section(
        "Price", f"Each feed against its own last price before {moment}: full lines are spot"
        " markets, dotted ones perpetual futures.", '<div class="chart" id="chart-price"></div>',
    )  # fmt: skip
    yield section(
        "Who bought, who sold", "Each second, all feeds together. A taker is the one who came to"
        " an order that stood there: who was in a hurry.",
        '<div class="chart" id="chart-volume"></div>', tables.buckets(report),
    )  # fmt: skip
    chart = '<div class="chart" id="chart-movers"></div>' if "chart-movers" in charts else ""
    yield section(
        "Who moved first", "When each feed had risen by 3 % within a second. Clocks differ and the"
        " way to us takes time: the bars show how far off each moment may be, and what lies within"
        " them is called a tie.",
        chart, tables.rankings(report), tables.pumps(report),
    )  # fmt: skip
    yield section(
        "What could be bought", "From trades, not from the book: a buyer takes the place of those"
        " who bought from that moment on, on all feeds together, until the size is reached. Whoever"
        " buys on top of them pays more.", tables.purchases(report),
    )  # fmt: skip
    yield section(
        f"Before {moment}", f"Was it unusual? Each figure stands beside how much of the coin's own"
        f" past lies below it; {tables.span_text(report.past_s)} of that past are held.",
        tables.before(report),
    )  # fmt: skip
    yield section(
        "The twelve feeds", "What is proven of each, and what it traded from"
        f" {_seconds(report.at_ns - report.from_ns)} before to"
        f" {_seconds(report.to_ns - report.at_ns)} after.", tables.feeds(report),
    )  # fmt: skip
    yield section("The largest trades", "All feeds together, largest first.",
                  tables.largest(report))  # fmt: skip
    yield section("How well this is known", "Times, and how to check what is said here.",
                  _facts(report))  # fmt: skip


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns // 10**9} s"


def _clock(moment_ns: int) -> str:
    return iso_ns(moment_ns)[:19].replace("T", " ") if moment_ns else "not known"


def _facts(report: Report) -> str:
    moments = report.moments
    bracket = "no look before it did not show it"
    if moments.last_absent_ns:
        looked_ms = (moments.first_seen_ns - moments.last_absent_ns) / 1e6
        bracket = f"the look before, {seconds_text(looked_ms)} earlier, did not show it yet"
    facts: Sequence[tuple[str, str]] = [
        ("published", f"{_clock(moments.announced_ns)} UTC, to the second: the board tells no"
                      " more, so a time after it may be up to 1 s less"),
        ("seen by us", f"{iso_ns(moments.first_seen_ns)[:23].replace('T', ' ')} UTC; {bracket}"),
        ("trading opens", f"{_clock(moments.opening_ns)}{' UTC' if moments.opening_ns else ''}"),
        ("a pump", "within one second, at least five trades and a highest price at least 3 % above"
                   " the lowest before it; intensity = 0.7 times the rise + 0.3 times the volume"),
        ("± by the venue's clock", "the least time between a trade and its arrival in the window:"
                                   " the way and the clocks' difference together"),
        ("± by our clock", "the usual time between a trade and its arrival"),
        ("check it", "verify.py in this folder needs nothing but Python: it computes every row and"
                     " hash anew and checks the signature; VERIFY.md tells how"),
        ("the same figures", "report.json, without the drawings; trades.parquet has every trade"),
    ]  # fmt: skip
    inner = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts)
    return f'<dl class="facts">{inner}</dl>'


def _footer(report: Report) -> str:
    return (
        f"<footer>PumpWatch {escape(report.software)} · {escape(report.source)} notice"
        f" {escape(report.notice_id)} · rows around the window are held until"
        f" {_clock(report.kept_to_ns)} UTC</footer>"
    )
