"""What a notebook asks, of folders of bundles of known shape."""

from __future__ import annotations

import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pumpwatch import research
from pumpwatch.listing.bundle import KEPT, TRADES
from tests.research.making import FIRST_NS, Move, Shape, make_bundle, make_bundles

ROOT = Path(__file__).parents[2]
NS = 10**9
TYPES = {
    "String": pl.String, "Int64": pl.Int64, "Float64": pl.Float64, "Boolean": pl.Boolean,
    "Datetime(ns, UTC)": pl.Datetime("ns", "UTC"),
}  # fmt: skip


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    make_bundles(folder / "listings", [
        Shape(coin="POD", seed=1, moves={"okx_spot": Move(500, 8.0)}),
        Shape(coin="AVA", seed=2, at_ns=FIRST_NS + 3_600 * NS, source="bithumb",
              feeds=("okx_spot", "binance_spot")),
        Shape(coin="POD", seed=3, at_ns=FIRST_NS + 30 * NS, feeds=("okx_spot",)),
    ])  # fmt: skip
    return folder


def is_as_documented(frame: pl.DataFrame, columns: dict[str, str]) -> bool:
    return dict(frame.schema) == {name: TYPES[kind] for name, kind in columns.items()}


# Run as a program: what this process has imported says nothing of what a notebook imports.
LIGHT = """
import sys
before = set(sys.modules)
from pumpwatch import research
at_import = set(sys.modules) - before
events = research.events({folder!r})
research.panel(events, "1s", "1s", data={folder!r})
list(research.replay(events.row(0, named=True), {folder!r}))
print(*(name for name in at_import if name.split(".")[0] != "pumpwatch"))
print(*(name for name in sys.modules if name.split(".")[0] in ("trio", "httpx", "psycopg")
        or name.startswith("pumpwatch._fast")))
"""


def test_a_folder_of_bundles_needs_neither_trio_nor_the_c_modules(data_dir: Path) -> None:
    script = LIGHT.format(folder=str(data_dir))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    at_import, heavy = done.stdout.splitlines()
    assert not {"polars", "msgspec", "cryptography", "structlog"} & set(at_import.split())
    assert heavy == ""


def test_events_are_documented_and_in_order(data_dir: Path) -> None:
    events = research.events(data_dir)
    assert is_as_documented(events, research.EVENTS)
    assert events["coin"].to_list() == ["POD", "POD", "AVA"]
    assert events["source"].to_list() == ["upbit", "upbit", "bithumb"]
    first = events.row(0, named=True)
    assert first["event_id"] == Path(first["bundle"]).name
    assert first["to"] - first["from"] == timedelta(seconds=40)
    grades = ("proven", "covered", "incomplete", "not_listed")
    assert sum(first[grade] for grade in grades) == 12
    assert events["not_listed"].to_list() == [0, 11, 10]
    assert len(research.events(data_dir, source="bithumb")) == 1
    later = datetime(2026, 5, 29, tzinfo=UTC)
    assert research.events(data_dir, since=later)["coin"].to_list() == []
    since = events["at"][1]
    assert len(research.events(data_dir, since=since)) == 2
    assert research.events(data_dir / "listings").equals(events)
    assert research.events(Path(first["bundle"]))["event_id"].to_list() == [first["event_id"]]


def test_a_window_is_the_bundles_rows_with_their_grade(data_dir: Path) -> None:
    event = research.events(data_dir).row(0, named=True)
    window = research.window(event, data_dir)
    assert is_as_documented(window, research.TRADES)
    written = pl.read_parquet(Path(event["bundle"]) / TRADES)
    assert_frame_equal(window.select(written.columns), written)
    assert window["t_ms"].is_between(-20_000, 20_000, closed="left").all()
    assert set(window["certified"]) == {"proven", "covered"}
    kept = research.window(event, data_dir, kept=True)
    assert len(kept) == len(pl.read_parquet(Path(event["bundle"]) / KEPT)) > len(window)
    assert kept.filter(pl.col("certified").is_not_null()).equals(window)


def test_a_coin_names_its_newest_event(data_dir: Path) -> None:
    newest = research.events(data_dir).filter(coin="POD").row(-1, named=True)
    assert research.window("POD", data_dir).equals(research.window(newest, data_dir))


def test_trades_of_overlapping_bundles_come_once(tmp_path: Path) -> None:
    """The same rows lie in two bundles whose moments are 30 s apart."""
    shape = Shape(feeds=("okx_spot", "gate_spot"), rate_per_s=5)
    place = make_bundle(tmp_path, shape)
    whole = research.trades("POD", "2026-01-01", "2027-01-01", tmp_path)
    other = tmp_path / f"{place.name}_again"
    place.rename(tmp_path / "aside")
    for name in (place.name, other.name):
        shutil.copytree(tmp_path / "aside", tmp_path / name)
    (tmp_path / "aside").rename(tmp_path.parent / f"{tmp_path.name}-aside")
    twice = research.trades("POD", "2026-01-01", "2027-01-01", tmp_path)
    assert twice.drop("event_id").equals(whole.drop("event_id"))
    half = research.trades("POD", "2026-01-01", whole["timestamp"][100], tmp_path)
    assert half.equals(twice.head(100))


def test_replay_is_in_the_order_of_receipt(data_dir: Path) -> None:
    event = research.events(data_dir).row(0, named=True)
    rows = list(research.replay(event, data_dir))
    assert [row.at_ns for row in rows] == sorted(row.at_ns for row in rows)
    assert all(row.is_timed and row.at_ns > row.timestamp_ns for row in rows)
    window = research.window(event, data_dir)
    keys = ["timestamp", "feed", "trade_id"]
    expected = set(window.select(pl.col("timestamp").cast(pl.Int64), *keys[1:]).iter_rows())
    assert {(row.timestamp_ns, row.feed, row.trade_id) for row in rows} == expected


