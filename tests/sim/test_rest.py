"""The REST sides: recorded shapes, paging, depths, budgets, the same keys as the stream."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.sim.settings import FEED_NAMES, SimSettings
from pumpwatch.sim.venue import Request
from tests.sim.driving import SECOND_NS, Stage, simulator, tradable
from tests.sim.reading import Seen, read_texts

SAMPLES = Path(__file__).parents[1] / "samples" / "rest"


def sample(name: str) -> Any:
    return json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))


def settings_of(feed: str, **changes: Any) -> SimSettings:
    facts = {"feeds": (feed,), "symbols": 40, "rate_per_s": 2000.0, **changes}
    return SimSettings(**facts)


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return {str: "text", dict: "object", list: "array"}.get(type(value), "null")


def unlike(ours: Any, theirs: Any, more: frozenset[str], path: str = "") -> list[str]:
    """Where our document is not of the recorded one's shape; ``more``: keys the recording lacks."""
    if kind_of(ours) != kind_of(theirs):
        return [] if theirs is None else [f"{path}: {kind_of(ours)} for {kind_of(theirs)}"]
    if isinstance(ours, list):
        return [
            problem for one in ours[:50] if theirs for problem in nearest(one, theirs, more, path)
        ]
    if not isinstance(ours, dict):
        return []
    found = [f"{path}.{key} is new" for key in ours if key not in theirs and key not in more]
    for key in ours:
        if key in theirs:
            found += unlike(ours[key], theirs[key], more, f"{path}.{key}")
    return found


def nearest(one: Any, theirs: list[Any], more: frozenset[str], path: str) -> list[str]:
    """Lists may hold items of several shapes: the one that fits best counts."""
    return min((unlike(one, other, more, f"{path}[]") for other in theirs), key=len)


INSTRUMENT_LISTS = [
    ("binance_spot", "/api/v3/exchangeInfo", {}, "binance_spot_exchangeInfo", ()),
    ("binance_futures", "/fapi/v1/exchangeInfo", {}, "binance_futures_exchangeInfo", ()),
    ("bybit_spot", "/v5/market/instruments-info", {"category": "spot"},
     "bybit_instruments_spot", ()),
    ("bybit_futures", "/v5/market/instruments-info", {"category": "linear"},
     "bybit_instruments_linear", ()),
    ("okx_spot", "/api/v5/public/instruments", {"instType": "SPOT"}, "okx_instruments_spot", ()),
    ("okx_futures", "/api/v5/public/instruments", {"instType": "SWAP"}, "okx_instruments_swap", ()),
    ("kucoin_spot", "/api/v2/symbols", {}, "kucoin_symbols", ()),
    ("kucoin_futures", "/api/v1/contracts/active", {}, "kucoin_contracts_active", ()),
    ("gate_spot", "/api/v4/spot/currency_pairs", {}, "gate_currency_pairs", ()),
    # The recorded contract list is of 2023; these fields came later (FEEDS.md, section 7).
    ("gate_futures", "/api/v4/futures/usdt/contracts", {}, "gate_futures_contracts",
     ("contract_type", "status", "enable_decimal")),
    ("phemex_spot", "/public/products", {}, "phemex_products_2021", ("perpProductsV2",)),
]  # fmt: skip


@pytest.mark.parametrize(("feed", "path", "query", "name", "more"), INSTRUMENT_LISTS)
async def test_instrument_lists_have_the_recorded_shape(
    feed: str, path: str, query: dict[str, str], name: str, more: tuple[str, ...],
    autojump_clock: object,
) -> None:  # fmt: skip
    async with simulator(settings_of(feed)) as stage:
        document = stage.get(feed, path, **query)
    assert not unlike(document, sample(name), frozenset(more))


async def test_phemex_lists_both_markets(autojump_clock: object) -> None:
    """No recording has perpProductsV2: its fields are those of FEEDS.md."""
    settings = SimSettings(feeds=("phemex_spot", "phemex_futures"), symbols=40)
    async with simulator(settings) as stage:
        documents = [stage.get(feed, "/public/products")["data"] for feed in settings.feeds]
    assert documents[0] == documents[1]
    (data, _) = documents
    scales = {row["currency"]: row["valueScale"] for row in data["currencies"]}
    spot = [row for row in data["products"] if row["type"] == "Spot"]
    assert {row["baseCurrency"] for row in spot} <= scales.keys()
    assert scales["USDT"] == 8
    listed = [row for row in data["perpProductsV2"] if row["status"] == "Listed"]
    assert {row["type"] for row in listed} == {"PerpetualV2"}
    assert sum(row["settleCurrency"] == "USDT" for row in listed) == 40
    bases = {row["symbol"]: row["baseCurrency"] for row in [*spot, *listed]}
    assert (bases["sOLUSDT"], bases["SOLUSDT"], bases["sSOLUSDT"]) == ("OL", "SOL", "SOL")


