from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.config import Config, DashboardConfig
from pumpwatch.dashboard.access import (
    COOKIE,
    TOKEN_FILE,
    Caller,
    Policy,
    ensure_token,
    judge,
)
from pumpwatch.errors import ConfigError
from pumpwatch.settings import SettingError

TOKEN = "0123456789abcdef-token"
LOCAL = Policy(token=TOKEN, is_loopback_bind=True, behind_proxy=False)
PROXIED = Policy(token=TOKEN, is_loopback_bind=True, behind_proxy=True)
PUBLIC = Policy(token=TOKEN, is_loopback_bind=False, behind_proxy=False)
BEARER = {"authorization": f"Bearer {TOKEN}"}


def caller(method: str = "GET", path: str = "/api/feeds", **changes: Any) -> Caller:
    headers = {"host": "127.0.0.1:8080", **changes.pop("headers", {})}
    return Caller(
        peer=changes.pop("peer", "127.0.0.1"),
        server=changes.pop("server", ""),
        method=method,
        path=path,
        headers=headers,
    )


def test_reading_is_free_on_this_machine() -> None:
    assert judge(LOCAL, caller()) == "ok"


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1", "[::1]:8080", "[::1]"]
)
def test_names_of_this_machine(host: str) -> None:
    assert judge(LOCAL, caller(headers={"host": host})) == "ok"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8080", "", "127.0.0.1.evil.example"]
)
def test_another_name_is_refused_on_loopback(host: str) -> None:
    """Else a page of evil.example, resolved to 127.0.0.1, could read and act."""
    assert judge(LOCAL, caller(headers={"host": host})) == "host"


@pytest.mark.parametrize("policy", [PUBLIC, PROXIED])
def test_elsewhere_reading_wants_the_token(policy: Policy) -> None:
    away = {"peer": "10.0.0.9"}
    assert judge(policy, caller(**away)) == "token"
    assert judge(policy, caller(headers={"authorization": "Bearer wrong"}, **away)) == "token"
    assert judge(policy, caller(headers=BEARER, **away)) == "ok"
    assert judge(policy, caller(headers={"cookie": f"a=b; {COOKIE}={TOKEN}"}, **away)) == "ok"
    assert judge(policy, caller(path="/readyz", **away)) == "ok"


def test_actions_want_the_token_in_the_header() -> None:
    assert judge(LOCAL, caller("POST")) == "token"
    assert judge(LOCAL, caller("POST", headers={"cookie": f"{COOKIE}={TOKEN}"})) == "token"
    assert judge(LOCAL, caller("POST", headers=BEARER)) == "ok"


def test_actions_are_taken_from_this_machine_only() -> None:
    assert judge(PUBLIC, caller("POST", headers=BEARER, peer="10.0.0.9")) == "local"
    forwarded = {**BEARER, "x-forwarded-for": "10.0.0.9"}
    assert judge(PROXIED, caller("POST", headers=forwarded)) == "local"
    assert judge(PUBLIC, caller("POST", headers=BEARER, peer="::1")) == "ok"
    own = {"peer": "10.0.0.9", "server": "10.0.0.9"}
    assert judge(PUBLIC, caller("POST", headers=BEARER, **own)) == "ok"


def test_the_token_is_made_once_and_private(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path)
    token = ensure_token(config)
    assert len(token) >= 32
    assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600
    assert ensure_token(config) == token


def test_a_file_without_a_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / TOKEN_FILE).write_text("short\n")
    with pytest.raises(ConfigError, match="holds no token"):
        ensure_token(Config(data_dir=tmp_path))


@pytest.mark.parametrize("bind", ["0.0.0.0:8080", "10.0.0.9:8080", "[::]:8080", "host.example:80"])
def test_a_bind_elsewhere_needs_tls_or_a_proxy(bind: str) -> None:
    with pytest.raises(SettingError, match="behind_proxy"):
        DashboardConfig(bind=bind)
    assert not DashboardConfig(bind=bind, behind_proxy=True).is_loopback
    assert DashboardConfig(bind=bind, tls_certificate_file="c.pem", tls_key_file="k.pem")


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "127.8.8.8:80", "[::1]:8080", "localhost:8080"])
def test_a_loopback_bind_needs_nothing(bind: str) -> None:
    assert DashboardConfig(bind=bind).is_loopback


def test_both_tls_files_or_neither() -> None:
    with pytest.raises(SettingError, match="tls_key_file"):
        DashboardConfig(tls_certificate_file="c.pem")
