"""Holes that REST gave up, and the simulated venues' daily files: filled, lost, never believed."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio

from pumpwatch.archiving import Archiving, days_of, url_of
from pumpwatch.capture.archive_fold import values_of
from pumpwatch.capture.feed_state import FeedState
from pumpwatch.capture.ledger import ARCHIVE
from pumpwatch.config import Config
from pumpwatch.config_upkeep import ArchivesConfig
from pumpwatch.daemon import Daemon
from pumpwatch.model import Gap
from pumpwatch.rest import RestClient
from pumpwatch.sim.venue import Request
from pumpwatch.store.gap_rows import NEEDED_SQL
from pumpwatch.store.segment import MIB
from pumpwatch.store.spool import run_spool
from pumpwatch.store.spool_files import START
from pumpwatch.venues.archives import OKX_SPOT
from pumpwatch.venues.spec import RestTrade
from tests._fast.ilp_reading import Line, read_lines
from tests.capture.specs import instrument
from tests.sim.driving import START_NS, traded
from tests.sim.driving import Stage as SimStage
from tests.store.records import TRADES, SetClock

DAY_NS = 86_400 * 10**9
SECOND_NS = 10**9
REASON = "the venue shows its latest 60 trades"


class Network(httpx.AsyncBaseTransport):
    """The simulated venues, without sockets."""

    def __init__(self, stage: SimStage) -> None:
        self.asked: list[str] = []
        self.refusals = 0  # 429s that are still to come
        self._stage = stage

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.refusals:
            self.refusals -= 1
            return httpx.Response(429, headers={"retry-after": "1"})
        feed = request.url.host.replace("-", "_").removesuffix(".test")
        query = dict(request.url.params)
        answer = await self._stage.exchange.answer(
            feed, Request("GET", request.url.path, query, {})
        )
        return httpx.Response(answer.status, content=answer.body)


class Stage:
    """A daemon's spool, ledger and one feed, of whose trades some are held."""

    def __init__(self, folder: Path, feed: str, venue_symbol: str, query: str) -> None:
        host = f"http://{feed.replace('_', '-')}.test"
        url = f"{feed}={host}/archive/{{symbol}}/{{year}}-{{month}}-{{day}}{query}"
        config = Config(
            data_dir=folder, archives=ArchivesConfig(enabled=True, urls=(url,), wait_days=2)
        )
        self.clock = SetClock(START_NS + 60 * SECOND_NS)
        self.daemon = Daemon(config, self.clock, random.Random(1))
        self.feed: FeedState = next(f for f in self.daemon.feeds if f.spec.name == feed)
        self.one = msgspec.structs.replace(
            instrument(venue_symbol), venue_symbol=venue_symbol, feed=feed
        )
        self.feed.add_instruments([self.one])
        self.held: list[dict[str, Any]] = []
        self.gaps: dict[str, Gap] = {}
        self.network: Network | None = None

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        assert "FROM trades" in sql
        low, high = params[:2]
        return [row for row in self.held if low <= row["exchange_ns"] <= high]  # type: ignore[operator]

    def hold(self, rows: Sequence[RestTrade], *, own_ids: bool) -> None:
        for number, row in enumerate(rows):
            ns, side, price, quantity = values_of(row, self.one)
            self.held.append(
                {"trade_id": f"own{number}" if own_ids else row.trade_id, "exchange_ns": ns,
                 "side": side, "price": price, "quantity": quantity}
            )  # fmt: skip

    def await_file(self, rows: Sequence[RestTrade]) -> str:
        """A hole of these rows that REST gave up; with ids where they count up."""
        ledger, spec = self.daemon.ledger, self.feed.spec
        from_ns, to_ns = rows[0].exchange_ns - 1, rows[-1].exchange_ns + 1
        gap_id = ledger.suspect(spec, self.one.symbol, "cut", from_ns, to_ns)
        if rows[0].order_id:
            entry = ledger._rows[gap_id]
            ledger._rows.change(entry, first_id=rows[0].order_id)
            ledger.confirm(gap_id, rows[-1].order_id)
        ledger.await_archive(gap_id, REASON)
        return gap_id

    def lines(self) -> list[Line]:
        files = self.daemon.spool.files
        upto = files.table_ends().get(TRADES, START)
        batch = files.read(TRADES, START, upto, 100_000, 64 * MIB)
        return [] if batch is None else read_lines(b"".join(batch.payloads))


