"""Fifty events of known shape: what was planted is found, and nothing else."""

from __future__ import annotations

import math
import random
from pathlib import Path

import polars as pl
import pytest

from pumpwatch.cli import main
from pumpwatch.errors import UsageError
from pumpwatch.research.bundles import BundleFolder
from pumpwatch.research.moves import FeedMove, feed_moves
from pumpwatch.research.place import EventRows
from pumpwatch.research.study import (
    EVENTS_FILE,
    PAGE_FILE,
    Study,
    league_of,
    moves_frame,
    quantile,
    study,
    write,
)
from tests.research.making import FIRST_NS, NS, Move, Shape, make_bundle, make_bundles, rows_of

FEEDS = ("okx_spot", "binance_futures", "gate_spot", "phemex_futures")
RISE_MS, SIZE = 1_000.0, {"okx_spot": 8.0, "binance_futures": 7.0, "gate_spot": 6.0}
DRIFT_PERCENT = 3.0
SEED = 77


def shape(number: int) -> Shape:
    """OKX first in three of five, Binance in one, both at once in one; two of seven drift."""
    kind = number % 5
    okx_ms = 300.0 if kind != 3 else 3_000.0
    binance_ms = 300.0 if kind >= 3 else 3_000.0
    drifts = number % 7 in (2, 5)
    return Shape(
        coin=f"C{number:02d}", at_ns=FIRST_NS + number * 7_200 * NS, seed=SEED + number,
        source="bithumb" if drifts else "upbit", drift_percent=DRIFT_PERCENT if drifts else 0.0,
        moves={
            "okx_spot": Move(okx_ms, SIZE["okx_spot"], RISE_MS),
            "binance_futures": Move(binance_ms, SIZE["binance_futures"], RISE_MS),
            "gate_spot": Move(6_000.0, SIZE["gate_spot"], RISE_MS),
        },
        feeds=FEEDS, before_s=1_500, rate_per_s=0.5, window_rate_per_s=10.0,
    )  # fmt: skip


SHAPES = [shape(number) for number in range(50)]
BY_COIN = {one.coin: one for one in SHAPES}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    print(f"seed {SEED}")
    folder = tmp_path_factory.mktemp("fifty")
    make_bundles(folder, SHAPES)
    return folder


@pytest.fixture(scope="module")
def found(bundles: Path) -> Study:
    return study(BundleFolder(bundles), None, None)


def planted(one: FeedMove) -> Move | None:
    return BY_COIN[one.event_id.partition("_")[0]].moves.get(one.feed)


def test_first_moves_lie_between_the_trades_that_are_named(found: Study) -> None:
    """The price crosses 2 % at a known moment; drifting events have another base, and tell so."""
    checked = 0
    for one in found.moves:
        move = planted(one)
        if move is None:
            assert one.first_ms is None, one
            continue
        assert one.first_ms is not None, one
        assert one.first_from_ms is not None
        if BY_COIN[one.event_id[:3]].drift_percent:
            continue
        crossing_ms = move.at_ms + move.rise_ms * 2.0 / move.percent
        # Noise of 0.02 % shifts a rise of 6 % a second by some milliseconds.
        slack_ms = 5 * move.rise_ms * 0.02 / move.percent
        assert one.first_from_ms - slack_ms <= crossing_ms <= one.first_ms + slack_ms, one
        checked += 1
    assert checked > 100


def test_the_league_knows_who_was_first_and_who_tied(found: Study) -> None:
    league = {one.feed: one for one in found.league}
    assert set(league) == set(SIZE)
    assert [one.feed for one in found.league] == ["okx_spot", "binance_futures", "gate_spot"]
    assert (league["okx_spot"].alone, league["okx_spot"].tied) == (30, 10)
    assert (league["binance_futures"].alone, league["binance_futures"].tied) == (10, 10)
    assert league["okx_spot"].points == 35.0
    assert (league["gate_spot"].alone, league["gate_spot"].points) == (0, 0.0)
    assert sum(one.points for one in found.league) == 50.0
    assert league["gate_spot"].behind_ms == pytest.approx(5_700, abs=300)


def test_sizes_are_those_that_were_planted_within_their_errors(found: Study) -> None:
    for one in found.moves:
        assert one.peak_percent is not None
        assert one.peak_error_percent is not None
        move = planted(one)
        size = move.percent if move else 0.0
        assert abs(one.peak_percent - size) <= one.peak_error_percent, one
    for sizes in found.sizes:
        assert sizes.median_percent == pytest.approx(SIZE.get(sizes.feed, 0.0), abs=0.2)
        assert sizes.low_percent <= sizes.median_percent <= sizes.high_percent


def test_drift_is_claimed_where_it_was_planted_and_nowhere_else(found: Study) -> None:
    claimed = {one.event_id.partition("_")[0] for one in found.drifts if one.is_claimed}
    assert claimed == {one.coin for one in SHAPES if one.drift_percent}
    assert 10 < len(claimed) < 20
    for one in found.drifts:
        excess = one.excess_percent
        assert excess is not None
        assert one.spread_percent is not None
        drift = BY_COIN[one.event_id[:3]].drift_percent
        # The span's ends are means of 20 s: a fifteenth of the drift at most.
        assert abs(excess - drift) <= drift / 15 + 5 * one.spread_percent
    assert found.has_drift


def test_no_drift_is_claimed_on_events_without(bundles: Path) -> None:
    quiet = study(BundleFolder(bundles), None, "upbit")
    assert len(quiet.events) > 30
    assert not quiet.has_drift
    assert not any(one.is_claimed for one in quiet.drifts)
    loud = study(BundleFolder(bundles), None, "bithumb")
    assert loud.has_drift
    # The last 20 s are averaged: there the drift stands at 290/300 of what it will be.
    expected = 100 * math.log(1 + DRIFT_PERCENT / 100 * 290 / 300)
    slack = 0.005  # what a median of four noisy feeds is off
    assert loud.drift_low - slack <= expected <= loud.drift_high + slack


