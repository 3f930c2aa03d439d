"""The command line's way to a running daemon: its page, with the token of its data_dir."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlencode

import httpx

from pumpwatch.config import Config
from pumpwatch.dashboard.access import read_token
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.moments import iso_ns
from pumpwatch.store.server import LOOPBACK, read_runtime
from pumpwatch.store.window_model import WindowQuestion
from pumpwatch.trust import trust_for

ANSWER_S_MAX = 15.0


def act(config: Config, action: str, **arguments: str) -> str:
    """Have the daemon of this data_dir do something; returns what it did.

    Raises ServerError where no daemon answers, UsageError where it refuses.
    """
    answer = _ask(config, "POST", f"/api/actions/{action}", {"arguments": arguments})
    return str(answer["result"])


def ask_window(config: Config, question: WindowQuestion, limit: int) -> dict[str, Any]:
    """The daemon's answer of ``/api/trades/window``, of all feeds.

    Raises ServerError where no daemon answers, or where nothing is known of a coin.
    """
    assert not question.feeds
    words = {"coin": question.coin} if question.coin else {"symbol": question.symbols[0]}
    words |= {"from": iso_ns(question.from_ns), "to": iso_ns(question.to_ns), "limit": str(limit)}
    return _ask(config, "GET", f"/api/trades/window?{urlencode(words)}", None)


def _ask(config: Config, method: str, path: str, body: object) -> dict[str, Any]:
    port = read_runtime(config.data_dir).get("dashboard_port")
    nobody = f"no daemon answers for data_dir {config.data_dir}: start one with `pumpwatch run`"
    if not isinstance(port, int):
        raise ServerError(nobody)
    headers = {"authorization": f"Bearer {read_token(config)}"}
    url = _address(config, port) + path
    trust = _trust(config, url)
    try:
        with httpx.Client(trust_env=False, timeout=ANSWER_S_MAX, verify=trust) as client:
            answer = client.request(method, url, json=body, headers=headers)
            document: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise ServerError(f"{nobody} ({type(error).__name__})") from None
    if answer.status_code == httpx.codes.BAD_REQUEST:
        raise UsageError(str(document.get("error", "refused")))
    if not answer.is_success:
        raise ServerError(str(document.get("error", f"status {answer.status_code}")))
    return document


def _address(config: Config, port: int) -> str:
    scheme = "http" if config.dashboard.tls_key_file is None else "https"
    host = config.dashboard.host
    if host in ("0.0.0.0", "::"):
        host = LOOPBACK
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _trust(config: Config, url: str) -> ssl.SSLContext:
    """The daemon's own certificate and no other; it names the host that others use."""
    if config.dashboard.tls_certificate_file is None:
        return trust_for(url)
    path = config.path(config.dashboard.tls_certificate_file)
    try:
        context = ssl.create_default_context(cafile=str(path))
    except OSError as error:
        raise ServerError(f"{path}: cannot be read: {error}") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context
