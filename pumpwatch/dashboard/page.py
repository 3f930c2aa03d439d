"""Runs the page beside the recording: whatever happens here, the recording goes on."""

from __future__ import annotations

from collections.abc import Callable

import structlog
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.dashboard.access import ensure_token, policy_of
from pumpwatch.dashboard.actions import ActionDesk
from pumpwatch.dashboard.answers import SharedAnswers
from pumpwatch.dashboard.app import make_app
from pumpwatch.dashboard.gate import Gate
from pumpwatch.dashboard.questions import Questions
from pumpwatch.dashboard.routes_standing import BUILDERS
from pumpwatch.dashboard.server import PageServer
from pumpwatch.dashboard.tables import watch_tables
from pumpwatch.dashboard.view import SeatView
from pumpwatch.dashboard.windows import WindowAsker
from pumpwatch.errors import PumpWatchError
from pumpwatch.store.server import ServerAddress, write_runtime
from pumpwatch.store.sql import Sql

log = structlog.get_logger()

QUERY_S_MAX = 8.0  # less than the gate's deadline, so that the answer says why
QUERIES_MAX = 2  # at the same time: the database has rows to apply
TRY_AGAIN_S = 10.0


async def run_page(
    config: Config,
    clock: Clock,
    seat: SeatView,
    desk: ActionDesk,
    address: ServerAddress,
    windows: WindowAsker,
    *,
    on_address: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve the page until cancelled; what fails is logged and tried again.

    ``on_address`` is told the page's URL each time that it is served anew.
    """
    while True:
        try:
            await _serve(config, clock, seat, desk, address, windows, on_address)
        except* (OSError, PumpWatchError) as group:
            place = config.dashboard.bind
            log.error("page_not_served", bind=place, message=_first_line(group))  # noqa: TRY400
        except* Exception:
            log.exception("page_ended")
        await trio.sleep(TRY_AGAIN_S)


async def _serve(
    config: Config,
    clock: Clock,
    seat: SeatView,
    desk: ActionDesk,
    address: ServerAddress,
    windows: WindowAsker,
    on_address: Callable[[str], None],
) -> None:
    token = ensure_token(config)
    sql = Sql(address, readonly=True, timeout_s=QUERY_S_MAX, connections_max=QUERIES_MAX)
    questions = Questions(sql, seat.query_times)
    # Its own line: many readers must not hold up the look at the side tables.
    own_sql = Sql(address, readonly=True, timeout_s=QUERY_S_MAX, connections_max=1)
    try:
        shared = SharedAnswers(seat, BUILDERS)
        app = make_app(config, clock, seat, shared, questions, windows, desk)
        gate = Gate(
            app, policy_of(config, token), seat, shared,  # type: ignore[arg-type]
            per_s=config.dashboard.requests_per_s_max,
        )  # fmt: skip
        server = PageServer(gate, config.dashboard, _tls(config))
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve)
            nursery.start_soon(watch_tables, seat, Questions(own_sql, seat.query_times), clock)
            await trio.to_thread.run_sync(_tell_port, config, port)
            url = page_url(config, port)
            log.info("page_served", url=url)
            on_address(url)
    finally:
        with trio.move_on_after(2, shield=True):
            await sql.aclose()
            await own_sql.aclose()


def page_url(config: Config, port: int) -> str:
    """Where a browser finds the page."""
    scheme = "http" if config.dashboard.tls_key_file is None else "https"
    host = config.dashboard.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def _tell_port(config: Config, port: int) -> None:
    write_runtime(config.data_dir, dashboard_port=port)


def _tls(config: Config) -> tuple[str, str] | None:
    dashboard = config.dashboard
    if dashboard.tls_certificate_file is None or dashboard.tls_key_file is None:
        return None
    return (
        str(config.path(dashboard.tls_certificate_file)), str(config.path(dashboard.tls_key_file)),
    )  # fmt: skip


def _first_line(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split())
