"""``replay``: a bundle as the twelve venues that it came from, or as one stream of JSON lines."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import trio

from pumpwatch.clock import Clock, SystemClock
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.listing.canonical import number_text
from pumpwatch.replay_frames import messages_as_recorded, read_frames, reasons_absent
from pumpwatch.research.bundles import Bundle
from pumpwatch.research.replaying import ReplayRow, in_receive_order
from pumpwatch.sim.replay import ReplayExchange, items_of
from pumpwatch.sim.settings import SimSettings
from pumpwatch.sim.told import ToldInstrument, ToldMessage, ToldNotice, ToldTrade

QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "USD", "BTC", "ETH", "EUR", "TRY", "KRW")
SECOND_NS = 10**9


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How it is played."""

    speed: float  # 0: as fast as it goes
    wait_s: float
    kept: bool = False
    to_now: bool = False
    rebuilt: bool = False  # do without the recorded messages
    ends: bool = False  # with its last trade, not with a signal
    config_file: Path | None = None


# --- what a bundle tells --------------------------------------------------------------------------


def read_notice(bundle: Bundle) -> ToldNotice:
    """What was announced, at the moment when we saw it. Raises BundleError."""
    event, _ = bundle.facts
    return ToldNotice(
        at_ns=event.detected_ns, source=event.source, notice_id=event.notice_id,
        title=event.title, coin=event.symbol, announced_ns=event.announced_ns,
        opening_ns=event.opening_ns,
    )  # fmt: skip


def read_instruments(bundle: Bundle) -> list[ToldInstrument]:
    """What was traded, as the certificate names it. Raises BundleError."""
    coin = bundle.facts[0].symbol
    found = []
    for feed in bundle.certificate.feeds:
        for one in feed.instruments:
            quote = next((q for q in QUOTES if one.symbol.endswith(q) and one.symbol != q), "")
            found.append(
                ToldInstrument(
                    feed=feed.feed, venue_symbol=one.venue_symbol,
                    base=one.symbol.removesuffix(quote), quote=quote, coin=coin,
                    contract_value=one.contract_value,
                )
            )  # fmt: skip
    return found


def told(row: ReplayRow) -> ToldTrade:
    """A row with its numbers as text."""
    return ToldTrade(
        row.at_ns, row.timestamp_ns, row.feed, row.venue_symbol, row.side, number_text(row.price),
        number_text(row.quantity), row.trade_id, row.sequence_number, row.kind,
    )  # fmt: skip


def read_messages(
    bundle: Bundle, trades: Sequence[ToldTrade], options: Options, clock: Clock
) -> list[ToldMessage]:
    """Messages to be played as they were recorded. Raises BundleError."""
    if options.rebuilt or options.to_now:  # they have the times of then
        return []
    frames = read_frames(bundle.place)
    return messages_as_recorded(frames, trades, read_instruments(bundle), clock)


def make_exchange(place: Path, options: Options, clock: Clock) -> ReplayExchange:
    """The venues of a bundle. Raises BundleError."""
    bundle = Bundle(place)
    rows = in_receive_order(bundle.scan(kept=options.kept).collect())
    trades = list(map(told, rows))
    recorded = read_messages(bundle, trades, options, clock)
    return ReplayExchange(
        SimSettings(symbols=2, recorded=False), clock, read_instruments(bundle),
        items_of(trades, read_notice(bundle), recorded), speed=options.speed,
        wait_s=options.wait_s, to_now=options.to_now,
    )  # fmt: skip


def frames_of(place: Path, exchange: ReplayExchange, options: Options) -> dict[str, Any]:
    """How many messages are as recorded, how many made anew, by feed, and why there are such."""
    counts = {feed: {"recorded": 0, "rebuilt": 0} for feed in exchange.venues}
    for item in exchange.items:
        if isinstance(item, ToldMessage):
            counts[item.rows[0].feed]["recorded" if item.text else "rebuilt"] += 1
    asked = "--now moves their times" if options.to_now else "--rebuilt"
    is_asked = options.to_now or options.rebuilt
    return {
        "recorded": sum(one["recorded"] for one in counts.values()),
        "rebuilt": sum(one["rebuilt"] for one in counts.values()),
        "feeds": counts, "absent": [asked] if is_asked else reasons_absent(place),
    }  # fmt: skip


