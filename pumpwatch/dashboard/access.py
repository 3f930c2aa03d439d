"""Who may do what: the token, loopback, host names; the decisions are sans-IO.

Reading is free on loopback; a bind elsewhere wants the token for everything. Actions always want
the token and a caller on this machine. Host names are checked on loopback, so that a web page
that an operator happens to visit cannot read the interface under a name of its own (rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Literal

import msgspec

from pumpwatch.config import Config
from pumpwatch.errors import ConfigError
from pumpwatch.store.server import write_private

TOKEN_FILE = "secrets/dashboard_token"
TOKEN_BYTES = 32
TOKEN = re.compile(r"[!-~]{16,200}")
COOKIE = "pumpwatch"
FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
OPEN_PATHS = frozenset({"/livez", "/readyz"})  # an orchestrator's: no secrets, no figures
Verdict = Literal["ok", "host", "token", "local"]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """What a request says of itself."""

    peer: str  # address of the other end
    server: str = ""  # and of ours: the same where somebody on this machine uses its own address
    method: str
    path: str
    headers: Mapping[str, str]  # names in small letters


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings ask for."""

    token: str
    is_loopback_bind: bool
    behind_proxy: bool

    @property
    def needs_token_to_read(self) -> bool:
        """Whoever is not on this machine needs the token for everything."""
        return self.behind_proxy or not self.is_loopback_bind


def policy_of(config: Config, token: str) -> Policy:
    """The policy of these settings."""
    return Policy(
        token=token,
        is_loopback_bind=config.dashboard.is_loopback,
        behind_proxy=config.dashboard.behind_proxy,
    )


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def judge(policy: Policy, caller: Caller) -> Verdict:
    """Whether the request may be answered; else what is missing."""
    if not policy.needs_token_to_read and not _is_local_name(caller.headers.get("host", "")):
        return "host"
    if caller.path in OPEN_PATHS:
        return "ok"
    if caller.method not in ("GET", "HEAD"):
        is_here = is_loopback(caller.peer) or caller.peer == caller.server
        if not is_here or any(name in caller.headers for name in FORWARDED):
            return "local"
        # No cookie here: a page of somebody else's could make the browser send it.
        return "ok" if _is_token(policy, bearer(caller.headers)) else "token"
    if policy.needs_token_to_read and not _is_token(policy, token_of(caller.headers)):
        return "token"
    return "ok"


def bearer(headers: Mapping[str, str]) -> str:
    """The token of ``Authorization: Bearer ...``; empty where there is none."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def token_of(headers: Mapping[str, str]) -> str:
    """The token of the header, else of the page's cookie."""
    if token := bearer(headers):
        return token
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie is not None else ""


def _is_token(policy: Policy, token: str) -> bool:
    return hmac.compare_digest(policy.token.encode(), token.encode("utf-8", "replace"))


def _is_local_name(host: str) -> bool:
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    return is_loopback(name.strip("[]"))


def ensure_token(config: Config) -> str:
    """The token of data_dir/secrets; a random one is made at the first start (0600).

    Raises ConfigError where the file holds no token, OSError where the disk refuses.
    """
    path = config.path(TOKEN_FILE)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    return read_token(config)


def read_token(config: Config) -> str:
    """The token that actions need. Raises ConfigError where there is none."""
    path = config.path(TOKEN_FILE)
    try:
        token = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror} (a running daemon makes it)"
        ) from None
    except ValueError:
        token = ""
    if TOKEN.fullmatch(token) is None:
        raise ConfigError(
            f"{path}: holds no token of 16 to 200 printable characters: remove it, the next start"
            " makes a new one"
        )
    return token