async def test_bybit_linear_comes_in_pages(autojump_clock: object) -> None:
    path, feed = "/v5/market/instruments-info", "bybit_futures"
    async with simulator(settings_of(feed)) as stage:
        found, cursors, cursor = [], [], ""
        while True:
            result = stage.get(feed, path, category="linear", limit=1000, cursor=cursor)["result"]
            found += [row["symbol"] for row in result["list"]]
            cursor = result["nextPageCursor"]
            if not cursor:
                break
            cursors.append(cursor)
        assert cursors
        assert found == [one.venue_symbol for one in stage.exchange.venues[feed].market.instruments]


async def test_bybit_spot_ignores_limit_and_cursor(autojump_clock: object) -> None:
    feed = "bybit_spot"
    async with simulator(settings_of(feed)) as stage:
        path = "/v5/market/instruments-info"
        result = stage.get(feed, path, category="spot", limit=3, cursor="20")["result"]
        assert len(result["list"]) == len(stage.exchange.venues[feed].market.instruments)
        assert "nextPageCursor" not in result


@pytest.mark.parametrize(
    ("feed", "wanted"),
    [
        ("binance_futures", {"PERPETUAL", "CURRENT_QUARTER", "SETTLING", "USDC"}),
        ("bybit_futures", {"LinearPerpetual", "LinearFutures", "PreLaunch", "Closed", "USDC"}),
        ("okx_futures", {"inverse", "linear", "suspend", "USDC"}),
        ("kucoin_futures", {"XBT", "FFICSX", "FFWCSX", "Closed"}),
        ("gate_futures", {"prelaunch", "delisted", "trading"}),
        ("okx_spot", {"preopen", "suspend", "USDC"}),
        ("binance_spot", {"HALT", "BREAK", "币安人生"}),
    ],
)
async def test_lists_hold_what_a_client_must_leave_out(
    feed: str, wanted: set[str], autojump_clock: object
) -> None:
    (path, query) = next(
        (path, query) for name, path, query, *_ in INSTRUMENT_LISTS if name == feed
    )
    async with simulator(settings_of(feed)) as stage:
        text = json.dumps(stage.get(feed, path, limit=1000, **query), ensure_ascii=False)
        if feed == "bybit_futures":
            text += json.dumps(stage.get(feed, path, limit=1000, cursor="30", **query))
    for word in wanted:
        assert f'"{word}"' in text, word


# --- trades ---------------------------------------------------------------------------------------

RECENT = {  # path, name of the symbol's parameter, its other parameters, sample, newer fields
    "binance_spot": ("/api/v3/trades", "symbol", {"limit": 1000}, "binance_spot_trades", ()),
    "binance_futures": ("/fapi/v1/trades", "symbol", {"limit": 1000}, "binance_futures_trades", ()),
    "bybit_spot": ("/v5/market/recent-trade", "symbol", {"category": "spot", "limit": 1000},
                   "bybit_recent_trade_linear", ("isRPITrade", "seq", "retExtInfo")),
    "bybit_futures": ("/v5/market/recent-trade", "symbol", {"category": "linear", "limit": 1000},
                      "bybit_recent_trade_linear", ("isRPITrade", "seq", "retExtInfo")),
    "okx_spot": ("/api/v5/market/trades", "instId", {"limit": 500}, "okx_market_trades", ()),
    "okx_futures": ("/api/v5/market/trades", "instId", {"limit": 500}, "okx_market_trades", ()),
    "kucoin_spot": ("/api/v1/market/histories", "symbol", {}, "kucoin_spot_histories", ()),
    "kucoin_futures": ("/api/v1/trade/history", "symbol", {}, "kucoin_futures_trade_history", ()),
    "gate_spot": ("/api/v4/spot/trades", "currency_pair", {"limit": 1000}, "gate_spot_trades", ()),
    "gate_futures": ("/api/v4/futures/usdt/trades", "contract",
                     {"limit": 1000, "headers": {"x-gate-size-decimal": "1"}},
                     "gate_futures_trades", ()),
    "phemex_spot": ("/md/trade", "symbol", {}, "phemex_md_v2_trade", ("trades",)),
    "phemex_futures": ("/md/v2/trade", "symbol", {}, "phemex_md_v2_trade", ()),
}  # fmt: skip
DEPTH = {"bybit_spot": 60, "bybit_futures": 1000, "kucoin_spot": 100, "kucoin_futures": 100,
         "okx_spot": 500, "okx_futures": 500}  # fmt: skip
