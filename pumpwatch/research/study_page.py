"""The study as one page that needs no network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
import plotly.io  # type: ignore[import-untyped]

from pumpwatch.research.moves import (
    AFTER_MS,
    DRIFT_S,
    DRIFT_SPREADS,
    MOVE_PERCENT,
    SIZE_ERRORS,
)
from pumpwatch.research.study import RESAMPLES, Study

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .7rem;text-align:right;
border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}p{max-width:48rem}
"""
LINE, BAND, GREY = "#1f6feb", "rgba(31,111,235,.18)", "#999"


def render(study: Study) -> str:
    """The same study gives the same text."""
    parts = [
        f"<h1>{len(study.events)} listings</h1>", _span(study),
        "<h2>What a listing does</h2>", _figure(_path(study), "path", is_first=True),
        f"<p>The median of {study.path.events} events each second, against the minute before; of"
        " each event the median of its feeds. The band holds 90 % of the medians of"
        f" {RESAMPLES} samples of events, drawn with replacement (seed {study.seed}).</p>",
        "<h2>Who moves first</h2>", _league(study),
        f"<p>A feed has moved with the first trade that is {MOVE_PERCENT:g} % from the minute"
        " before (median of three trades, and five times its own noise). The move lies between"
        " that trade and the one before it: feeds of which nobody was certainly earlier tie, and"
        " share the event's point.</p>",
        "<h2>Before the notice</h2>", _drift_text(study), _figure(_drift(study), "drift"),
        "<h2>How far</h2>", _figure(_sizes(study), "sizes"), _size_table(study),
        "<h2>Left out</h2>", _left_out(study),
    ]  # fmt: skip
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Listings</title>'
        f"<style>{STYLE}</style></head><body>\n{body}\n</body></html>\n"
    )


def _span(study: Study) -> str:
    first, last = study.events["at"][0], study.events["at"][-1]
    sources = ", ".join(sorted(set(study.events["source"])))
    return f"<p>{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC; {html.escape(sources)}.</p>"


def _figure(figure: go.Figure, name: str, *, is_first: bool = False) -> str:
    figure.update_layout(template="plotly_white", height=380, margin={"t": 20, "r": 20})
    return str(plotly.io.to_html(
        figure, include_plotlyjs=is_first, full_html=False, div_id=f"study-{name}",
        config={"displaylogo": False},
    ))  # fmt: skip


def _path(study: Study) -> go.Figure:
    path = study.path
    figure = go.Figure()
    figure.add_scatter(x=path.t_s, y=path.high, mode="lines", line={"width": 0}, showlegend=False,
                       hoverinfo="skip")  # fmt: skip
    figure.add_scatter(x=path.t_s, y=path.low, mode="lines", line={"width": 0}, fill="tonexty",
                       fillcolor=BAND, name="90 % band", hoverinfo="skip")  # fmt: skip
    figure.add_scatter(x=path.t_s, y=path.percent, mode="lines", line={"color": LINE},
                       name="median")  # fmt: skip
    figure.update_xaxes(title="seconds after the event")
    figure.update_yaxes(title="% from the minute before")
    return figure


def _drift(study: Study) -> go.Figure:
    judged = study.judged
    figure = go.Figure()
    figure.add_scatter(
        x=[one.event_id for one in judged], y=[one.random_percent for one in judged],
        error_y={"array": [DRIFT_SPREADS * (one.spread_percent or 0.0) for one in judged]},
        mode="markers", marker={"color": GREY}, name="random times",
    )  # fmt: skip
    figure.add_scatter(
        x=[one.event_id for one in judged], y=[one.percent for one in judged], mode="markers",
        marker={"color": LINE}, name="before the notice",
    )  # fmt: skip
    figure.update_yaxes(title=f"% in {DRIFT_S // 60} minutes")
    figure.update_xaxes(showticklabels=False)
    return figure


def _sizes(study: Study) -> go.Figure:
    figure = go.Figure()
    for sizes in study.sizes:
        values = [one.peak_percent for one in study.moves
                  if one.feed == sizes.feed and one.peak_percent is not None]  # fmt: skip
        figure.add_box(y=values, name=sizes.feed, boxpoints=False)
    figure.update_layout(showlegend=False)
    figure.update_yaxes(title=f"% within {AFTER_MS // 1000} s")
    return figure


def _drift_text(study: Study) -> str:
    judged = study.judged
    if not judged:
        return "<p>No event has the hour before: nothing can be said.</p>"
    told = f"a drift of {study.drift_percent:+.3f} %" if study.has_drift else "no drift is shown"
    claimed = [one.event_id for one in judged if one.is_claimed]
    alone = ", ".join(claimed) if claimed else "none"
    return (
        f"<p><b>All {len(judged)} events together: {told}</b> (99 % of resampled means between"
        f" {study.drift_low:+.3f} and {study.drift_high:+.3f} %). It is the change in the"
        f" {DRIFT_S // 60} minutes before the event, less what the same coin did in as long a span"
        " at random times of the hour before. Events that drifted by themselves, more than"
        f" {DRIFT_SPREADS:g} spreads of those random times: {html.escape(alone)}.</p>"
    )


def _league(study: Study) -> str:
    head = ("feed", "points", "first alone", "first with others", "events", "behind, median ms")
    rows = [
        (one.feed, f"{one.points:.2f}", one.alone, one.tied, one.events, f"{one.behind_ms:,.0f}")
        for one in study.league
    ]
    return _table(head, rows)


def _size_table(study: Study) -> str:
    errors = sorted(
        one.peak_error_percent for one in study.moves if one.peak_error_percent is not None
    )
    middle = errors[len(errors) // 2] if errors else 0.0
    head = ("feed", "events", "median %", "25 %", "75 %")
    rows = [
        (one.feed, one.events, f"{one.median_percent:.2f}", f"{one.low_percent:.2f}",
         f"{one.high_percent:.2f}")
        for one in study.sizes
    ]  # fmt: skip
    return _table(head, rows) + (
        f"<p>A single size is uncertain by {SIZE_ERRORS:g} times its feed's noise in the minute"
        f" before, {middle:.2f} % at the middle.</p>"
    )


def _left_out(study: Study) -> str:
    rows = [(one.event_id, one.feed, one.left_out) for one in study.moves if one.left_out]
    rows += [(one.event_id, "drift", one.left_out) for one in study.drifts if one.left_out]
    if not rows:
        return "<p>Nothing.</p>"
    return _table(("event", "what", "why"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    def line(cells: Sequence[Any], tag: str) -> str:
        inside = "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells)
        return f"<tr>{inside}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<table>{line(head, 'th')}{body}</table>"