def test_a_row_that_came_late_is_told_when_the_stream_would_have() -> None:
    from pumpwatch.research.replaying import receive_order
    from tests.research.making import rows_of

    rows = rows_of(Shape(feeds=("okx_spot",), rate_per_s=10))
    rows = rows.with_columns(
        feed=pl.lit("okx_spot"),
        origin=pl.when(pl.int_range(pl.len()) % 7 == 0).then(pl.lit("backfill"))
        .otherwise(pl.lit("stream")),
    ).with_columns(
        received_at=pl.when(pl.col("origin") == "backfill")
        .then(pl.col("received_at") + pl.duration(hours=1)).otherwise(pl.col("received_at"))
    )  # fmt: skip
    ordered = receive_order(rows)
    lag = ordered["at_ns"] - ordered["timestamp_ns"]
    assert lag.max() < 100_000_000
    assert (~ordered["is_timed"]).sum() == len(rows.filter(pl.col("origin") == "backfill"))
    assert lag.filter(~ordered["is_timed"]).n_unique() == 1


# --- panel ----------------------------------------------------------------------------------------


def test_a_panel_is_what_was_known_at_each_moment(data_dir: Path) -> None:
    """Against plain python, point for point."""
    events = research.events(data_dir)
    panel = research.panel(events, "20s", "20s", "500ms", data=data_dir)
    assert panel.columns[:2] == ["event_id", "t_ms"]
    assert dict(panel.schema)["event_id"] == pl.String
    assert len(panel) == len(events) * 81
    for event in events.iter_rows(named=True):
        kept = research.window(event, data_dir, kept=True)
        part = panel.filter(event_id=event["event_id"])
        assert part["t_ms"].to_list() == list(range(-20_000, 20_001, 500))
        for feed in kept["feed"].unique():
            rows = kept.filter(feed=feed).select("t_ms", "price").rows()
            prices = [
                next((price for t_ms, price in reversed(rows) if t_ms <= point), None)
                for point in range(-20_000, 20_001, 500)
            ]
            assert part[feed].to_list() == prices


def test_a_panel_of_amounts_holds_every_trade_of_the_span_once(data_dir: Path) -> None:
    events = research.events(data_dir)
    counts = research.panel(events, "10s", "10s", "100ms", data=data_dir, value="trade_count")
    coins = research.panel(events, "10s", "10s", "100ms", data=data_dir, value="quantity")
    for event in events.iter_rows(named=True):
        kept = research.window(event, data_dir, kept=True)
        # The first point's own step reaches back before the span.
        inside = kept.filter((pl.col("t_ms") > -10_100) & (pl.col("t_ms") <= 10_000))
        for feed in inside["feed"].unique():
            rows = inside.filter(feed=feed)
            part = pl.col("event_id") == event["event_id"]
            assert counts.filter(part)[feed].sum() == len(rows)
            assert coins.filter(part)[feed].sum() == pytest.approx(rows["quantity"].sum())


def test_a_feed_with_another_coin_of_that_name_is_left_out(tmp_path: Path) -> None:
    moves = {"gate_spot": Move(-60_000, 80.0, 1.0)}  # 80 % above the others from the beginning on
    make_bundle(tmp_path, Shape(moves=moves, feeds=("gate_spot", "okx_spot", "binance_spot")))
    window = research.window("POD", tmp_path)
    assert window.filter("suspect")["feed"].unique().to_list() == ["gate_spot"]
    panel = research.panel(research.events(tmp_path), "5s", "5s", "1s", data=tmp_path)
    assert panel.columns == ["event_id", "t_ms", "binance_spot", "okx_spot"]


# --- errors that say what to do -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda data: research.events(data / "nowhere"), "data = a data_dir"),
        (lambda data: research.window("NIX", data), "no event of this name or coin"),
        (lambda data: research.trades("NIX", "2026-01-01", "2026-01-02", data), "NIX"),
        (lambda data: research.trades("POD", "yesterday", "2026-01-02", data), "start = "),
        (lambda data: research.events(data, since=datetime(2026, 1, 1)), "tzinfo=UTC"),  # noqa: DTZ001
        (lambda data: research.panel(["POD"], "1 hour", data=data), "before = '1 hour'"),
        (lambda data: research.panel(["POD"], every="0ms", data=data), "every = 0ms"),
        (lambda data: research.panel(["POD"], data=data, value="vwap"), "value = 'vwap'"),
    ],
)
def test_errors_say_what_to_do(ask: object, told: str, data_dir: Path) -> None:
    assert callable(ask)
    with pytest.raises(research.PumpWatchError, match=told):
        ask(data_dir)


def test_an_empty_folder_says_where_bundles_lie(tmp_path: Path) -> None:
    with pytest.raises(research.PumpWatchError, match="data_dir/listings"):
        research.events(tmp_path)


def test_a_damaged_bundle_names_the_verb_that_tells_more(tmp_path: Path) -> None:
    place = make_bundle(tmp_path, Shape(feeds=("okx_spot",)))
    (place / TRADES).unlink()
    with pytest.raises(research.PumpWatchError, match="listings verify"):
        research.window("POD", tmp_path)
    (place / "event.json").write_text("{")
    with pytest.raises(research.PumpWatchError, match="listings verify"):
        research.events(tmp_path)
