from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from pumpwatch.errors import BundleError
from pumpwatch.listing.archive import FOLDER, STAGING, Archive, read_map
from tests.listing.bundles import WINDOW, event, make_bundle, market

KEY = event().key


def archived(data_dir: Path, seed: int = 1) -> Path:
    archive = Archive(data_dir)
    staged, _ = make_bundle(data_dir / FOLDER / STAGING, market(seed, ["okx_spot"]))
    return archive.publish(staged, KEY, WINDOW, 1)


def test_what_is_in_place_is_found_again(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    assert archive.bundles() == []
    assert archive.published(KEY, WINDOW) is None
    place = archived(tmp_path)
    assert archive.bundles() == [place]
    held = archive.published(KEY, WINDOW)
    assert held is not None
    assert (held.state, held.revision) == ("complete", 1)
    moved = msgspec.structs.replace(WINDOW, from_ns=WINDOW.from_ns + 1)
    assert archive.published(KEY, moved) is None
    for text in (str(place), place.name, "POD"):
        assert archive.find(text) == place
    with pytest.raises(BundleError, match="no bundle of this name"):
        archive.find("PODD")


def test_two_boards_in_one_second_have_two_folders(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    place = archived(tmp_path)
    assert archive.place(KEY, WINDOW) == place
    other = archive.place(("bithumb", "5", "POD"), WINDOW)
    assert other.name == f"{place.name}_bithumb"


def test_retention_is_told_of_whole_bundles_only(tmp_path: Path) -> None:
    place = archived(tmp_path)
    archive = Archive(tmp_path)
    assert not archive.is_verified(*KEY)
    assert archive.verify(KEY, WINDOW)
    assert archive.is_verified(*KEY)
    assert not archive.is_verified("upbit", "78", "POD")
    assert not archive.verify(("upbit", "78", "POD"), WINDOW)
    raw = place / "raw/okx_spot.json"
    raw.write_bytes(raw.read_bytes()[:-1])
    again = Archive(tmp_path)
    assert not again.verify(KEY, WINDOW)
    assert not again.is_verified(*KEY)


def test_a_certificate_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    place = archived(tmp_path)
    (place / "certificate.json").write_bytes(b"{}")
    assert Archive(tmp_path).published(KEY, WINDOW) is None


def test_a_map_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    assert read_map(tmp_path).coins == {}
    (tmp_path / "listing_map.json").write_text("no json")
    with pytest.raises(BundleError, match="mend it"):
        read_map(tmp_path)
