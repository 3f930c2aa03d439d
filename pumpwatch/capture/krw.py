"""Which coins have a won market at Upbit and Bithumb, from their public market lists.

Only notes on instruments hang on this (``krw_upbit``, ``krw_bithumb``): a board that does not
answer costs those, never a trade.
"""

from __future__ import annotations

import structlog
import trio

from pumpwatch.config import ListingConfig
from pumpwatch.errors import VenueError
from pumpwatch.rest import RestClient
from pumpwatch.venues.listing import decode, entries_at, sample
from pumpwatch.venues.spec import Allowance

log = structlog.get_logger()

PATH = "/v1/market/all"
WON_PREFIX = "KRW-"
POLL_S = 300.0
RETRY_S_MIN = 10.0  # after a failure; doubles up to POLL_S

# Upbit allows 10/s; Bithumb documents 1/s for notices, which share the host with this list.
UPBIT = Allowance(key="upbit", units=5, per_s=1.0, burst=2)
BITHUMB = Allowance(key="bithumb", units=1, per_s=1.0, burst=1)


class _Board:
    """One board and what is known of it."""

    def __init__(
        self, name: str, base_url: str, allowance: Allowance, proxy_url: str | None
    ) -> None:
        self.name = name
        self.proxy_url = proxy_url
        self.url = base_url.rstrip("/") + PATH
        self.allowance = allowance
        self.coins: set[str] | None = None
        self.was_asked = trio.Event()  # with or without success


class KrwCoins:
    """The coins with a won market; a board that is not watched stays unknown."""

    def __init__(self, rest: RestClient, config: ListingConfig) -> None:
        self._rest = rest
        self._upbit = _Board("upbit", config.upbit.markets_url, UPBIT, config.upbit.proxy_url)
        self._bithumb = _Board("bithumb", config.bithumb.api_url, BITHUMB, config.bithumb.proxy_url)
        watched = ((self._upbit, config.upbit.enabled), (self._bithumb, config.bithumb.enabled))
        self._boards = [board for board, enabled in watched if enabled]

    def coins(self) -> tuple[set[str] | None, set[str] | None]:
        """Of Upbit and of Bithumb; None: not known yet."""
        return self._upbit.coins, self._bithumb.coins

    async def first(self, timeout_s: float) -> None:
        """Wait until each board has answered or failed once, at most so long."""
        with trio.move_on_after(timeout_s):
            for board in self._boards:
                await board.was_asked.wait()

    async def run(self, stop: trio.Event) -> None:
        """Ask now and every few minutes, until ``stop``."""
        async with trio.open_nursery() as nursery:
            for board in self._boards:
                nursery.start_soon(self._poll, board)
            await stop.wait()
            nursery.cancel_scope.cancel()

    async def _poll(self, board: _Board) -> None:
        failures = 0
        while True:
            try:
                body = await self._rest.get_url(
                    board.url, allowance=board.allowance, proxy_url=board.proxy_url
                )
                board.coins = read_won_coins(body, board.name)
            except VenueError as error:
                if failures == 0:
                    log.warning("won_markets_unknown", board=board.name, message=str(error))
                pause_s = min(POLL_S, RETRY_S_MIN * 2.0 ** min(failures, 16))
                failures += 1
            else:
                if failures:
                    log.info("won_markets_known", board=board.name, after_failures=failures)
                pause_s, failures = POLL_S, 0
            board.was_asked.set()
            await trio.sleep(pause_s)


def read_won_coins(body: bytes, board: str) -> set[str]:
    """Coins of a market list (``[{"market":"KRW-BTC"}, …]``). Raises VenueError for nonsense.

    A list without a single won market is nonsense too: what was known stays.
    """
    what = f"{board} market list"
    found: set[str] = set()
    for entry in entries_at(decode(body, what), what):
        market = entry.get("market") if isinstance(entry, dict) else None
        if isinstance(market, str) and market.startswith(WON_PREFIX):
            found.add(market.removeprefix(WON_PREFIX))
    found.discard("")
    if not found:
        raise VenueError(f"{what}: no {WON_PREFIX} market in the answer: {sample(body)}")
    return found
