"""Reading the venues' lists of latest trades: one case a feed, as the simulator writes them.

Lists are read in the event loop between two messages of the streams, and with 5,700 symbols there
are dozens a second (R11): what a row costs here is lag of the rows that come meanwhile.
"""

from __future__ import annotations

import trio
from trio.testing import MockClock

from bench.machine import emit, emit_machine, timed
from pumpwatch.sim.venue import Request
from pumpwatch.venues import FEEDS
from pumpwatch.venues.history import Span, first_request
from pumpwatch.venues.spec import FeedSpec
from tests.sim.driving import traded

SECONDS, ROWS_PER_S = 40.0, 50.0
ROWS = 100_000


async def latest(spec: FeedSpec) -> tuple[bytes, str]:
    """A list that is as long as the venue makes it, and whose it is."""
    async with traded(spec.name, SECONDS, rate_per_s=ROWS_PER_S) as (stage, symbol):
        now_ns = stage.clock.wall_ns()
        asked = first_request(spec.recent, symbol, Span(from_ns=now_ns, to_ns=now_ns))
        texts = {name: str(value) for name, value in asked.params.items()}
        request = Request("GET", spec.recent.path, texts, {})
        return stage.exchange.venues[spec.name].answer(request, trio.current_time()).body, symbol


def measure(spec: FeedSpec) -> None:
    """One case, printed."""
    body, symbol = trio.run(latest, spec, clock=MockClock(autojump_threshold=0))
    page = spec.recent.read(body, symbol)
    if page.refused or not page.trades:
        raise SystemExit(f"{spec.name}: {len(page.trades)} rows, refused {page.refused[:1]}")

    def run(_: None) -> int:
        rows = 0
        while rows < ROWS:
            rows += len(spec.recent.read(body, symbol).trades)
        return rows

    rows, best_s, median_s = timed(lambda: None, run)
    emit(
        "lists", spec.name, rows, best_s, median_rows_per_s=round(rows / median_s),
        rows_a_list=len(page.trades), us_per_row=round(best_s / rows * 1e6, 2),
    )  # fmt: skip


def main() -> None:
    """All feeds."""
    emit_machine("lists")
    for spec in FEEDS:
        measure(spec)


if __name__ == "__main__":
    main()
