"""``replay`` from the outside: lines of JSON, a served bundle, its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pumpwatch import research
from pumpwatch.cli import main
from pumpwatch.cli_replay import parse_speed
from pumpwatch.config import load_config
from tests.research.making import Shape, make_bundle

ROOT = Path(__file__).parents[1]


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_bundle(tmp_path / "data/listings", Shape(coin="AVA", feeds=("okx_spot", "gate_futures")))
    return tmp_path / "data"


def test_lines_are_the_window_in_order(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "AVA", "--jsonl", "--speed", "max"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["at_ns"] for line in lines] == sorted(line["at_ns"] for line in lines)
    (notice,) = [line for line in lines if line["type"] == "notice"]
    assert (notice["coin"], notice["source"]) == ("AVA", "upbit")
    trades = [line for line in lines if line["type"] == "trade"]
    assert {line["frame"] for line in trades} == {"rebuilt"}
    window = research.window("AVA", data_dir)
    told = sorted((line["timestamp_ns"], line["feed"], line["trade_id"]) for line in trades)
    expected = window.select(pl.col("timestamp").cast(pl.Int64), "feed", "trade_id").rows()
    assert told == sorted(expected)
    assert main(["replay", "AVA", "--jsonl", "--speed", "max", "--kept"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > len(lines)


def test_a_served_bundle_says_where_it_is_and_ends_with_a_signal(data_dir: Path) -> None:
    file = data_dir / "replay.toml"
    process = subprocess.Popen(
        [sys.executable, "-m", "pumpwatch", "replay", "AVA", "--serve", "127.0.0.1:0",
         "--write-config", str(file)],
        stdout=subprocess.PIPE, text=True, cwd=data_dir.parent, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready["frames"]["recorded"] == 0 < ready["frames"]["rebuilt"]
        assert ready["frames"]["absent"] == ["the bundle holds no raw messages"]
        assert len(ready["feeds"]) == 12
        config = load_config(file, {})
        assert config.feeds["okx_spot"].websocket_url == ready["feeds"]["okx_spot"]["websocket_url"]
        assert config.listing.bithumb.api_url == ready["boards"]["bithumb"]["api_url"]
        process.terminate()
        assert process.wait(30) == 1  # it was not over
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("text", "speed"), [("1", 1.0), ("0.5", 0.5), ("max", 0.0)])
def test_speeds(text: str, speed: float) -> None:
    assert parse_speed(text) == speed
