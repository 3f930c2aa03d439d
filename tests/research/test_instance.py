"""Questions to a real database: of events that have a bundle, and of some that have none."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import trio

from pumpwatch import research
from pumpwatch.errors import UsageError
from pumpwatch.research.columns import EVENTS, TRADES
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.research.making import FIRST_NS, NS, Shape, make_bundle
from tests.store.conftest import empty_database, sql
from tests.store.upkeep import add_event, add_trades

__all__ = ["empty_database", "sql"]  # fixtures
pytestmark = pytest.mark.questdb

AT_NS = FIRST_NS + 7 * 86_400 * NS
ROWS = 2 * 5_400  # of POD: an hour and a half on each side, two a second


@pytest.fixture
async def settings(questdb_server: ServerAddress, empty_database: Sql, tmp_path: Path) -> Path:
    """A running instance: POD is in the tables only, AVA has a bundle too."""
    await apply_schema(empty_database, spool_is_empty=lambda: True)
    await add_trades(
        empty_database, AT_NS - 5_400 * NS, rows=2 * ROWS, step_ns=NS // 2, symbol="PODUSDT"
    )
    await add_trades(empty_database, AT_NS - 30 * NS, rows=60, step_ns=NS, seed=5)  # BTC
    await add_event(empty_database, AT_NS, "POD", notice="1234")
    ava = make_bundle(tmp_path / "data/listings", Shape(coin="AVA", feeds=("gate_spot",)))
    known = research.events(ava).row(0, named=True)
    await add_event(empty_database, FIRST_NS, "AVA", notice=known["notice_id"])
    lines = [f'data_dir = "{tmp_path / "data"}"', "[questdb]", 'mode = "external"',
             f'http_url = "{questdb_server.http_url}"', f'pg_host = "{questdb_server.pg_host}"',
             f"pg_port = {questdb_server.pg_port}"]  # fmt: skip
    for name in ("password", "readonly_password"):
        (tmp_path / name).write_text(getattr(questdb_server, name))
        lines.append(f'{name}_file = "{tmp_path / name}"')
    file = tmp_path / "pumpwatch.toml"
    file.write_text("\n".join(lines))
    return file


async def test_events_with_and_without_a_bundle_stand_once(settings: Path) -> None:
    events = await trio.to_thread.run_sync(research.events, settings)
    assert events.columns == list(EVENTS)
    assert events.select("coin", "notice_id", "state").rows()[1] == ("POD", "1234", "pending")
    assert events["coin"].to_list() == ["AVA", "POD"]
    assert events["bundle"].is_null().to_list() == [False, True]

    def later() -> pl.DataFrame:
        return research.events(settings, since=events["at"][1], source="upbit")

    assert (await trio.to_thread.run_sync(later))["coin"].to_list() == ["POD"]


async def test_a_window_is_its_bundles_or_what_the_tables_hold(settings: Path) -> None:
    def ask() -> None:
        window = research.window("POD", settings)
        assert window.columns == list(TRADES)
        assert len(window) == 80  # 40 s of two a second, the last moment excluded
        assert set(window["symbol"]) == {"PODUSDT"}
        assert (window["t_ms"].min(), window["t_ms"].max()) == (-20_000.0, 19_500.0)
        assert window["certified"].is_null().all()
        assert window["venue_symbol"].unique().to_list() == ["POD-USDT"]
        kept = research.window("POD", settings, kept=True)
        assert len(kept) == 2 * 3_600 * 2
        bundled = research.window("AVA", settings)
        assert bundled.equals(research.window("AVA", settings.parent / "data"))
        assert bundled["certified"].unique().to_list() == ["proven"]

    await trio.to_thread.run_sync(ask)


async def test_trades_of_a_coin_are_its_instruments_and_no_others(settings: Path) -> None:
    def ask() -> None:
        at = research.events(settings)["at"][1]
        found = research.trades("POD", at - timedelta(seconds=5), at, settings)
        assert found["timestamp"].to_list() == [
            at - timedelta(seconds=5) + n * timedelta(milliseconds=500) for n in range(10)
        ]
        assert found["event_id"].is_null().all()
        with pytest.raises(UsageError, match="XYZ: no feed ever had an instrument"):
            research.trades("XYZ", at, at + timedelta(seconds=1), settings)
        with pytest.raises(UsageError, match="XYZ: no event of this name or coin"):
            research.window("XYZ", settings)

    await trio.to_thread.run_sync(ask)


async def test_scan_and_panel_join_both_kinds(settings: Path) -> None:
    def ask() -> None:
        names = research.events(settings)["event_id"].to_list()
        rows = research.scan(data=settings).collect()
        counts = dict(rows.group_by("event_id").len().rows())
        assert counts[names[1]] == 2 * 3_600 * 2
        assert counts[names[0]] == len(research.window("AVA", settings, kept=True))
        panel = research.panel(
            research.events(settings), before="20s", after="10s", every="1s", data=settings
        )
        assert panel["event_id"].unique(maintain_order=True).to_list() == names
        of_pod = panel.filter(event_id=names[1])
        assert of_pod["t_ms"].to_list() == list(range(-20_000, 10_001, 1_000))
        window = research.window("POD", settings)
        for t_ms, price in of_pod.select("t_ms", "okx_spot").iter_rows():
            last = window.filter(pl.col("t_ms") <= t_ms)["price"]
            assert price == last[-1]
        assert of_pod["gate_spot"].is_null().all()
        assert panel.filter(event_id=names[0])["gate_spot"].drop_nulls().len() > 10

    await trio.to_thread.run_sync(ask)
