"""``init``: what is written, and that it means what it says."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from pumpwatch.config import Config, QuestdbConfig, key_table, load_config
from pumpwatch.errors import ConfigError, UsageError
from pumpwatch.init_config import fit_host, render, write_config


def nothing_taken(host: str, port: int) -> bool:
    return False


def load_rendered(text: str, folder: Path) -> Config:
    path = folder / "rendered.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, {})


def test_what_is_written_reads_back_as_chosen(tmp_path: Path) -> None:
    chosen, _ = fit_host(Config(data_dir=tmp_path / 'da"ta'), 3000, 4000, nothing_taken)
    assert chosen.spool.disk_max_mib == 1000
    assert chosen.memory.max_mib == 1024
    assert load_rendered(render(chosen), tmp_path) == chosen


def test_a_small_machine_gets_a_smaller_hour(tmp_path: Path) -> None:
    chosen, notes = fit_host(Config(data_dir=tmp_path), 2048, 100_000, nothing_taken)
    assert chosen.memory.max_mib == 1228 - 256 - 64
    assert chosen.spool == Config().spool
    assert any("hour 908" in note for note in notes)
    with pytest.raises(ConfigError, match=r"memory\.budget_mib"):
        fit_host(Config(data_dir=tmp_path), 400, 100_000, nothing_taken)


def test_ports_that_are_taken_are_stepped_over(tmp_path: Path) -> None:
    taken = {9000, 9001, 9002, 8080}
    chosen, notes = fit_host(Config(), 8000, 100_000, lambda _, port: port in taken)
    assert chosen.questdb == QuestdbConfig(http_port=9004, pg_port=8812, health_port=9003)
    assert chosen.dashboard.port == 8081
    assert "port 8080 is taken: dashboard.bind uses 8081" in notes
    assert load_rendered(render(chosen), tmp_path).questdb == chosen.questdb


def test_where_no_port_is_free_the_server_finds_one() -> None:
    chosen, _ = fit_host(Config(), 8000, 100_000, lambda *_: True)
    assert chosen.questdb.http_port == chosen.questdb.pg_port == chosen.dashboard.port == 0


def test_every_comment_that_shows_a_default_is_a_setting_with_that_default(
    tmp_path: Path,
) -> None:
    text = render(Config(data_dir=tmp_path / "data"))
    shown = re.sub(r"(?m)^# (?=\[?[a-z_.]+(\]$| = ))", "", text)
    assert load_rendered(shown, tmp_path) == load_rendered(text, tmp_path)
    assert load_rendered(text, tmp_path) == Config(data_dir=tmp_path / "data")
    for dotted, key in key_table().items():
        if not dotted.startswith("feeds.") or dotted.startswith("feeds.binance_spot."):
            assert re.search(rf"(?m)^{key.name} = ", shown), dotted


def test_lines_are_short_enough_to_read() -> None:
    text = render(Config(data_dir=Path("/data")))
    assert max(map(len, text.splitlines())) <= 100


def test_the_file_is_written_once(tmp_path: Path) -> None:
    path = tmp_path / "pumpwatch.toml"
    write_config(path, tmp_path / "data")
    before = path.read_text()
    assert load_config(path, {}).data_dir == tmp_path / "data"
    with pytest.raises(UsageError, match="init never overwrites"):
        write_config(path, tmp_path / "other")
    assert path.read_text() == before


def test_a_data_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"--data .*: .*file is no folder"):
        write_config(tmp_path / "pumpwatch.toml", tmp_path / "file/data")
    assert not (tmp_path / "pumpwatch.toml").exists()


def test_a_changed_value_stands_without_a_mark(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    listing = msgspec.structs.replace(config.listing, before_s=30)
    text = render(msgspec.structs.replace(config, listing=listing))
    assert re.search(r"(?m)^before_s = 30\b", text)
    assert re.search(r"(?m)^# after_s = 20\b", text)
