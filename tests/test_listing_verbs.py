from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumpwatch.cli import main
from pumpwatch.config import FEED_NAMES
from pumpwatch.listing.archive import FOLDER
from pumpwatch.listing.bundle import files_below
from pumpwatch.listing.signing import load_signer
from tests.listing.bundles import SIGNER, make_bundle, market


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    bundle, _ = make_bundle(tmp_path / "data" / FOLDER, market(1, ["okx_spot", "phemex_spot"]))
    return bundle


def test_verify_says_whose_key_it_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listings", "verify", "POD"]) == 0
    assert "as it was signed, with an unknown key" in capsys.readouterr().out
    load_signer(Path("data"))
    assert main(["listings", "verify", place.name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["is_sound"], found["is_own_key"], found["faults"]) == (True, False, [])
    assert main(["listings", "verify", str(place), "--key", "0" * 64]) == 1
    assert main(["listings", "verify", str(place), "--key", SIGNER.public_hex]) == 0


def test_verify_finds_a_changed_row(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = place / "raw/okx_spot.json"
    raw.write_bytes(raw.read_bytes().replace(b'"side":"buy"', b'"side":"sell"', 1))
    assert main(["listings", "verify", "POD"]) == 1
    assert "okx_spot" in capsys.readouterr().out


def test_bundles_are_listed_with_their_grades(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listings", "bundles", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["bundle"], row["state"]) == (place.name, "complete")
    assert row["proven"] + row["covered"] + row["incomplete"] + row["not_listed"] == 12


@pytest.mark.parametrize("form", ["original", "csv", "parquet", "bundle"])
def test_an_export_is_the_same_bytes_each_time(
    place: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for target in ("a", "b"):
        assert main(["listings", "export", "POD", "--to", target, "--format", form]) == 0
    names = files_below(Path("a"))
    assert names == files_below(Path("b"))
    assert all((Path("a") / n).read_bytes() == (Path("b") / n).read_bytes() for n in names)
    if form == "original":
        root = Path("a") / place.name
        assert {n.removeprefix(f"{place.name}/") for n in names} == {
            "metadata.json",
            *(f"raw/{feed.replace('_', '/')}.json" for feed in FEED_NAMES),
        }
        assert json.loads((root / "raw/okx/futures.json").read_bytes()) is None
        assert json.loads((root / "raw/okx/spot.json").read_bytes())


def test_a_feeds_ticker_is_mapped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listings", "map", "POD", "okx_spot", "other"]) == 0
    assert "'okx_spot': 'other'" in capsys.readouterr().out
    assert main(["listings", "map", "POD", "okx_spot", "forget"]) == 0
    assert "nothing noted" in capsys.readouterr().out
    assert main(["listings", "map", "POD", "okx", "same"]) == 64
    assert main(["listings", "map", "POD", "okx_spot", "maybe"]) == 64


def test_a_report_that_is_not_there_is_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["listings", "report", "POD"]) == 1
    assert "has no report.html" in capsys.readouterr().err
    assert main(["listings", "verify", "NONE"]) == 1
    assert main(["listings", "export", "POD", "--to", "x", "--format", "xml"]) == 64
