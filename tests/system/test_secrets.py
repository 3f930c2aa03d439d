"""A whole run with a secret in every place that takes one: none of them is anywhere it can be read.

Every target that holds a secret fails on purpose, since errors are where secrets get out.
"""

from __future__ import annotations

import base64
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trio

from pumpwatch.drills.stage import DaemonProcess, daemon_process, is_subscribed
from pumpwatch.drills.verbs import say
from pumpwatch.environment import read_runtime
from pumpwatch.errors import EXIT_GOOD
from pumpwatch.sim.process import run_simulator

pytestmark = [pytest.mark.questdb, pytest.mark.slow, pytest.mark.drill]

SEED = 20_261_127
RUN_S = 35.0  # an alert is told after 30
NOBODY = "http://127.0.0.1:9"
# By where each stands; none is a word that could come from somewhere else.
SECRETS = {
    "alert target": "alertTok3nQ7x",
    "heartbeat": "heartB34tZz91",
    "feed's API key": "f33dKeyYy8812",
    "upbit access key": "upb1tAccess77",
    "upbit secret key": "upb1tSecret99",
    "proxy password": "pr0xyPassw0rd",
}
TOML = f"""
[alerts]
urls = ["json://user:{SECRETS["alert target"]}@127.0.0.1:9/x?token={SECRETS["alert target"]}"]
heartbeat_url = "{NOBODY}/ping/{SECRETS["heartbeat"]}?key={SECRETS["heartbeat"]}"
[backup]
directory = "backups"
"""
VERBS = (("doctor",), ("check",), ("status",), ("alerts", "history"), ("alerts", "test"))
PATHS = (
    "/", "/livez", "/readyz", "/api/health", "/api/metrics", "/metrics", "/api/feeds", "/schema",
    "/api/system/status", "/api/actions", "/api/gaps", "/api/listings", "/api/trades/recent",
    "/api/nothing", "/api/trades/recent?symbol=%00",
)  # fmt: skip


def write_secrets(daemon: DaemonProcess) -> None:
    """Put them where the settings name them."""
    folder = daemon.data_dir / "secrets"
    folder.mkdir(parents=True, mode=0o700)
    for name, secret in (
        ("feed", "feed's API key"), ("access", "upbit access key"), ("secret", "upbit secret key"),
    ):  # fmt: skip
        (folder / name).write_text(SECRETS[secret])
        (folder / name).chmod(0o600)
    text = daemon.config_file.read_text()
    text = text.replace(
        "[listing.upbit]",
        '[listing.upbit]\naccess_key_file = "secrets/access"\nsecret_key_file = "secrets/secret"',
    )
    proxy = f'proxy_url = "http://user:{SECRETS["proxy password"]}@127.0.0.1:9"'
    text = text.replace("[feeds.gate_spot]", f"[feeds.gate_spot]\n{proxy}")
    text = text.replace("[feeds.okx_spot]", '[feeds.okx_spot]\napi_key_file = "secrets/feed"')
    daemon.config_file.write_text(text)
    daemon.config_file.chmod(0o600)


def spellings(secret: str) -> Iterator[bytes]:
    """As it is, and as Basic would carry it."""
    yield secret.encode()
    for user in ("user", "pumpwatch", "pumpwatch_ro"):
        yield base64.b64encode(f"{user}:{secret}".encode())


def made_secrets(data_dir: Path) -> dict[str, str]:
    """Those that the daemon made itself."""
    folder = data_dir / "secrets"
    return {
        path.name: path.read_text().strip()
        for path in folder.iterdir()
        if path.name in ("questdb", "questdb_ro", "dashboard_token")
    }


def readable_files(daemon: DaemonProcess) -> Iterator[Path]:
    """All that the run left, but for the places that are there to hold secrets."""
    for path in (daemon.config_file.parent).rglob("*"):
        is_kept_place = (
            path == daemon.config_file
            or daemon.data_dir / "secrets" in path.parents
            or path.parent == daemon.data_dir / "questdb" / "conf"  # the server's own, 0600
        )
        if path.is_file() and not is_kept_place:
            yield path


async def answers(daemon: DaemonProcess) -> dict[str, bytes]:
    runtime = read_runtime(daemon.data_dir)
    assert runtime is not None
    base = f"http://127.0.0.1:{runtime.dashboard_port}"
    found = {}
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=20) as client:
        for path in PATHS:
            answer = await client.get(path)
            found[f"GET {path}"] = repr(answer.headers).encode() + answer.content
        wrong = await client.post("/api/actions/x", json={}, headers={"authorization": "Bearer x"})
        found["POST"] = repr(wrong.headers).encode() + wrong.content
    return found


async def test_no_secret_is_ever_shown(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    arguments = ["--rate", "500", "--seed", str(SEED)]
    async with (
        run_simulator(tmp_path / "truth", arguments) as simulator,
        daemon_process(tmp_path / "run", simulator, TOML) as daemon,
    ):
        write_secrets(daemon)
        daemon.start()
        await daemon.until(
            lambda now: sum(is_subscribed({"feeds": [feed]}) for feed in now["feeds"]) >= 11,
            "subscribed but for the one behind a proxy that is not there",
        )
        await trio.sleep(RUN_S)
        shown = await answers(daemon)
        for verb in (
            ("doctor",),
            ("check",),
            ("status",),
            ("alerts", "history"),
            ("alerts", "test"),
        ):
            _, document, complaint = await say(daemon, *verb)
            shown[" ".join(verb)] = repr(document).encode() + complaint.encode()
        daemon.signal(signal.SIGTERM)
        assert await daemon.wait() == EXIT_GOOD, daemon.log_tail()
        log = daemon.log_file.read_bytes()
        for event in (b"alert_not_delivered", b"gate_spot", b"upbit_socket"):
            assert event in log, f"{event!r}: the run did not come to where a secret could get out"
        shown |= {str(path): path.read_bytes() for path in readable_files(daemon)}
        secrets = SECRETS | made_secrets(daemon.data_dir)
    assert len(secrets) == len(SECRETS) + 3
    told = [
        f"{name} in {place}"
        for place, content in shown.items()
        for name, secret in secrets.items()
        if any(spelling in content for spelling in spellings(secret))
    ]
    assert told == []
