"""The report's charts as plotly takes them; colours are the page's names for them. Sans I/O.

A text that begins with two dashes is one of the page's colours: the page puts it in, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from pumpwatch.report.document import Report, figure
from pumpwatch.report.movers import BY_VENUE

STEP_NS = 100 * 10**6  # of the price's line: a window of any size gives as many points
SECOND_NS = 10**9
INKS = 6  # --ink-0 …: one colour for an exchange
Chart = dict[str, Any]


def charts(report: Report, inside: pl.DataFrame) -> dict[str, Chart]:
    """Every chart by the id of its place; ``inside``: the window's trades, suspects left out."""
    found = {"chart-price": _price(report, inside), "chart-volume": _volume(report, inside)}
    if any(ranking.movers for ranking in report.rankings):
        found["chart-movers"] = _movers(report)
    return found


def _inks(report: Report) -> dict[str, str]:
    exchanges = list(dict.fromkeys(one.feed.partition("_")[0] for one in report.feeds))
    return {name: f"--ink-{number % INKS}" for number, name in enumerate(exchanges)}


def _layout(x_title: str, y_title: str, **more: Any) -> Chart:
    axis = {
        "gridcolor": "--line", "zerolinecolor": "--line", "linecolor": "--line",
        "tickfont": {"color": "--dim"}, "automargin": True,
    }  # fmt: skip
    title = {"font": {"color": "--dim", "size": 12}, "standoff": 8}
    return {
        "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
        "paper_bgcolor": "transparent", "plot_bgcolor": "transparent",
        "font": {"color": "--text", "size": 12, "family": "--font"},
        "hoverlabel": {"bgcolor": "--panel", "bordercolor": "--line", "font": {"color": "--text"}},
        "legend": {"orientation": "h", "y": -0.2, "font": {"color": "--text"}},
        "xaxis": {**axis, "title": {**title, "text": x_title}, "ticksuffix": " s"},
        "yaxis": {**axis, "title": {**title, "text": y_title}},
        **more,
    }  # fmt: skip


def _marks(report: Report) -> tuple[list[Chart], list[Chart]]:
    """Upright lines at the notice, at its detection, at the first mover; and their names."""
    until_s = (report.to_ns - report.at_ns) / SECOND_NS
    name = "notice" if report.kind == "announcement" else "opening"
    marks = [(0.0, name, "--bad", 1.0)]
    seen_s = (report.moments.first_seen_ns - report.at_ns) / SECOND_NS
    if 0 < seen_s < until_s:
        marks.append((seen_s, "seen by us", "--accent", 0.93))
    if report.moments.first_mover_ns:
        first_s = (report.moments.first_mover_ns - report.at_ns) / SECOND_NS
        marks.append((first_s, "first mover", "--warn", 0.86))
    lines = [
        {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
         "line": {"color": ink, "width": 1.5, "dash": "dot"}}
        for x, _, ink, _ in marks
    ]  # fmt: skip
    names = [
        {"x": x, "yref": "paper", "y": y, "text": text, "showarrow": False, "xanchor": "left",
         "xshift": 4, "yanchor": "top", "font": {"color": ink, "size": 11}}
        for x, text, ink, y in marks
    ]  # fmt: skip
    return lines, names