# --- served ---------------------------------------------------------------------------------------


def serve(place: Path, host: str, port: int, options: Options) -> int:
    """Serve a bundle until a signal comes; blocking. Raises BundleError, ServerError."""
    exchange = trio.run(_serve, place, host, port, options)
    return 0 if exchange.finished.is_set() else 1


async def _serve(place: Path, host: str, port: int, options: Options) -> ReplayExchange:
    exchange = await trio.to_thread.run_sync(make_exchange, place, options, SystemClock())
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise ServerError(f"cannot listen on {host}:{port}: {error}; give another port") from None
    async with trio.open_nursery() as nursery:
        bound = listeners[0].socket.getsockname()[1]
        urls = exchange.listen_at(host, bound)
        boards = exchange.boards.listen_at(host, bound)
        if options.config_file is not None:
            text = "\n".join([_toml("feeds", urls), _toml("listing", boards)])
            await trio.Path(options.config_file).write_text(text, encoding="utf-8")
        nursery.start_soon(exchange.boards.run)
        await nursery.start(_end_on_signal, nursery.cancel_scope)
        await nursery.start(partial(trio.serve_listeners, exchange.serve, listeners))
        _say({"port": bound, "bundle": str(place), "feeds": urls, "boards": boards,
              "frames": frames_of(place, exchange, options)})  # fmt: skip
        await exchange.play()
        await exchange.drain()
        _say(exchange.progress())
        if not options.ends:
            await trio.sleep_forever()
        await exchange.close()
        nursery.cancel_scope.cancel()
    return exchange


async def _end_on_signal(
    scope: trio.CancelScope, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            scope.cancel()
            return


def _toml(section: str, urls: dict[str, dict[str, str]]) -> str:
    return "\n".join(
        f"[{section}.{name}]\n" + "".join(f'{key} = "{url}"\n' for key, url in both.items())
        for name, both in urls.items()
    )


# --- as lines -------------------------------------------------------------------------------------


def print_lines(place: Path, options: Options) -> int:
    """Every trade and the notice in the order of receipt, one JSON document a line; blocking."""
    trio.run(_print_lines, place, options)
    return 0


async def _print_lines(place: Path, options: Options) -> None:
    bundle = Bundle(place)
    rows = list(in_receive_order(bundle.scan(kept=options.kept).collect()))
    recorded = {
        trade
        for message in read_messages(bundle, list(map(told, rows)), options, SystemClock())
        for trade in message.rows
    }
    notice = read_notice(bundle)
    started_s, first_ns, is_told = trio.current_time(), 0, False
    for row in rows:
        if not is_told and notice.at_ns <= row.at_ns:
            is_told = True
            first_ns = first_ns or notice.at_ns
            await _wait(started_s, notice.at_ns - first_ns, options.speed)
            _say({"type": "notice", **notice._asdict()})
        first_ns = first_ns or row.at_ns
        await _wait(started_s, row.at_ns - first_ns, options.speed)
        frame = "recorded" if told(row) in recorded else "rebuilt"
        _say({"type": "trade", "frame": frame, **row._asdict()})
    if not is_told:
        _say({"type": "notice", **notice._asdict()})


async def _wait(started_s: float, after_ns: int, speed: float) -> None:
    if speed:
        await trio.sleep_until(started_s + after_ns / SECOND_NS / speed)


def _say(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def read_address(text: str) -> tuple[str, int]:
    """``127.0.0.1:7000``. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"--serve {text}: allowed: HOST:PORT, as 127.0.0.1:7000")
    return host, int(port)
