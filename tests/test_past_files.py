"""Daily files of long ago: whole, with holes, wrong, absent, and behind a 429."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from pumpwatch.capture.overlap import Listed, name_rows
from pumpwatch.past_files import FileSpan, PastFiles, holes
from pumpwatch.rest import RestClient
from pumpwatch.sim.venue import Request
from pumpwatch.venues.spec import RestTrade
from tests.sim.driving import traded
from tests.test_archiving import Network, Stage

FEEDS = ["binance_spot", "okx_spot", "bybit_spot", "bybit_futures", "gate_futures"]


class Files:
    """A feed's simulated trades, and their file."""

    def __init__(self, stage: Stage, files: PastFiles, network: Network, rows: list[Listed]):
        self.stage, self.files, self.network, self.rows = stage, files, network, rows

    @property
    def from_ns(self) -> int:
        return self.rows[0].exchange_ns

    async def read(self, shown: list[Listed]) -> FileSpan:
        to_ns = shown[0].exchange_ns if shown else self.rows[-1].exchange_ns + 1
        return await self.files.read(self.from_ns, to_ns, shown)


@asynccontextmanager
async def staged(folder: Path, feed: str, query: str = "") -> AsyncIterator[Files]:
    async with traded(feed, 6) as (sim, symbol):
        stage, network = Stage(folder, feed, symbol, query), Network(sim)
        page = stage.feed.spec.recent
        query_of_list = {page.symbol_param: symbol, **page.params}
        body = await sim.exchange.answer(feed, Request("GET", page.path, query_of_list, {}))
        rows = name_rows(page.read(body.body, symbol).trades, stage.one)
        assert len(rows) > 30
        rest = RestClient(stage.daemon.config, random.Random(2), transport=network)
        async with rest:
            named = dict(one.split("=", 1) for one in stage.daemon.config.archives.urls)
            assert stage.feed.spec.archive is not None
            archive = structs.replace(stage.feed.spec.archive, url=named[feed])
            yield Files(stage, PastFiles(rest, stage.feed.spec, archive, stage.one), network, rows)


def facts(rows: list[Listed]) -> list[tuple[object, ...]]:
    return [(row.exchange_ns, row.trade.side, float(row.trade.price)) for row in rows]


@pytest.mark.parametrize("feed", FEEDS)
async def test_what_the_list_no_longer_shows_is_in_the_file(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    async with staged(tmp_path, feed) as files:
        shown = files.rows[20:]
        found = await files.read(shown)
        assert sorted(facts(found.rows)) == sorted(facts(files.rows[:20]))
        assert (found.text, found.reached_ns) == ("", files.from_ns)


@pytest.mark.parametrize("feed", FEEDS)
async def test_a_file_that_differs_from_the_list_is_not_believed(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    for query in ("?wrong=3", "?holes=3"):
        async with staged(tmp_path / query[1:6], feed, query) as files:
            shown = files.rows[20:]
            found = await files.read(shown)
            assert found.rows == []
            assert found.reached_ns == shown[0].exchange_ns
            assert "differs from the list" in found.text
            assert not found.lacks_file  # to ask again would not help


async def test_numbers_that_a_file_skips_are_told(tmp_path: Path, autojump_clock: object) -> None:
    async with staged(tmp_path, "binance_spot", "?holes=7") as files:
        found = await files.read([])
        assert 0 < len(found.rows) < len(files.rows)
        assert "numbers are not in the daily files" in found.text
        last = files.from_ns
        numbers = {row.trade.order_id for row in found.rows}
        for row in files.rows:
            if row.trade.order_id not in numbers:
                last = row.exchange_ns
        assert found.reached_ns >= last


async def test_a_429_is_waited_out_and_a_404_is_told(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with staged(tmp_path / "one", "okx_spot") as files:
        files.network.refusals = 2
        found = await files.read(files.rows[20:])
        assert (len(found.rows), len(files.network.asked)) == (20, 3)
    async with staged(tmp_path / "two", "okx_spot", "-none") as files:
        shown = files.rows[20:]
        found = await files.read(shown)
        assert (found.rows, found.reached_ns) == ([], shown[0].exchange_ns)
        assert "404" in found.text
        assert found.lacks_file


def test_the_last_hole_is_found() -> None:
    def row(number: int) -> RestTrade:
        return RestTrade(trade_id=str(number), order_id=number, sequence_number=number, side="buy",
                         price="1", quantity="1", exchange_ns=number * 10)  # fmt: skip

    assert holes([row(one) for one in (1, 2, 3)]) == (0, 0)
    assert holes([row(one) for one in (1, 4, 5, 7, 8)]) == (70, 3)