OLDEST_FIRST = {"binance_spot", "binance_futures", "kucoin_spot"}


def recent(stage: Stage, feed: str, symbol: str, **more: Any) -> Any:
    path, parameter, query, *_ = RECENT[feed]
    return stage.get(feed, path, **{parameter: symbol, **query, **more})


def rows_in(document: Any) -> list[Any]:
    """The list in a venue's answer."""
    for key in ("data", "result", "list", "trades", "trades_p"):
        if isinstance(document, dict) and key in document:
            return rows_in(document[key])
    assert isinstance(document, list)
    return document


def seen_of(feed: str, symbol: str, row: Any) -> Seen:
    """A REST row as the stream would have said it; quantity in the venue's unit, no sequence."""
    match feed:
        case "binance_spot" | "binance_futures":
            facts = (str(row["id"]), row["time"] * 10**6, "sell" if row["isBuyerMaker"] else "buy",
                     row["price"], row["qty"])  # fmt: skip
        case "bybit_spot" | "bybit_futures":
            facts = (row["execId"], int(row["time"]) * 10**6, row["side"].lower(), row["price"],
                     row["size"])  # fmt: skip
        case "okx_spot" | "okx_futures":
            facts = (row["tradeId"], int(row["ts"]) * 10**6, row["side"], row["px"], row["sz"])
        case "kucoin_spot":
            facts = (row["sequence"], row["time"], row["side"], row["price"], row["size"])
        case "kucoin_futures":
            facts = (row["tradeId"], row["ts"], row["side"], row["price"], str(row["size"]))
        case "gate_spot":
            whole, _, part = row["create_time_ms"].partition(".")
            facts = (row["id"], int(whole) * 10**6 + int(part.ljust(6, "0")), row["side"],
                     row["price"], row["amount"])  # fmt: skip
        case "gate_futures":
            size, ms = str(row["size"]), round(row["create_time_ms"] * 1000)
            facts = (str(row["id"]), ms * 10**6, "sell" if size.startswith("-") else "buy",
                     row["price"], size.lstrip("-"))  # fmt: skip
        case _:
            facts = ("", row[0], row[1].lower(), str(row[2]), str(row[3]))
    return Seen(symbol, *facts, 0)


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_a_row_from_rest_is_the_row_of_the_stream(feed: str, autojump_clock: object) -> None:
    """The same id, time, side, price and quantity, in the venue's order, as deep as it goes."""
    headers = ((b"X-Gate-Size-Decimal", b"1"),)
    async with simulator(settings_of(feed, symbols=3, recorded=False)) as stage:
        symbol = stage.tradable(feed)[0]
        values = {symbol: Decimal("1e-8") if feed == "phemex_spot" else Decimal(1)}
        client = await stage.connect(feed, headers=headers)
        await client.subscribe([symbol])
        await stage.trade(1.2)
        streamed = read_texts(feed, client.texts, values)
        document = recent(stage, feed, symbol)
        _, _, _, name, more = RECENT[feed]
        # (Gate's sizes are numbers in the recording, made without the header.)
        shown = recent(stage, feed, symbol, headers={})
        assert not unlike(shown, sample(name), frozenset(more))
        rows = [seen_of(feed, symbol, row) for row in rows_in(document)]
    if feed == "phemex_spot":
        rows = [
            row._replace(price=scaled(row.price), quantity=scaled(row.quantity)) for row in rows
        ]
    if feed not in OLDEST_FIRST:
        rows.reverse()
    rows = [row._replace(price=bare(row.price), quantity=bare(row.quantity)) for row in rows]
    want = [row._replace(sequence=0) for row in streamed]
    if feed.startswith("phemex"):
        assert 900 < len(rows) <= 1000
    else:
        assert len(rows) == DEPTH.get(feed, 1000)
    assert len(want) > len(rows)
    assert rows == want[-len(rows) :]