@asynccontextmanager
async def staged(
    folder: Path, feed: str, query: str = ""
) -> AsyncIterator[tuple[Stage, Archiving, list[RestTrade]]]:
    """Some seconds of trades, of which the middle third is not held."""
    async with traded(feed, 6) as (sim, symbol):
        stage = Stage(folder, feed, symbol, query)
        page = stage.feed.spec.recent
        answer = await sim.exchange.answer(
            feed, Request("GET", page.path, {page.symbol_param: symbol, **page.params}, {})
        )
        rows = page.read(answer.body, symbol).trades
        assert len(rows) > 30
        network = stage.network = Network(sim)
        emit = stage.daemon.ledger._rows._emit

        def note(changed: list[Gap]) -> None:
            stage.gaps |= {gap.gap_id: gap for gap in changed}
            emit(changed)

        stage.daemon.ledger._rows._emit = note
        async with (
            RestClient(stage.daemon.config, random.Random(2), transport=network) as rest,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(run_spool, stage.daemon.spool, {})
            yield stage, Archiving(stage.daemon, rest, stage), rows
            nursery.cancel_scope.cancel()


def third(rows: list[RestTrade]) -> tuple[list[RestTrade], list[RestTrade]]:
    """The middle rows, and the others; rows of one instant stay together."""
    times = sorted({row.exchange_ns for row in rows})
    low, high = times[len(times) // 3], times[2 * len(times) // 3]
    # Older rows than the list shows would be in the file alone: they do not matter.
    middle = [row for row in rows if low <= row.exchange_ns <= high]
    return middle, [row for row in rows if row not in middle]


@pytest.mark.parametrize("feed", ["binance_futures", "okx_spot", "bybit_spot", "bybit_futures"])
async def test_a_file_fills_what_rest_could_not(
    feed: str, tmp_path: Path, autojump_clock: object
) -> None:
    async with staged(tmp_path, feed) as (stage, archiving, rows):
        missing, held = third(rows)
        stage.hold(held, own_ids=feed == "bybit_spot")
        gap_id = stage.await_file(missing)
        assert stage.gaps[gap_id].state == "awaiting_archive"
        assert stage.daemon.ledger.due() == []
        tally = await archiving.look()
        assert (tally.files, tally.rows, tally.filled) == (1, len(missing), 1)
        assert (tally.lost, tally.waiting, tally.disagreeing) == (0, 0, 0)
        await stage.daemon.spool.written()
        lines = stage.lines()
        assert {line.symbols["origin"] for line in lines} == {"archive"}
        wanted = [row.exchange_ns for row in missing]
        assert [line.timestamp_ns for line in lines] == wanted
        if feed != "bybit_spot":
            assert [line.fields["trade_id"] for line in lines] == [row.trade_id for row in missing]
        last = stage.gaps[gap_id]
        assert (last.state, last.filled_rows, last.reason) == ("filled", len(missing), ARCHIVE)
        assert stage.daemon.ledger.open_gaps() == []


async def test_a_file_without_all_of_it_fills_what_it_has(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with staged(tmp_path, "binance_futures") as (stage, archiving, rows):
        missing, held = third(rows)
        stage.hold(held, own_ids=False)
        beyond = missing[-1].order_id + 3  # ids that no file has
        gap_id = stage.daemon.ledger.suspect(
            stage.feed.spec, stage.one.symbol, "cut", missing[0].exchange_ns - 1,
            missing[-1].exchange_ns + 1,
        )  # fmt: skip
        ledger = stage.daemon.ledger
        ledger._rows.change(ledger._rows[gap_id], first_id=missing[0].order_id)
        ledger.confirm(gap_id, beyond)
        ledger.await_archive(gap_id, REASON)
        tally = await archiving.look()
        assert (tally.rows, tally.lost) == (len(missing), 1)
        states = sorted((gap.state, gap.missing) for gap in stage.gaps.values())
        assert states == [("filled", len(missing)), ("lost", 3)]


@pytest.mark.parametrize("query", ["?wrong=3", "?holes=3"])
@pytest.mark.parametrize("feed", ["okx_spot", "bybit_spot"])
async def test_a_file_that_disagrees_is_not_believed(
    feed: str, query: str, tmp_path: Path, autojump_clock: object
) -> None:
    async with staged(tmp_path, feed, query) as (stage, archiving, rows):
        missing, held = third(rows)
        stage.hold(held, own_ids=feed == "bybit_spot")
        gap_id = stage.await_file(missing)
        tally = await archiving.look()
        assert (tally.disagreeing, tally.rows, tally.lost) == (1, 0, 1)
        assert stage.gaps[gap_id].state == "lost"
        assert "disagrees" in stage.gaps[gap_id].reason
        await stage.daemon.spool.written()
        assert stage.lines() == []


async def test_a_file_that_is_not_there_is_waited_for_and_then_given_up(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with staged(tmp_path, "okx_spot", "?holes=1") as (stage, archiving, rows):
        stage.hold(rows, own_ids=False)
        gap_id = stage.await_file(rows[5:9])
        tally = await archiving.look()
        assert (tally.files, tally.waiting, tally.lost) == (0, 1, 0)
        assert stage.gaps[gap_id].state == "awaiting_archive"
        stage.clock.now_ns += 3 * DAY_NS
        tally = await archiving.look()
        assert (tally.waiting, tally.lost) == (0, 1)
        assert "no daily file" in stage.gaps[gap_id].reason


async def test_a_venue_that_says_429_is_asked_again(tmp_path: Path, autojump_clock: object) -> None:
    async with staged(tmp_path, "okx_spot") as (stage, archiving, rows):
        missing, held = third(rows)
        stage.hold(held, own_ids=False)
        stage.await_file(missing)
        assert stage.network is not None
        stage.network.refusals = 2
        tally = await archiving.look()
        assert (tally.filled, len(stage.network.asked)) == (1, 3)


async def test_only_days_with_such_a_hole_are_asked_for(
    tmp_path: Path, autojump_clock: object
) -> None:
    async with staged(tmp_path, "okx_spot") as (stage, archiving, _):
        assert (await archiving.look()).files == 0
        assert stage.network is not None
        assert stage.network.asked == []


def test_a_restart_keeps_what_awaits_a_file(tmp_path: Path) -> None:
    assert "awaiting_archive" in NEEDED_SQL
    gap = Gap(gap_id="a", opened_ns=1, exchange="okx", market_type="spot", symbol="X", cause="cut",
              state="awaiting_archive")  # fmt: skip
    assert gap.is_open


def test_a_day_is_the_file_s_own() -> None:
    """OKX cuts its days at 16:00 UTC."""
    begin_ns = START_NS // DAY_NS * DAY_NS
    gap = Gap(
        gap_id="a", opened_ns=1, exchange="okx", market_type="spot", symbol="X", cause="cut",
        from_ns=begin_ns + 15 * 3600 * SECOND_NS, to_ns=begin_ns + 17 * 3600 * SECOND_NS,
    )  # fmt: skip
    days = days_of(gap, OKX_SPOT)
    assert len(days) == 2
    assert f"{days[0]:%Y%m%d}" in url_of(OKX_SPOT, "BTC-USDT", days[0])
    assert (days[1] - days[0]).days == 1
    utc = msgspec.structs.replace(OKX_SPOT, utc_offset_h=0)
    assert len(days_of(gap, utc)) == 1


def test_without_the_setting_what_rest_cannot_bring_is_lost(tmp_path: Path) -> None:
    daemon = Daemon(Config(data_dir=tmp_path), SetClock(), random.Random(1))
    assert not any(feed.awaits_archive for feed in daemon.feeds)
