"""Our listings as the original's folders: its readers find all they knew, ours find the rows."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from pumpwatch.cli import main
from pumpwatch.config import FEED_NAMES
from pumpwatch.listing.archive import FOLDER
from pumpwatch.listing.bundle import TRADES
from pumpwatch.migrate.event_folder import find_folders
from pumpwatch.migrate.importer import read_folder
from tests.listing.bundles import AT_NS, make_bundle, market

# Where an import has to put something right, and one where it has not.
LISTED = ["binance_spot", "okx_futures", "gate_futures", "phemex_spot", "bybit_spot"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    bundle, _ = make_bundle(tmp_path / "data" / FOLDER, market(1, LISTED))
    return bundle


def test_what_is_exported_reads_back_row_by_row(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", "export", "--to", "old", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["state"]) == (f"old/{place.name}", "written")
    (folder,) = find_folders(Path("old"))
    assert {f"{one.exchange}/{one.market_type}" for one in folder.files} == {
        feed.replace("_", "/") for feed in FEED_NAMES
    }
    assert folder.metadata.announced_ns == AT_NS
    reading = read_folder(folder, {}, AT_NS * 2)
    rows = pl.read_parquet(place / TRADES).with_columns(pl.col("timestamp").cast(pl.Int64))
    wanted = {
        (row["feed"], row["timestamp"], row["trade_id"], row["side"], row["price"], row["quantity"])
        for row in rows.iter_rows(named=True)
    }
    found = {
        (f"{row.exchange}_{row.market_type}", row.timestamp_ns, row.trade_id, row.side,
         float(row.price), float(row.quantity))
        for row in reading.rows
    }  # fmt: skip
    assert found == wanted
    assert {feed for feed, *_ in found} == set(LISTED)
    assert not any(row.mended for row in reading.rows)


def test_what_is_there_is_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = Path("old") / place.name
    theirs.mkdir(parents=True)
    (theirs / "metadata.json").write_text("theirs")
    assert main(["migrate", "export", "POD", "--to", "old"]) == 0
    assert "there" in capsys.readouterr().out
    assert [path.name for path in theirs.iterdir()] == ["metadata.json"]
    assert (theirs / "metadata.json").read_text() == "theirs"
    assert main(["migrate", "export", "NONE", "--to", "old"]) == 1
