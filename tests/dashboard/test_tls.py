"""TLS, and the command line's way to the daemon: over both, to a real server."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import trio
import trustme

from pumpwatch.clock import SystemClock
from pumpwatch.config import Config, DashboardConfig
from pumpwatch.daemon_client import act
from pumpwatch.dashboard.access import ensure_token
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.dashboard.page import run_page
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.rates import TimesBySource
from pumpwatch.store.server import read_runtime
from pumpwatch.store.sql import Sql
from pumpwatch.store.window_reader import Windows
from tests.dashboard.stage import NOBODY, SeatDouble


def desk_with_echo() -> ActionDesk:
    desk = ActionDesk()

    async def echo(arguments: object) -> str:
        if arguments == {"word": "bad"}:
            raise UsageError("word: not that one")
        return f"heard {arguments}"

    desk.add("echo", Action(help="", arguments={"word": "any"}, run=echo))
    return desk


@pytest.mark.parametrize("has_tls", [False, True])
async def test_the_command_line_reaches_a_running_daemon(tmp_path: Path, has_tls: bool) -> None:
    authority = trustme.CA()
    dashboard = DashboardConfig(bind="127.0.0.1:0")
    if has_tls:
        certificate = authority.issue_cert("recorder.example")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
        dashboard = DashboardConfig(
            bind="127.0.0.1:0", tls_certificate_file="cert.pem", tls_key_file="key.pem"
        )
    config = msgspec.structs.replace(Config(), data_dir=tmp_path, dashboard=dashboard)
    served = trio.Event()
    urls: list[str] = []

    def on_address(url: str) -> None:
        urls.append(url)
        served.set()

    async def serve() -> None:
        await run_page(
            config,
            SystemClock(),
            SeatDouble(),
            desk_with_echo(),
            NOBODY,
            no_windows(),
            on_address=on_address,
        )

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await served.wait()
            assert urls[0].startswith("https" if has_tls else "http:")
            assert urls[0].endswith(f":{read_runtime(tmp_path)['dashboard_port']}/")
            told = await trio.to_thread.run_sync(lambda: act(config, "echo", word="ho"))
            assert told == "heard {'word': 'ho'}"
            with pytest.raises(UsageError, match="not that one"):
                await trio.to_thread.run_sync(lambda: act(config, "echo", word="bad"))
            with pytest.raises(ServerError, match="no action"):
                await trio.to_thread.run_sync(lambda: act(config, "nothing"))
            if has_tls:
                await refuse_another_certificate(tmp_path, config)
            nursery.cancel_scope.cancel()


def no_windows() -> Windows:
    """Nobody asks it."""
    return Windows(Sql(NOBODY, readonly=True), SystemClock(), TimesBySource())


async def refuse_another_certificate(folder: Path, config: Config) -> None:
    other = trustme.CA().issue_cert("recorder.example")
    other.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    with pytest.raises(ServerError):
        await trio.to_thread.run_sync(lambda: act(config, "echo", word="ho"))


def test_without_a_daemon_it_is_said(tmp_path: Path) -> None:
    config = msgspec.structs.replace(Config(), data_dir=tmp_path)
    ensure_token(config)
    with pytest.raises(ServerError, match="no daemon answers"):
        act(config, "echo")


async def test_a_port_that_is_taken_is_tried_again_and_ends_nothing(tmp_path: Path) -> None:
    taken = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken[0].socket.getsockname()[1]
    dashboard = DashboardConfig(bind=f"127.0.0.1:{port}")
    config = msgspec.structs.replace(Config(), data_dir=tmp_path, dashboard=dashboard)
    with trio.move_on_after(1.5) as scope:
        await run_page(config, SystemClock(), SeatDouble(), ActionDesk(), NOBODY, no_windows())
    assert scope.cancelled_caught
    await taken[0].aclose()
