from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.config import FEED_NAMES
from pumpwatch.errors import BundleError
from pumpwatch.listing import standalone_verify
from pumpwatch.listing.bundle import KEPT, TRADES, BundleDraft, files_below, put_in_place, seal
from pumpwatch.listing.canonical import number_text
from pumpwatch.listing.signing import canonical, load_signer, read_signed
from pumpwatch.listing.verify import read_certificate, verify_bundle
from pumpwatch.migrate.event_folder import find_folders
from tests.listing.bundles import (
    AT_NS,
    SIGNER,
    SYMBOL,
    WINDOW,
    event,
    frame,
    make_bundle,
    market,
    row,
)


def test_a_bundle_is_sound_and_says_what_is_in_it(tmp_path: Path) -> None:
    rows = market(1)
    place, certificate = make_bundle(tmp_path, rows)
    inside = [one for one in rows if WINDOW.from_ns <= one["timestamp"] < WINDOW.to_ns]
    assert place.name == "POD_20260921_141320"
    assert certificate.rows == len(inside) > 500
    assert certificate.exchanges_with_data == 12
    grades = {proof.feed: proof.grade for proof in certificate.feeds}
    proven = {feed for feed, grade in grades.items() if grade == "proven"}
    assert proven == {"binance_spot", "binance_futures", "okx_spot", "okx_futures", "gate_spot"}
    assert set(grades.values()) == {"proven", "covered"}
    verdict = verify_bundle(place, own_key_hex=SIGNER.public_hex)
    assert verdict.faults == []
    assert verdict.is_own_key
    assert read_certificate(place)[0] == certificate
    assert len(pl.read_parquet(place / TRADES)) == len(inside)
    assert len(pl.read_parquet(place / KEPT)) == len(rows)


def test_same_input_same_bytes_however_it_came_in(tmp_path: Path) -> None:
    one, _ = make_bundle(tmp_path / "a", market(2))
    two, _ = make_bundle(tmp_path / "b", market(2), pieces=7)
    names = files_below(one)
    assert names == files_below(two)
    assert [n for n in names if (one / n).read_bytes() != (two / n).read_bytes()] == []


def test_the_layout_is_the_originals_and_its_importer_reads_it(tmp_path: Path) -> None:
    place, certificate = make_bundle(tmp_path, market(3, ["okx_spot"]))
    (folder,) = find_folders(place)
    assert {f"{one.exchange}_{one.market_type}" for one in folder.files} == set(FEED_NAMES)
    assert folder.metadata.announced_ns == AT_NS
    trades = json.loads((place / "raw/okx_spot.json").read_bytes())
    assert len(trades) == certificate.rows
    assert {"exchange", "market_type", "symbol", "trade_id", "price", "quantity", "side",
            "timestamp", "collected_at", "trigger_time"} <= set(trades[0])  # fmt: skip
    assert json.loads((place / "raw/phemex_spot.json").read_bytes()) == []


@pytest.mark.parametrize("seed", range(3))
def test_each_changed_byte_is_found(tmp_path: Path, seed: int) -> None:
    place, _ = make_bundle(tmp_path, market(4, ["okx_spot", "phemex_futures"]))
    frames = place / "frames"
    frames.mkdir()
    (frames / "okx_spot-1.zst").write_bytes(b"raw frames")
    seal(place, SIGNER, place.name)
    assert standalone_verify.check(place) == []
    rng = random.Random(seed)
    for name in files_below(place):
        whole = (place / name).read_bytes()
        for at in {0, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(3))}:
            changed = bytearray(whole)
            changed[at] ^= 1 << rng.randrange(8)
            (place / name).write_bytes(changed)
            assert standalone_verify.check(place), f"seed {seed}: {name} at {at}"
            with_ours = name == "certificate.json" or verify_bundle(place).faults
            assert with_ours
        (place / name).write_bytes(whole)
    assert standalone_verify.check(place) == []


def test_files_that_are_missing_or_too_many_are_found(tmp_path: Path) -> None:
    place, _ = make_bundle(tmp_path, market(5, ["okx_spot"]))
    (place / "more.txt").write_text("?")
    assert standalone_verify.check(place) == ["more.txt: is not in the manifest"]
    (place / "more.txt").unlink()
    (place / "metadata.json").unlink()
    assert standalone_verify.check(place) == ["metadata.json: is missing"]