def _price(report: Report, inside: pl.DataFrame) -> Chart:
    """Each feed's price, in percent of its last one before the notice."""
    inks = _inks(report)
    traces = []
    for one in report.feeds:
        trades = inside.filter(pl.col("feed") == one.feed)
        if not len(trades):
            continue
        known = trades.filter(pl.col("at_ns") < report.at_ns)
        base = float(known["price"][-1] if len(known) else trades["price"][0])
        steps = (
            trades.group_by(((pl.col("at_ns") - report.at_ns) // STEP_NS).alias("step"))
            .agg(pl.col("price").last(), (pl.col("at_ns").last() - report.at_ns).alias("x"))
            .sort("step")
        )
        exchange, _, market_type = one.feed.partition("_")
        traces.append(
            {
                "type": "scatter", "mode": "lines", "name": f"{exchange} {market_type}",
                "x": _figures((steps["x"] / SECOND_NS).to_list()),
                "y": _figures(((steps["price"] / base - 1) * 100).to_list()),
                "line": {
                    "color": inks[exchange], "width": 1.4, "shape": "hv",
                    "dash": "dot" if market_type == "futures" else "solid",
                },
                "hovertemplate": "%{x:.1f} s  %{y:+.2f} %",
            }
        )  # fmt: skip
    lines, names = _marks(report)
    layout = _layout(
        f"seconds after {_moment(report)}", f"price against the last one before {_moment(report)}",
        shapes=lines, annotations=names, hovermode="closest",
    )  # fmt: skip
    layout["yaxis"]["ticksuffix"] = " %"
    layout["yaxis"]["zerolinecolor"] = "--dim"
    return {"data": traces, "layout": layout}


def _volume(report: Report, inside: pl.DataFrame) -> Chart:
    """Per second, what takers bought (up) and sold (down), all feeds together."""
    low = (report.from_ns - report.at_ns) // SECOND_NS
    high = (report.to_ns - 1 - report.at_ns) // SECOND_NS
    sums = (
        inside.group_by(
            ((pl.col("at_ns") - report.at_ns) // SECOND_NS).alias("second"), pl.col("is_buy")
        )
        .agg(pl.col("quote").sum())
        .rows()
    )
    by_second = {(second, is_buy): quote for second, is_buy, quote in sums}
    seconds = list(range(low, high + 1))
    traces = []
    for is_buy, name, ink in ((True, "takers bought", "--good"), (False, "takers sold", "--bad")):
        amounts = [by_second.get((second, is_buy), 0.0) for second in seconds]
        traces.append(
            {
                "type": "bar", "name": name, "x": [second + 0.5 for second in seconds],
                "y": _figures([amount if is_buy else -amount for amount in amounts]),
                "customdata": _figures(amounts), "marker": {"color": ink},
                "hovertemplate": f"%{{x:.0f}} s: {name} %{{customdata:,.0f}} USDT<extra></extra>",
            }
        )  # fmt: skip
    lines, _ = _marks(report)
    layout = _layout(
        f"seconds after {_moment(report)}", "USDT a second", barmode="relative", bargap=0.15,
        shapes=lines,
    )  # fmt: skip
    layout["yaxis"]["tickformat"] = ",.2~s"
    return {"data": traces, "layout": layout}


def _movers(report: Report) -> Chart:
    """When each feed had risen by 3 %, with its error, by both clocks."""
    traces = []
    feeds: list[str] = []
    for ranking in report.rankings:
        is_venue = ranking.by == BY_VENUE
        movers = [one for one in ranking.movers if one.feed in feeds or is_venue]
        feeds = feeds or [one.feed for one in movers]
        traces.append(
            {
                "type": "scatter", "mode": "markers",
                "name": "by the venue's clock" if is_venue else "by our clock",
                "x": _figures([one.relative_ms / 1000 for one in movers]),
                "y": [one.feed.replace("_", " ") for one in movers],
                "error_x": {
                    "type": "data", "array": _figures([(m.error_ms or 0) / 1000 for m in movers]),
                    "thickness": 1.5, "width": 4, "color": "--accent" if is_venue else "--dim",
                },
                "marker": {
                    "color": "--accent" if is_venue else "--dim", "size": 9,
                    "symbol": "circle" if is_venue else "diamond-open",
                },
                "hovertemplate": "%{y}: %{x:.3f} s<extra></extra>",
            }
        )  # fmt: skip
    layout = _layout(f"seconds after {_moment(report)}", "", height=90 + 30 * len(feeds))
    layout["yaxis"] |= {
        "type": "category", "categoryorder": "array", "autorange": "reversed",
        "categoryarray": [feed.replace("_", " ") for feed in feeds],
    }  # fmt: skip
    layout["legend"]["y"] = 1.14
    return {"data": traces, "layout": layout}


def _moment(report: Report) -> str:
    return "the notice" if report.kind == "announcement" else "the opening"


def _figures(values: Sequence[float]) -> list[float]:
    return [figure(value) for value in values]
