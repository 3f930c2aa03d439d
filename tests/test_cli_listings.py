"""``listings``: what is asked wrongly, and a listing named while no daemon runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pumpwatch.cli import main
from pumpwatch.listing.requests import read_request, waiting_requests


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["listings", "add", "SOMI"], "--at"),
        (["listings", "add", "somi", "--at", "2026-01-01"], "a coin, 1 to 15"),
        (["listings", "add", "SOMI", "--at", "noon"], "ISO 8601"),
        (["listings", "add", "SOMI", "--at", "1970-01-01"], "after 1970"),
        (["listings", "show", "SOMI'"], "a coin, 1 to 15"),
        (["listings", "list", "--limit", "0"], "--limit"),
    ],
)
def test_usage(
    arguments: list[str], part: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 64
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert part in err
    assert list(tmp_path.iterdir()) == []


def test_a_listing_waits_for_a_daemon(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUMPWATCH_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    for status in (None, {"pid": 2**22 + 1, "state": "running"}):  # never ran, or was killed
        if status is not None:
            (tmp_path / "data" / "status.json").write_text(json.dumps(status))
        assert main(["listings", "add", "SOMI", "--at", "2026-01-31T13:00:00.5Z"]) == 0
        assert "waits" in capsys.readouterr().out
    (path,) = waiting_requests(tmp_path / "data")
    request = read_request(path)
    assert (request.symbol, request.announced_ns) == ("SOMI", 1_769_864_400_500_000_000)


def test_without_a_database_it_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PUMPWATCH_DATA_DIR", str(tmp_path / "data"))
    for arguments in (["list"], ["show", "SOMI"]):
        assert main(["listings", *arguments]) == 69
        assert "no database runs" in capsys.readouterr().err