def bare(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def scaled(text: str) -> str:
    padded = text.rjust(9, "0")
    return f"{padded[:-8]}.{padded[-8:]}"


async def traded(stage: Stage, feed: str, seconds: float) -> tuple[str, list[Seen]]:
    """A symbol and its trades from the stream, after some trading."""
    symbol = stage.tradable(feed)[0]
    client = await stage.connect(feed)
    await client.subscribe([symbol])
    await stage.trade(seconds)
    return symbol, read_texts(feed, client.texts, {symbol: Decimal(1)})


def ids(rows: list[Any], name: str) -> list[int]:
    return [int(row[name]) for row in rows]


@pytest.mark.parametrize("feed", ["binance_spot", "binance_futures"])
async def test_binance_trades_by_id(feed: str, autojump_clock: object) -> None:
    async with simulator(settings_of(feed, recorded=False)) as stage:
        symbol, streamed = await traded(stage, feed, 2.0)
        numbers = [int(row.trade_id) for row in streamed]
        path = "/api/v3/historicalTrades" if feed.endswith("spot") else "/fapi/v1/historicalTrades"
        query: dict[str, Any] = {"symbol": symbol, "limit": 1000}
        if feed.endswith("futures"):
            document = stage.exchange.venues[feed]
            assert document.settings.rest_limits
            with pytest.raises(AssertionError, match="API-key"):
                stage.get(feed, path, **query)
            query["headers"] = {"x-mbx-apikey": "k"}
        first = numbers[10]
        assert ids(stage.get(feed, path, fromId=first, **query), "id") == numbers[10:1010]
        assert ids(stage.get(feed, path, fromId=numbers[-3], **query), "id") == numbers[-3:]
        assert stage.get(feed, path, fromId=numbers[-1] + 1, **query) == []
        query["limit"] = 5000
        assert len(stage.get(feed, path, fromId=0, **query)) == 1000  # the most a page holds


@pytest.mark.parametrize("feed", ["okx_spot", "okx_futures"])
async def test_okx_history_by_id(feed: str, autojump_clock: object) -> None:
    path = "/api/v5/market/history-trades"
    async with simulator(settings_of(feed, recorded=False)) as stage:
        symbol, streamed = await traded(stage, feed, 1.0)
        numbers = [int(row.trade_id) for row in streamed][::-1]  # newest first

        def page(**query: int) -> list[int]:
            document = stage.get(feed, path, instId=symbol, **query)
            return ids(document["data"], "tradeId")

        assert page(type=1, limit=500) == numbers[:100]
        assert page(type=1, after=numbers[99]) == numbers[100:200]
        assert page(type=1, before=numbers[7]) == numbers[:7]
        assert page(type=1, after=numbers[50], before=numbers[61]) == numbers[51:61]
        assert page(type=1, after=numbers[-1])[:1] in ([], [numbers[-1] - 1])


async def test_gate_spot_by_page_time_and_id(autojump_clock: object) -> None:
    feed, path = "gate_spot", "/api/v4/spot/trades"
    async with simulator(settings_of(feed, recorded=False)) as stage:
        symbol, streamed = await traded(stage, feed, 2.5)
        numbers = [row.sequence for row in streamed][::-1]

        def page(**query: Any) -> list[int]:
            return ids(stage.get(feed, path, currency_pair=symbol, **query), "sequence_id")

        assert page(limit=1000) == numbers[:1000]
        assert page(limit=1000, page=2) == numbers[1000:2000]
        assert page() == numbers[:100]
        middle_s = streamed[len(streamed) // 2].exchange_ns // SECOND_NS
        within = [row.sequence for row in streamed if row.exchange_ns // SECOND_NS == middle_s]
        found: list[int] = []
        for number in (1, 2, 3, 4):
            found += page(**{"from": middle_s, "to": middle_s, "limit": 1000, "page": number})
        assert found == within[::-1]
        assert page(last_id=numbers[40], limit=10) == numbers[41:51]
        newer = page(last_id=numbers[40], limit=10, reverse="true")
        assert sorted(newer, reverse=True) == numbers[30:40]


async def test_gate_futures_by_offset_and_time(autojump_clock: object) -> None:
    feed, path = "gate_futures", "/api/v4/futures/usdt/trades"
    async with simulator(settings_of(feed, recorded=False)) as stage:
        symbol, streamed = await traded(stage, feed, 2.5)
        numbers = [row.sequence for row in streamed][::-1]

        def page(**query: Any) -> list[int]:
            return ids(stage.get(feed, path, contract=symbol, **query), "id")

        assert page(limit=1000, offset=0) == numbers[:1000]
        assert page(limit=1000, offset=1000) == numbers[1000:2000]
        first_s = streamed[0].exchange_ns // SECOND_NS
        within = [row.sequence for row in streamed if row.exchange_ns // SECOND_NS == first_s]
        assert page(**{"from": first_s, "to": first_s, "limit": 1000}) == within[::-1][:1000]
        contracts = stage.get(feed, "/api/v4/futures/usdt/contracts")
        (mine,) = [row for row in contracts if row["name"] == symbol]
        assert mine["trade_id"] == numbers[0]  # an independent witness of what was traded


async def test_gate_futures_cuts_sizes_without_the_header(autojump_clock: object) -> None:
    feed = "gate_futures"
    async with simulator(settings_of(feed, recorded=False, symbols=3)) as stage:
        await (client := await stage.connect(feed)).subscribe(["ETH_USDT"])
        await stage.trade(1.0)
        assert client.texts
        whole = recent(stage, feed, "ETH_USDT", headers={})
        exact = recent(stage, feed, "ETH_USDT")
    assert all(isinstance(row["size"], int) for row in whole)
    assert all(isinstance(row["size"], str) for row in exact)
    pairs = [(one["size"], float(other["size"])) for one, other in zip(whole, exact, strict=True)]
    assert all(cut == int(size) for cut, size in pairs)
    assert any(cut != size for cut, size in pairs)


UNKNOWN = {  # status and words of the answer
    "binance": (400, '"code":-1121'), "bybit": (200, '"retCode":10001'),
    "okx": (400, '"code":"51001"'), "kucoin": (400, '"code":"400100"'),
    "gate": (400, "unknown"), "phemex": (200, '"code":6001'),
}  # fmt: skip


@pytest.mark.parametrize("feed", FEED_NAMES)
async def test_unknown_symbols_paths_and_numbers(feed: str, autojump_clock: object) -> None:
    path, parameter, query, *_ = RECENT[feed]
    plain_query = {name: str(value) for name, value in query.items() if name != "headers"}
    async with simulator(settings_of(feed)) as stage:
        status, body = await ask_all(stage, feed, path, **{**plain_query, parameter: "NOSUCH"})
        wanted, words = UNKNOWN[feed.split("_")[0]]
        assert status == wanted
        assert words in body.decode()
        assert (await ask_all(stage, feed, "/no/such/path"))[0] == 404
        if "limit" in query:
            symbol = stage.tradable(feed)[0]
            wrong = {**plain_query, parameter: symbol, "limit": "many"}
            assert (await ask_all(stage, feed, path, **wrong))[0] == 400


async def ask_all(stage: Stage, feed: str, path: str, **query: str) -> tuple[int, bytes]:
    """Through the exchange, which answers for numbers that are none."""
    answer = await stage.exchange.answer(feed, Request("GET", path, query, {}))
    return answer.status, answer.body


# --- budgets --------------------------------------------------------------------------------------

BUDGETS = [  # feed, path, query, requests that fit, seconds, status of the next
    ("binance_spot", "/api/v3/trades", {"symbol": "BTCUSDT"}, 6000 // 25, 60, 429),
    ("binance_spot", "/api/v3/exchangeInfo", {}, 6000 // 20, 60, 429),
    ("binance_futures", "/fapi/v1/trades", {"symbol": "BTCUSDT"}, 2400 // 5, 60, 429),
    ("bybit_spot", "/v5/market/recent-trade", {"category": "spot", "symbol": "BTCUSDT"}, 600, 5,
     403),
    ("okx_spot", "/api/v5/market/trades", {"instId": "BTC-USDT"}, 100, 2, 429),
    ("okx_spot", "/api/v5/market/history-trades", {"instId": "BTC-USDT"}, 20, 2, 429),
    ("gate_spot", "/api/v4/spot/trades", {"currency_pair": "BTC_USDT"}, 200, 10, 429),
    ("gate_futures", "/api/v4/futures/usdt/trades", {"contract": "BTC_USDT"}, 200, 10, 429),
    ("phemex_spot", "/md/trade", {"symbol": "sBTCUSDT"}, 100, 60, 429),
]  # fmt: skip


@pytest.mark.parametrize(("feed", "path", "query", "fits", "span_s", "status"), BUDGETS)
async def test_budgets(
    feed: str, path: str, query: dict[str, str], fits: int, span_s: int, status: int,
    mock_clock: Any,
) -> None:  # fmt: skip
    async with simulator(settings_of(feed)) as stage:
        found = [(await ask_all(stage, feed, path, **query))[0] for _ in range(fits + 1)]
        assert found == [200] * fits + [status]
        mock_clock.jump(span_s + 0.1)
        assert (await ask_all(stage, feed, path, **query))[0] == 200
        assert stage.exchange.stats()["feeds"][feed]["rest"][f"{path} {status}"] == 1


@pytest.mark.parametrize(
    ("exchange", "paths", "fits"),
    [
        ("bybit", {"spot": "/v5/market/tickers", "futures": "/v5/market/tickers"}, 600),
        ("phemex", {"spot": "/public/products", "futures": "/public/products"}, 100),
    ],
)
async def test_budgets_belong_to_the_exchange(
    exchange: str, paths: dict[str, str], fits: int, autojump_clock: object
) -> None:
    """R11: what one feed spends the other has no more."""
    feeds = tuple(f"{exchange}_{kind}" for kind in paths)
    categories = {"bybit_spot": "spot", "bybit_futures": "linear"}
    async with simulator(SimSettings(feeds=feeds, symbols=3)) as stage:
        found = []
        for number in range(fits + 2):
            feed = feeds[number % 2]
            query = {"category": categories.get(feed, "")}
            found.append((await ask_all(stage, feed, paths[feed.split("_")[1]], **query))[0])
    assert found[:fits] == [200] * fits
    assert all(status in (403, 429) for status in found[fits:])


async def test_binance_says_when_to_come_back(autojump_clock: object) -> None:
    async with simulator(settings_of("binance_spot")) as stage:
        request = Request("GET", "/api/v3/exchangeInfo", {}, {})
        for _ in range(301):
            answer = await stage.exchange.answer("binance_spot", request)
        assert answer.status == 429
        assert ("Retry-After", "10") in answer.headers


async def test_budgets_can_be_off(autojump_clock: object) -> None:
    async with simulator(settings_of("okx_spot", rest_limits=False)) as stage:
        path = "/api/v5/market/history-trades"
        query = {"instId": "BTC-USDT"}
        assert {(await ask_all(stage, "okx_spot", path, **query))[0] for _ in range(200)} == {200}


async def test_kucoin_tokens_over_rest(autojump_clock: object) -> None:
    for feed, name in (("kucoin_spot", "spot"), ("kucoin_futures", "futures")):
        async with simulator(settings_of(feed, time_scale=0.5)) as stage:
            document = stage.get(feed, "/api/v1/bullet-public", method="POST")
            assert not unlike(document, sample(f"kucoin_bullet_public_{name}"), frozenset())
            (server,) = document["data"]["instanceServers"]
            assert server["endpoint"] == f"ws://sim.test:80/{feed}/"
            assert (server["pingInterval"], server["pingTimeout"]) == (9000, 5000)
            assert (await ask_all(stage, feed, "/api/v1/bullet-public"))[0] == 404  # a POST only


@pytest.mark.parametrize("board", ["upbit", "bithumb"])
async def test_boards_list_won_markets(board: str, autojump_clock: object) -> None:
    async with simulator(settings_of("okx_spot")) as stage:
        status, body = await ask_all(stage, board, "/v1/market/all", isDetails="true")
        assert status == 200
        rows = json.loads(body)
        assert {"KRW-BTC", "KRW-XRP"} <= {row["market"] for row in rows}
        assert any(not row["market"].startswith("KRW-") for row in rows)
        assert all("market_event" in row for row in rows)


async def test_volumes_rank_the_symbols(autojump_clock: object) -> None:
    """The 24-hour figures name the busiest symbols: those that trade most here."""
    wanted = {
        "binance_spot": ("/api/v3/ticker/24hr", {}, "quoteVolume"),
        "bybit_futures": ("/v5/market/tickers", {"category": "linear"}, "turnover24h"),
        "okx_futures": ("/api/v5/market/tickers", {"instType": "SWAP"}, "volCcy24h"),
        "gate_spot": ("/api/v4/spot/tickers", {}, "quote_volume"),
        "phemex_futures": ("/md/v2/ticker/24hr/all", {}, "turnoverRv"),
    }
    async with simulator(SimSettings(symbols=5)) as stage:
        for feed, (path, query, name) in wanted.items():
            volumes = [float(row[name]) for row in rows_in(stage.get(feed, path, **query))]
            assert volumes == sorted(volumes, reverse=True)
            assert len(volumes) >= len(tradable(stage.exchange, feed))
