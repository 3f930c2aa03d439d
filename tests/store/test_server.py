"""Addresses, passwords and runtime.json; no server runs here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pumpwatch.config import Config, QuestdbConfig
from pumpwatch.errors import ConfigError, ServerError
from pumpwatch.store.server import (
    Ports,
    ensure_passwords,
    read_password,
    read_runtime,
    running_address,
    write_private,
    write_runtime,
)


def external(data_dir: Path) -> Config:
    questdb = QuestdbConfig(
        mode="external", http_url="http://db:9000/", pg_host="db", pg_port=8812, user="writer"
    )
    return Config(data_dir=data_dir, questdb=questdb)


def secret(data_dir: Path, name: str, text: str) -> Path:
    path = data_dir / "secrets" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_passwords_are_made_once_long_different_and_private(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    first = ensure_passwords(config)
    assert len(set(first)) == 2
    assert all(len(password) >= 32 for password in first)
    assert ensure_passwords(config) == first
    for name in ("questdb", "questdb_ro"):
        assert (tmp_path / "secrets" / name).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_a_password_of_the_operator_is_kept(tmp_path: Path) -> None:
    secret(tmp_path, "questdb", " mine!\\x \n")
    assert ensure_passwords(Config(data_dir=tmp_path))[0] == "mine!\\x"


@pytest.mark.parametrize("text", ["", "\n", "two words", "zwölf", "one\ntwo", "x" * 201])
def test_a_password_that_not_all_ways_carry_is_refused(tmp_path: Path, text: str) -> None:
    path = secret(tmp_path, "questdb", text)
    with pytest.raises(ConfigError, match="printable ASCII") as caught:
        ensure_passwords(Config(data_dir=tmp_path))
    assert str(path) in str(caught.value)


def test_a_missing_password_names_key_and_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"questdb\.password_file = .*questdb: .*No such file"):
        read_password(Config(data_dir=tmp_path), "password_file")


def test_runtime_values_are_added_until_another_process_writes(tmp_path: Path) -> None:
    assert read_runtime(tmp_path) == {}
    write_runtime(tmp_path, http_port=1)
    write_runtime(tmp_path, dashboard_port=2)
    assert read_runtime(tmp_path) == {"pid": os.getpid(), "http_port": 1, "dashboard_port": 2}
    stale = {"pid": os.getpid() + 1, "http_port": 7, "dashboard_port": 8}
    (tmp_path / "runtime.json").write_text(json.dumps(stale))
    write_runtime(tmp_path, http_port=3)
    assert read_runtime(tmp_path) == {"pid": os.getpid(), "http_port": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["runtime.json"]


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_private(path, "old")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_no_daemon_has_run_here(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"no database runs for data_dir .*pumpwatch run"):
        running_address(Config(data_dir=tmp_path))


def test_the_address_of_the_running_daemon(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    password, readonly_password = ensure_passwords(config)
    write_runtime(tmp_path, http_port=11, pg_port=12, health_port=13)
    address = running_address(config)
    assert (address.http_url, address.pg_host, address.pg_port) == (
        "http://127.0.0.1:11", "127.0.0.1", 12,
    )  # fmt: skip
    assert (address.user, address.password) == ("pumpwatch", password)
    assert (address.readonly_user, address.readonly_password) == (
        "pumpwatch_ro", readonly_password,
    )  # fmt: skip
    assert password not in repr(address)
    assert readonly_password not in repr(address)


def test_an_external_server_needs_no_readonly_user(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="password_file"):
        running_address(external(tmp_path))
    secret(tmp_path, "questdb", "pw\n")
    address = running_address(external(tmp_path))
    assert (address.http_url, address.user, address.password) == ("http://db:9000", "writer", "pw")
    assert (address.readonly_user, address.readonly_password) == ("writer", "pw")
    secret(tmp_path, "questdb_ro", "pw2\n")
    address = running_address(external(tmp_path))
    assert (address.readonly_user, address.readonly_password) == ("pumpwatch_ro", "pw2")


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [((0, 0, 0), True), ((1, 0, 3), True), ((1, 2, 3), True), ((9, 0, 0), False)],
)
def test_ports_in_use_fit_the_settings(wanted: tuple[int, int, int], fits: bool) -> None:
    assert Ports(*wanted).fit(Ports(1, 2, 3)) == fits