def test_a_forger_with_another_key_is_found_by_the_key(tmp_path: Path) -> None:
    place, _ = make_bundle(tmp_path, market(6, ["okx_spot"]))
    other = load_signer(tmp_path)
    content, _ = standalone_verify.read_signed(place / "certificate.json", None)
    (place / "certificate.json").write_bytes(other.sign(content))
    seal(place, other, place.name)
    assert standalone_verify.check(place) == []
    assert standalone_verify.check(place, SIGNER.public_hex) != []
    assert verify_bundle(place, own_key_hex=SIGNER.public_hex).is_own_key is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["feeds"][4]["instruments"][0].update(rows=1), "other rows or ids"),
        (lambda c: c["feeds"][4].update(sha256="0" * 64), "certified are others"),
        (lambda c: c["feeds"][4]["instruments"][0].update(id_before=1), "are not there"),
        (lambda c: c["window"].update(from_ns=AT_NS), "outside of the window"),
    ],
)
def test_rows_are_recomputed_and_not_believed(tmp_path: Path, change, words: str) -> None:  # type: ignore[no-untyped-def]
    """Signed anew by the same key: only counting anew finds it."""
    place, certificate = make_bundle(tmp_path, market(7, ["okx_spot"]))
    assert certificate.feeds[4].feed == "okx_spot"
    content, _ = standalone_verify.read_signed(place / "certificate.json", None)
    change(content)
    (place / "certificate.json").write_bytes(SIGNER.sign(content))
    seal(place, SIGNER, place.name)
    assert any(words in fault for fault in standalone_verify.check(place))


def test_verify_py_runs_alone(tmp_path: Path) -> None:
    place, _ = make_bundle(tmp_path, market(8, ["binance_spot"]))
    moved = tmp_path / "elsewhere"
    shutil.copytree(place, moved)
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(moved / "verify.py")], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "as it was signed" in done.stdout
    raw = moved / "raw/binance_spot.json"
    raw.write_bytes(raw.read_bytes().replace(b'"buy"', b'"sell"', 1))
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(moved / "verify.py")], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "binance_spot" in done.stdout
    assert len((moved / "verify.py").read_text().splitlines()) <= 200


def test_other_coins_are_kept_and_not_certified(tmp_path: Path) -> None:
    draft = BundleDraft(tmp_path / "x", event(), WINDOW, FEED_NAMES, {("okx_spot", SYMBOL): 1})
    draft.add(frame([row("okx_spot", 1, 5), row("okx_spot", 2, 6, symbol="PODDUSDT")]))
    draft.add_other(frame([row("okx_spot", 1, 9, symbol="BTCUSDT")]))
    draft.end_rows()
    assert draft.rows["okx_spot", SYMBOL].count == 1
    assert pl.read_parquet(tmp_path / "x" / KEPT)["symbol"].to_list() == [
        SYMBOL, "PODDUSDT", "BTCUSDT",
    ]  # fmt: skip


def test_prices_are_of_one_coin(tmp_path: Path) -> None:
    units = {("okx_spot", SYMBOL): 1, ("bybit_futures", "1000PODUSDT"): 1000}
    draft = BundleDraft(tmp_path / "x", event(), WINDOW, FEED_NAMES, units)
    thousand = row("bybit_futures", -30, 6, symbol="1000PODUSDT", price=1300.0)
    draft.add(frame([row("okx_spot", -30, 5), thousand, row("okx_spot", 3, 6, price=9.0)]))
    draft.end_rows()
    assert draft.prices_before() == {"okx_spot": 1.25, "bybit_futures": 1.3}
    assert draft.lags() == {"okx_spot": (30_000_000, 30_000_000)}


def test_a_version_is_replaced_as_a_whole_and_the_old_one_kept(tmp_path: Path) -> None:
    first, _ = make_bundle(tmp_path / "staged1", market(9, ["okx_spot"]))
    second, _ = make_bundle(tmp_path / "staged2", market(10, ["okx_spot"]))
    place, old = tmp_path / "POD", tmp_path / "versions/POD.v1"
    put_in_place(first, place, old)
    assert not old.exists()
    put_in_place(second, place, old)
    assert standalone_verify.check(place) == standalone_verify.check(old) == []
    assert list(tmp_path.rglob(".*")) == []


# --- signing --------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
WHOLE = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_both_programs_have_one_canonical_form(document: dict[str, object]) -> None:
    assert canonical(document) == standalone_verify.canonical(document)


def test_a_float_is_no_part_of_a_signed_document() -> None:
    with pytest.raises(TypeError, match="whole numbers"):
        canonical({"a": [1, {"b": 0.5}]})


def test_the_key_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    one, two = load_signer(tmp_path), load_signer(tmp_path)
    assert one.public_hex == two.public_hex
    key = tmp_path / "secrets/listing_key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert read_signed(one.sign({"a": 1}), "x", key_hex=one.public_hex)["content"] == {"a": 1}
    with pytest.raises(BundleError, match="not with"):
        read_signed(one.sign({"a": 1}), "x", key_hex=SIGNER.public_hex)
    key.write_text("lost")
    with pytest.raises(BundleError, match="holds no key"):
        load_signer(tmp_path)
    assert key.read_text() == "lost"


@given(st.floats(min_value=0, allow_infinity=False))
def test_numbers_are_written_in_full_and_read_back(value: float) -> None:
    text = number_text(value)
    assert float(text) == value
    assert "e" not in text
    assert not text.endswith(".0")