def test_the_median_path_has_the_planted_steps_in_its_band(found: Study) -> None:
    path = dict(zip(found.path.t_s, zip(found.path.low, found.path.percent, found.path.high,
                                        strict=True), strict=True))  # fmt: skip
    assert found.path.events == 50
    assert all(low <= middle <= high for low, middle, high in path.values())
    assert path[-30][1] == pytest.approx(0.0, abs=0.1)
    # Four feeds; the middle lies between the second and the third, 6 and 7 %.
    assert path[15][1] == pytest.approx(6.5, abs=0.2)


@pytest.fixture
def some(bundles: Path, tmp_path: Path) -> Path:
    """The first seven of them."""
    folder = tmp_path / "some"
    folder.mkdir()
    for place in sorted(bundles.iterdir())[:7]:
        (folder / place.name).symlink_to(place)
    return folder


def test_the_same_input_gives_the_same_bytes(some: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        found = study(BundleFolder(some), None, None)
        write(found, tmp_path / name)
    for name in (EVENTS_FILE, PAGE_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    rows = pl.read_parquet(tmp_path / "a" / EVENTS_FILE)
    assert rows.equals(moves_frame(found.moves))
    assert len(rows) == 7 * len(FEEDS)
    page = (tmp_path / "a" / PAGE_FILE).read_text()
    assert "<script src=" not in page
    assert "<link" not in page
    assert "okx_spot" in page


def test_what_cannot_be_judged_is_left_out_and_says_why(tmp_path: Path) -> None:
    """A feed of another coin, one that hardly trades, and an hour that is not held."""
    moves = {"gate_spot": Move(-60_000, 80.0, 1.0)}
    feeds = ("gate_spot", "okx_spot", "binance_spot", "bybit_spot")
    make_bundle(tmp_path, Shape(moves=moves, feeds=feeds, rate_per_s=2.0))
    make_bundle(tmp_path, Shape(coin="AVA", feeds=("okx_spot",), rate_per_s=0.02))
    found = study(BundleFolder(tmp_path), None, None)
    reasons = {(one.event_id[:3], one.feed): one.left_out for one in found.moves if one.left_out}
    assert reasons["POD", "gate_spot"] == "perhaps another coin of this ticker"
    assert "trades in the minute" in reasons["AVA", "okx_spot"]
    assert len(reasons) == 2
    assert all("quarter of an hour" in one.left_out for one in found.drifts)
    write(found, tmp_path / "out")
    page = (tmp_path / "out" / PAGE_FILE).read_text()
    for text in ("perhaps another coin", "quarter of an hour", "nothing can be said"):
        assert text in page
    with pytest.raises(UsageError, match="no bundle"):
        study(BundleFolder(tmp_path), None, "bithumb")


def test_one_odd_trade_is_no_move() -> None:
    rows = rows_of(Shape(feeds=("okx_spot",), rate_per_s=5)).with_columns(
        feed=pl.lit("okx_spot"), unit=pl.lit(1), certified=pl.lit("proven"),
        suspect=pl.lit(value=False), event_id=pl.lit("X"),
        t_ms=(pl.col("timestamp").cast(pl.Int64) - FIRST_NS) / 1_000_000,
    ).with_row_index("at")  # fmt: skip
    odd = rows.filter(pl.col("t_ms") > 5_000)["at"][0]
    spiked = rows.with_columns(
        price=pl.when(pl.col("at") == odd).then(pl.col("price") * 2).otherwise(pl.col("price"))
    )
    (one,) = feed_moves(EventRows("X", FIRST_NS, spiked.lazy()))
    assert one.first_ms is None
    assert one.peak_percent is not None
    assert abs(one.peak_percent) < 0.2
    two = rows.with_columns(
        price=pl.when(pl.col("at") >= odd).then(pl.col("price") * 1.05).otherwise(pl.col("price"))
    )
    (one,) = feed_moves(EventRows("X", FIRST_NS, two.lazy()))
    assert one.first_ms == rows["t_ms"][odd]
    assert one.first_from_ms == rows["t_ms"][odd - 1]


def test_points_are_shared() -> None:
    facts = {"event_id": "A", "exchange": "", "market_type": "", "certified": "", "rows": 9}
    moves = [
        FeedMove(feed=feed, first_ms=ms, first_from_ms=from_ms, behind_ms=ms - 100.0,
                 is_first=from_ms < 100, **facts)
        for feed, ms, from_ms in (("a", 100.0, 50.0), ("b", 120.0, 90.0), ("c", 200.0, 150.0))
    ]  # fmt: skip
    assert [(one.feed, one.points) for one in league_of(moves)] == [
        ("a", 0.5), ("b", 0.5), ("c", 0.0)
    ]  # fmt: skip


def test_quantiles() -> None:
    rng = random.Random(SEED)
    values = sorted(rng.random() for _ in range(11))
    assert quantile(values, 0) == values[0]
    assert quantile(values, 50) == values[5]
    assert quantile(values, 100) == values[10]
    assert quantile([1.0], 99.0) == 1.0


def test_the_verb_writes_both_files(
    some: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["listings", "study", "--data", str(some), "--out", "out"]) == 0
    told = capsys.readouterr().out
    assert "okx_spot" in told
    assert "drift before the notice, 7 events" in told
    assert {path.name for path in (tmp_path / "out").iterdir()} == {EVENTS_FILE, PAGE_FILE}
