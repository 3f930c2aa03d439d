"""Every endpoint, over a real socket; what the database answers comes from a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from pumpwatch.clock import SystemClock
from pumpwatch.dashboard.actions import Action
from pumpwatch.dashboard.questions import Questions
from pumpwatch.dashboard.routes_reports import POLICY
from pumpwatch.dashboard.tables import ask
from pumpwatch.moments import iso_ns
from pumpwatch.rates import TimesBySource
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.dashboard.stage import TOKEN, Stage, page_stage
from tests.standings import database, spool, standing, with_feed

SECOND_NS = 10**9
FEEDS = 3
ROWS = 30
COIN = "PGTEST"
SYMBOLS = ("PGTESTUSDT", "1000PGTESTUSDT")
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def now_ns() -> int:
    return SystemClock().wall_ns() // SECOND_NS * SECOND_NS - 60 * SECOND_NS


@pytest.fixture
async def rows(questdb_server: ServerAddress, now_ns: int) -> ServerAddress:
    """Thirty trades of one coin on three feeds, two gaps and a listing."""
    sql = Sql(questdb_server)
    await apply_schema(sql, spool_is_empty=lambda: True)
    for number in range(ROWS):
        exchange = ("binance", "okx", "gate")[number % FEEDS]
        symbol = SYMBOLS[number % FEEDS == 2]
        await sql.execute(
            "INSERT INTO trades (timestamp, exchange, market_type, symbol, side, price, quantity,"
            " trade_id, sequence_number, received_at, origin) VALUES"
            " (cast(%s AS TIMESTAMP_NS), %s, 'spot', %s, 'buy', %s, 2.5, %s, %s,"
            " cast(%s AS TIMESTAMP_NS), 'stream')",
            [now_ns + number * SECOND_NS, exchange, symbol, 10.0 + number, f"t{number}", number,
             now_ns + number * SECOND_NS + 5],
        )  # fmt: skip
    for exchange, symbol in (("binance", SYMBOLS[0]), ("gate", SYMBOLS[1])):
        await sql.execute(
            "INSERT INTO instruments (valid_from, exchange, market_type, venue_symbol, symbol,"
            " base, quote, coin, status)"
            " VALUES (cast(%s AS TIMESTAMP_NS), %s, 'spot', %s, %s, %s, 'USDT', %s, 'trading')",
            [now_ns, exchange, symbol, symbol, symbol.removesuffix("USDT"), COIN],
        )
    for number, state in enumerate(("confirmed", "lost")):
        await sql.execute(
            "INSERT INTO feed_gaps (opened_at, gap_id, exchange, market_type, symbol, cause,"
            " missing, exact, state)"
            " VALUES (cast(%s AS TIMESTAMP_NS), %s, 'okx', 'spot', %s, 'id_jump', 7,"
            " true, %s)",
            [now_ns + number, f"pg{number}", SYMBOLS[0], state],
        )
    await sql.execute(
        "INSERT INTO listing_events (detected_at, source, notice_id, symbol, title, url,"
        " announced_at, state, collected_trades, exchanges_with_data, certificate) VALUES"
        " (cast(%s AS TIMESTAMP_NS), 'upbit', '4711', %s, 'a title', 'https://upbit.com/x',"
        " cast(%s AS TIMESTAMP_NS), 'complete', 30, 3, %s)",
        [now_ns + 12 * SECOND_NS, COIN, now_ns + 10 * SECOND_NS, '{"okx_spot": "proven"}'],
    )
    with trio.fail_after(60):
        while await missing(sql):  # noqa: ASYNC110 - until the log is applied
            await trio.sleep(0.05)
    await sql.aclose()
    return questdb_server


async def missing(sql: Sql) -> bool:
    counts = await sql.query(
        f"SELECT count() FROM trades WHERE symbol IN {SYMBOLS!r}"
        f" UNION ALL SELECT count() FROM listing_events WHERE symbol = '{COIN}'"
        " UNION ALL SELECT count() FROM feed_gaps WHERE gap_id LIKE 'pg%'"
        f" UNION ALL SELECT count() FROM instruments WHERE coin = '{COIN}'"
    )
    return counts != [(ROWS,), (1,), (2,), (2,)]


# --- answered from how the daemon stands ----------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "health", "ready"),
    [
        (standing(), 200, 200),
        (with_feed("okx_spot", subscribed=4), 200, 200),
        (with_feed("okx_spot", connections_open=0), 503, 503),
        (standing(database=database(state="down", silent_s=20.0)), 503, 503),
        (standing(spool=spool(state="full")), 503, 503),
        (standing(differences=["okx_spot: road: 5 parsed, 4 accounted for"]), 503, 200),
        (standing(state="starting"), 503, 503),
    ],
)
async def test_health_follows_how_it_stands(shown: Any, health: int, ready: int) -> None:
    async with page_stage() as stage:
        stage.seat.show(shown)
        answer = await stage.get("/api/health")
        assert (answer.status_code, (await stage.get("/readyz")).status_code) == (health, ready)
        assert (await stage.get("/livez")).status_code == 200
        body = answer.json()
        assert (body["state"] == "down") == (health == 503)
        assert {part["name"] for part in body["parts"]} >= {
            "daemon",
            "spool",
            "database",
            "balance",
        }


async def test_figures_are_the_daemons() -> None:
    async with page_stage() as stage:
        shown = stage.seat.standing
        figures = (await stage.get("/api/metrics")).json()
        assert figures["trades_per_second"] == {"1": 1140.0, "10": 1200.0, "60": 1176.0}
        assert figures["trades_total"] == shown.database.applied_rows
        assert figures["active_connections"] == 12
        assert figures["applied_lag_s"]["p99"] == shown.applied_lag.quantile(0.99)
        feeds = (await stage.get("/api/feeds")).json()["feeds"]
        assert feeds == msgspec.to_builtins(shown.feeds)
        system = (await stage.get("/api/system/status")).json()
        assert system["spool"] == msgspec.to_builtins(shown.spool)
        text = (await stage.get("/metrics")).text
        assert 'pumpwatch_rows_applied_total{feed="okx_spot"} 1000.0' in text


async def test_the_stream_starts_with_all_and_goes_on_each_second() -> None:
    async with page_stage() as stage, stage.listen() as events:
        name, first = await events()
        assert name == "first"
        assert first["history"] == [[1] * 12, [2] * 12]
        name, moment = await events()
        assert (name, moment["health"]["state"]) == ("moment", "ok")
        assert stage.seat.page_clients == 1
        stage.seat.show(standing(at="2026-11-25T09:00:01.000Z", state="draining"))
        name, moment = await events()
        assert moment["standing"]["at"] == "2026-11-25T09:00:01.000Z"
        assert moment["health"]["state"] == "down"


async def test_listings_leave_at_once_and_each_once() -> None:
    async with page_stage() as stage:
        stage.seat.announce(b'{"type":"listed","number":0}')
        async with stage.listen() as events:
            assert [(await events())[0] for _ in range(2)] == ["first", "moment"]
            stage.seat.announce(b'{"type":"listed","number":1}')
            stage.seat.announce(b'{"type":"published","number":2}')
            found = [await events() for _ in range(2)]
            assert found == [
                ("listing", {"type": "listed", "number": 1}),
                ("listing", {"type": "published", "number": 2}),
            ]
            stage.seat.show(standing(at="2026-11-25T09:00:01.000Z"))
            assert (await events())[0] == "moment"


async def test_a_listener_that_goes_is_forgotten() -> None:
    async with page_stage() as stage:
        async with stage.listen() as events:
            await events()
        stage.seat.show(standing())
        with trio.fail_after(60):
            while stage.seat.page_clients:  # noqa: ASYNC110 - the server's task ends by itself
                await trio.sleep(0.01)


async def test_openapi_names_every_endpoint_and_needs_no_network() -> None:
    async with page_stage() as stage:
        schema = (await stage.get("/schema")).json()
        assert set(schema["paths"]) == {
            "/livez", "/readyz", "/metrics", "/api/health", "/api/metrics", "/api/feeds",
            "/api/gaps", "/api/listings", "/api/listings/{source}/{notice_id}/{coin_symbol}",
            "/api/trades/recent", "/api/trades/window", "/api/system/status", "/api/stream",
            "/api/actions", "/api/actions/{name}", "/api/bundles/{bundle}/report",
        }  # fmt: skip
        names = {p["name"] for p in schema["paths"]["/api/trades/window"]["get"]["parameters"]}
        assert names == {"symbol", "coin", "at", "before_s", "after_s", "from", "to", "limit"}
        assert "://" not in json.dumps(schema["paths"])


async def test_the_page_comes_with_an_etag_and_a_policy() -> None:
    async with page_stage() as stage:
        page = await stage.get("/")
        assert page.status_code == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]
        again = await stage.client.get("/", headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        plotly = await stage.get("/static/plotly.min.js")
        assert plotly.status_code == 200
        assert len(plotly.content) > 1_000_000


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static/app.py",
             "/static/page.html%00", "/..%2f..%2fsecrets/questdb", "/secrets/dashboard_token"]
)  # fmt: skip
async def test_nothing_else_is_served(path: str) -> None:
    async with page_stage() as stage:
        answer = await stage.client.get(path)
        assert answer.status_code in (400, 404)
        assert "error" in answer.json()


async def test_a_bundles_report_is_served_under_its_own_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "data/listings/AVA_20260131_130000"
    place.mkdir(parents=True)
    (place / "report.html").write_text("<p>AVA")
    (place / "report.json").write_text('{"symbol":"AVA"}')
    (tmp_path / "data/secret").write_text("no")
    async with page_stage() as stage:
        page = await stage.get(f"/listings/{place.name}/report.html")
        assert (page.status_code, page.text) == (200, "<p>AVA")
        assert page.headers.get_list("content-security-policy") == [POLICY]
        assert page.headers["x-frame-options"] == "DENY"
        figures = await stage.get(f"/api/bundles/{place.name}/report")
        assert figures.json() == {"symbol": "AVA"}
        for name in ("BTC_20260131_130000", "..", "AVA", "%2e%2e%2fsecret"):
            for path in (f"/listings/{name}/report.html", f"/api/bundles/{name}/report"):
                answer = await stage.client.get(path)
                assert answer.status_code == 404
                assert "error" in answer.json()


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "params", "parameter"),
    [
        ("/api/trades/recent", {"limit": "0"}, "limit"),
        ("/api/trades/recent", {"limit": "10001"}, "limit"),
        ("/api/trades/recent", {"limit": "ten"}, "limit"),
        ("/api/trades/recent", {"exchange": "mtgox"}, "exchange"),
        ("/api/trades/recent", {"market_type": "margin"}, "market_type"),
        ("/api/trades/recent", {"symbol": "x' OR 1=1"}, "symbol"),
        ("/api/trades/recent", {"limt": "5"}, "limt"),
        ("/api/trades/window", {}, "symbol"),
        ("/api/trades/window", {"symbol": "A", "coin": "B"}, "symbol"),
        ("/api/trades/window", {"symbol": "A"}, "from"),
        ("/api/trades/window", {"symbol": "A", "at": "noon"}, "at"),
        ("/api/trades/window", {"symbol": "A", "from": "2026-01-01", "to": "x"}, "to"),
        ("/api/trades/window", {"coin": "A", "at": "2026-01-01", "before_s": "9999"}, "before_s"),
        ("/api/gaps", {"state": "wrong"}, "state"),
        ("/api/listings", {"limit": "-1"}, "limit"),
        ("/api/feeds", {"feed": "okx_spot"}, "feed"),
        ("/api/health", {"x": "1"}, "x"),
    ],
)
async def test_a_bad_parameter_is_named(path: str, params: dict[str, str], parameter: str) -> None:
    """Without a database: what cannot be meant is not asked."""
    async with page_stage() as stage:
        answer = await stage.get(path, **params)
        assert (answer.status_code, answer.json()["parameter"]) == (400, parameter)
        assert answer.json()["allowed"]


async def test_a_parameter_that_is_told_twice_is_refused() -> None:
    async with page_stage() as stage:
        answer = await stage.client.get("/api/trades/recent?limit=1&limit=2")
        assert (answer.status_code, answer.json()["parameter"]) == (400, "limit")


@pytest.mark.parametrize(
    "path",
    ["/api/trades/recent", "/api/trades/window?symbol=A&at=2026-01-01", "/api/gaps",
     "/api/listings", "/api/listings/upbit/1/A"],
)  # fmt: skip
async def test_without_a_database_the_answer_is_503_and_never_an_empty_list(path: str) -> None:
    async with page_stage() as stage:
        answer = await stage.client.get(path)
        assert answer.status_code == 503
        assert "database" in answer.json()["error"]
        assert "[" not in answer.text


# --- answered by the database ---------------------------------------------------------------------


@pytest.mark.questdb
async def test_recent_trades(rows: ServerAddress, now_ns: int) -> None:
    async with page_stage(rows) as stage:
        answer = (await stage.get("/api/trades/recent", limit=5, symbol=SYMBOLS[0])).json()
        assert [trade["trade_id"] for trade in answer["trades"]] == [
            "t28",
            "t27",
            "t25",
            "t24",
            "t22",
        ]
        assert (answer["count"], answer["limit"]) == (5, 5)
        first = answer["trades"][0]
        assert first["timestamp"] == iso_ns(now_ns + 28 * SECOND_NS)
        assert first["received_at"] == iso_ns(now_ns + 28 * SECOND_NS + 5)
        assert (first["price"], first["quantity"], first["side"]) == (38.0, 2.5, "buy")
        of_okx = (await stage.get("/api/trades/recent", exchange="okx", symbol=SYMBOLS[0])).json()
        assert {trade["exchange"] for trade in of_okx["trades"]} == {"okx"}
        assert of_okx["count"] == 10
        assert sum(sum(one.rows) for one in stage.seat.query_times.by_source.values()) == 2


@pytest.mark.questdb
async def test_windows_by_symbol_and_by_coin(rows: ServerAddress, now_ns: int) -> None:
    async with page_stage(rows) as stage:
        at = iso_ns(now_ns + 10 * SECOND_NS)
        answer = (await stage.get("/api/trades/window", symbol=SYMBOLS[0], at=at, before_s=5,
                                  after_s=3)).json()  # fmt: skip
        assert [t["trade_id"] for t in answer["trades"]] == ["t6", "t7", "t9", "t10", "t12"]
        assert (answer["from"], answer["to"]) == (
            iso_ns(now_ns + 5 * SECOND_NS), iso_ns(now_ns + 13 * SECOND_NS)
        )  # fmt: skip
        coin = (await stage.get("/api/trades/window", coin=COIN, at=at)).json()
        assert coin["symbols"] == sorted(SYMBOLS)
        assert coin["count"] == ROWS
        cut = (await stage.get("/api/trades/window", coin=COIN, at=at, limit=7)).json()
        assert (cut["count"], cut["truncated"]) == (7, True)
        unknown = await stage.get("/api/trades/window", coin="NOSUCH", at=at)
        assert unknown.status_code == 404


@pytest.mark.questdb
async def test_gaps_listings_and_one_listing(rows: ServerAddress) -> None:
    async with page_stage(rows) as stage:
        gaps = (await stage.get("/api/gaps", exchange="okx", symbol=SYMBOLS[0])).json()
        assert [gap["gap_id"] for gap in gaps["gaps"]] == ["pg0"]
        lost = (await stage.get("/api/gaps", state="lost", symbol=SYMBOLS[0])).json()
        assert [gap["gap_id"] for gap in lost["gaps"]] == ["pg1"]
        listings = (await stage.get("/api/listings")).json()["listings"]
        ours = next(listing for listing in listings if listing["symbol"] == COIN)
        assert ours["certificate"] == {"okx_spot": "proven"}
        one = (await stage.get(f"/api/listings/upbit/4711/{COIN}")).json()
        assert one["listing"] == ours
        assert one["rows_by_feed"] == {"binance_spot": 10, "okx_spot": 10, "gate_spot": 10}
        assert (await stage.get("/api/listings/upbit/4712/X")).status_code == 404


@pytest.mark.questdb
async def test_the_side_tables_are_asked_for_the_page(rows: ServerAddress) -> None:
    sql = Sql(rows, readonly=True)
    questions = Questions(sql, TimesBySource())
    assert await questions.disk_bytes() > 0
    tables = await ask(questions, SystemClock(), 7)
    await sql.aclose()
    assert tables.gaps_open["okx_spot"] >= 1
    assert tables.gaps_lost["okx_spot"] >= 1
    assert COIN in {listing.symbol for listing in tables.listings}
    assert tables.disk_bytes == 7


@pytest.mark.questdb
@pytest.mark.parametrize("attack", ["A);DROP", "A'--", 'A"', "A;SELECT", "$1", "%s", "A\\", "ﬀ"])
async def test_no_text_becomes_sql(rows: ServerAddress, attack: str) -> None:
    async with page_stage(rows) as stage:
        for path, params in (
            ("/api/trades/recent", {"symbol": attack}),
            ("/api/trades/window", {"coin": attack, "at": "2026-01-01"}),
            ("/api/gaps", {"symbol": attack}),
        ):
            answer = await stage.get(path, **params)
            assert answer.status_code in (200, 400, 404), answer.text
        count = (await stage.get("/api/trades/recent", symbol=SYMBOLS[0])).json()["count"]
        assert count == 20


# --- actions --------------------------------------------------------------------------------------


async def told(stage: Stage) -> list[dict[str, str]]:
    calls: list[dict[str, str]] = []

    async def run(arguments: Any) -> str:
        calls.append(dict(arguments))
        return "done"

    help_ = {"feed": "which feed", "reason?": "why"}
    stage.desk.add("pause", Action(help="Pause a feed.", arguments=help_, run=run))
    return calls


async def test_an_action_is_done_with_the_token_only() -> None:
    async with page_stage() as stage:
        calls = await told(stage)
        body = {"arguments": {"feed": "okx_spot"}}
        assert (await stage.client.post("/api/actions/pause", json=body)).status_code == 401
        answer = await stage.client.post("/api/actions/pause", json=body, headers=BEARER)
        assert (answer.status_code, answer.json()) == (200, {"action": "pause", "result": "done"})
        assert calls == [{"feed": "okx_spot"}]
        listed = (await stage.get("/api/actions")).json()
        assert listed[0]["action"] == "pause"


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [
        ("nothing", {"arguments": {}}, 404),
        ("pause", {"arguments": {}}, 400),
        ("pause", {"arguments": {"feed": "a", "more": "b"}}, 400),
        ("pause", {"argument": {}}, 400),
        ("pause", {"arguments": {"feed": 5}}, 400),
        ("pause", [], 400),
    ],
)
async def test_an_action_that_cannot_be_meant_is_refused(name: str, body: Any, status: int) -> None:
    async with page_stage() as stage:
        calls = await told(stage)
        answer = await stage.client.post(f"/api/actions/{name}", json=body, headers=BEARER)
        assert answer.status_code == status
        assert answer.json()["error"]
        assert calls == []
