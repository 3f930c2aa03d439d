"""The REST client: against a real server, and in the virtual time of a transport of our own."""

from __future__ import annotations

import gzip
import itertools
import random
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
import trio
import trustme

from pumpwatch import rest
from pumpwatch._fast import parse_okx
from pumpwatch.config import Config, FeedConfig
from pumpwatch.errors import VenueError
from pumpwatch.rest import (
    BACKOFF_S_MIN,
    RETRY_AFTER_MARGIN_S,
    RETRY_AFTER_S_MAX,
    TRIES_MAX,
    TRY_S_MAX,
    RestClient,
    Verdict,
    judge,
    retry_after_s,
)
from pumpwatch.sim.server import serve_client
from pumpwatch.sim.venue import Answer, Request, Upgrade
from pumpwatch.venues.spec import (
    Allowance,
    FeedSpec,
    Keepalive,
    ListPage,
    ListRequest,
    Pace,
    Reply,
    ReplyKind,
    RestPage,
    Subscribe,
    TradeIds,
    TradePage,
)

SEED = 20_261
KEY = "kEy-0123456789-abcdefghijklmnop"
WIDE = Allowance(key="okx", units=100, per_s=1.0, burst=100)


def feed(name: str = "okx_spot", limits: Allowance = WIDE, **changes: object) -> FeedSpec:
    facts: dict[str, object] = {
        "name": name, "exchange": "okx", "market_type": "spot", "parser": parse_okx.SPOT,
        "example": b"{}",
        "websocket_url": "wss://ws.invalid", "rest_url": "http://venue.invalid",
        "subscribe": Subscribe(text="{args}", arg="{symbol}", symbols_per_request_max=1),
        "read_reply": lambda _: Reply(ReplyKind.NOTICE), "keepalive": Keepalive(silence_s=30),
        "pace": Pace(interval_s=1), "symbols_per_connection": 1, "connect_interval_s": 1,
        "connects": WIDE, "rest_allowance": limits, "ids": TradeIds.OPAQUE, "time_step_ns": 1,
        "instruments": ListRequest(path="/", read=lambda _: ListPage(listed=[], refused=[])),
        "recent": RestPage(path="/", read=lambda _body, _symbol: TradePage(trades=[], refused=[]),
                           symbol_param="s", rows_max=1, newest_first=True),
    }  # fmt: skip
    return FeedSpec(**(facts | changes))  # type: ignore[arg-type]


def settings(data_dir: Path = Path("data"), **feeds: FeedConfig) -> Config:
    return Config(data_dir=data_dir, feeds=Config().feeds | feeds)


def client(
    config: Config | None = None, transport: httpx.AsyncBaseTransport | None = None
) -> RestClient:
    return RestClient(config or settings(), random.Random(SEED), transport=transport)


# --- reading answers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, Verdict.GOOD), (204, Verdict.GOOD), (429, Verdict.TOO_MANY), (302, Verdict.TOO_MANY),
     (418, Verdict.BANNED), (403, Verdict.BANNED), (0, Verdict.AGAIN), (408, Verdict.AGAIN),
     (500, Verdict.AGAIN), (503, Verdict.AGAIN), (599, Verdict.AGAIN), (400, Verdict.WRONG),
     (401, Verdict.WRONG), (404, Verdict.WRONG), (451, Verdict.WRONG), (301, Verdict.WRONG)],
)  # fmt: skip
def test_what_a_status_means(status: int, verdict: Verdict) -> None:
    assert judge(status) is verdict


@pytest.mark.parametrize(
    ("headers", "said_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 0 "}, 0.0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "Sun, 01 Nov 2026 10:05:00 GMT",
          "Date": "Sun, 01 Nov 2026 10:02:30 GMT"}, 150.0),
        ({"Retry-After": "Sun, 01 Nov 2026 10:00:00 GMT",
          "Date": "Sun, 01 Nov 2026 10:02:30 GMT"}, 0.0),
    ],
)  # fmt: skip
def test_retry_after_in_seconds_and_as_a_date(headers: dict[str, str], said_s: float) -> None:
    assert retry_after_s(httpx.Headers(headers)) == said_s + RETRY_AFTER_MARGIN_S


def test_retry_after_is_believed_only_so_far() -> None:
    assert retry_after_s(httpx.Headers({"Retry-After": "99999999999"})) == RETRY_AFTER_S_MAX


@pytest.mark.parametrize(
    "headers",
    [{}, {"Retry-After": ""}, {"Retry-After": "soon"}, {"Retry-After": "-5"},
     {"Retry-After": "Sun, 01 Nov 2026 10:05:00 GMT"},
     {"Retry-After": "Sun, 01 Nov 2026 10:05:00 GMT", "Date": "Sun, 01 Nov 2026 10:05:00"},
     {"Retry-After": "Sun, 01 Nov 9999999 10:05:00 GMT", "Date": "x"}],
)  # fmt: skip
def test_an_unreadable_retry_after_says_nothing(headers: dict[str, str]) -> None:
    assert retry_after_s(httpx.Headers(headers)) is None


# --- in virtual time ------------------------------------------------------------------------------

Step = int | httpx.Response | Exception | Callable[[], Awaitable[httpx.Response]]


class Script(httpx.AsyncBaseTransport):
    """Answers with one step after the other, the last one for ever; notes when it was asked."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.asked: list[tuple[float, str]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((trio.current_time(), request.url.path))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        await trio.lowlevel.checkpoint()
        if isinstance(step, Exception):
            raise step
        if isinstance(step, int):
            return httpx.Response(step, content=b"said %d" % step)
        if isinstance(step, httpx.Response):
            return step
        return await step()


async def test_trouble_of_venue_or_network_is_tried_again_with_growing_jittered_pauses(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script(500, httpx.ReadError("reset"), httpx.ConnectTimeout("slow"), 200)
    async with client(transport=script) as asks:
        assert await asks.get(feed(), "/a") == b"said 200"
    times = [at_s for at_s, _ in script.asked]
    pauses = [after - before for before, after in itertools.pairwise(times)]
    for pause_s, full_s in zip(pauses, (1, 2, 4), strict=True):
        assert BACKOFF_S_MIN * full_s / 2 <= pause_s <= BACKOFF_S_MIN * full_s
    assert len({pause_s / full_s for pause_s, full_s in zip(pauses, (1, 2, 4), strict=True)}) == 3


async def test_trouble_that_lasts_is_given_up_and_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script(503)
    async with client(transport=script) as asks:
        with pytest.raises(VenueError) as caught:
            await asks.get(feed(), "/a", {"symbol": "BTC"})
    assert len(script.asked) == TRIES_MAX
    assert caught.value.retry
    assert str(caught.value) == (
        "okx_spot: GET http://venue.invalid/a?symbol=BTC: HTTP 503: said 503; "
        "given up after 4 tries, the caller asks again later"
    )


async def test_the_whole_key_stands_still_for_as_long_as_the_venue_says(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    refusal = httpx.Response(418, headers={"Retry-After": "120"}, content=b"banned")
    script = Script(refusal, 200)
    spot, futures = feed(), feed("okx_futures")
    other = feed("gate_spot", Allowance(key="gate", units=10, per_s=1, burst=10))
    async with client(transport=script) as asks:
        with pytest.raises(VenueError, match="HTTP 418: banned; nothing is asked of okx for 121 s"):
            await asks.get(spot, "/first")
        nursery.start_soon(asks.get, futures, "/same-key")
        await asks.get(other, "/other-key")
        await trio.sleep(200)
        ours = asks.turnstiles["okx"]
        assert (ours.requests, ours.waits, ours.refusals) == (2, 1, 1)
        assert ours.banned_until_s == pytest.approx(120 + RETRY_AFTER_MARGIN_S)
    assert [path for _, path in script.asked] == ["/first", "/other-key", "/same-key"]
    assert script.asked[1][0] == pytest.approx(0, abs=0.1)
    assert script.asked[2][0] == pytest.approx(120 + RETRY_AFTER_MARGIN_S)


@pytest.mark.parametrize("status", [403, 418])
async def test_a_ban_without_a_time_lasts_as_the_feed_says(
    autojump_clock: trio.testing.MockClock, status: int
) -> None:
    script = Script(status, 200)
    async with client(transport=script) as asks:
        with pytest.raises(VenueError, match="for 600 s"):
            await asks.get(feed(ban_s=600.0), "/a")
        await asks.get(feed(), "/a")
    assert script.asked[1][0] == pytest.approx(600)


@pytest.mark.parametrize("status", [429, 302])
async def test_too_many_without_a_time_pauses_longer_each_time(
    autojump_clock: trio.testing.MockClock, status: int
) -> None:
    script = Script(status)
    async with client(transport=script) as asks:
        with pytest.raises(VenueError, match=rf"HTTP {status}.*given up after {TRIES_MAX} tries"):
            await asks.get(feed(), "/a")
        with pytest.raises(VenueError, match="nothing is asked of okx for 16 s"):
            await asks.get(feed(), "/a")
    times = [at_s for at_s, _ in script.asked]
    assert times == pytest.approx([0, 1, 3, 7, 15])


async def test_a_short_pause_is_sat_out_and_then_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    script = Script(429, 200, 429, 200)
    async with client(transport=script) as asks:
        await asks.get(feed(), "/a")
        await asks.get(feed(), "/b")
    assert [at_s for at_s, _ in script.asked] == pytest.approx([0, 1, 1, 2])


async def test_budgets_are_shared_by_feeds_with_the_same_key_and_weighed(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    script = Script(200)
    limits = Allowance(key="okx", units=10, per_s=2.0, burst=4)
    spot, futures = feed(limits=limits), feed("okx_futures", limits)
    async with client(transport=script) as asks:
        for number in range(15):
            nursery.start_soon(
                partial(asks.get, (spot, futures)[number % 2], "/a", weight=2, priority=-number)
            )
        await trio.sleep(60)
    times = [at_s for at_s, _ in script.asked]
    assert len(times) == 15
    assert sum(at_s < 0.01 for at_s in times) == 2
    for from_s in times:
        assert sum(2 for at_s in times if from_s <= at_s < from_s + 1.999) <= 10
    assert times[-1] <= 6.5  # 30 units at 5/s


async def test_an_answer_that_trickles_in_is_cut_off(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Trickle(httpx.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            while True:
                await trio.sleep(5)
                yield b"x"

    async def trickle() -> httpx.Response:
        return httpx.Response(200, stream=Trickle())

    script = Script(trickle, 200)
    async with client(transport=script) as asks:
        assert await asks.get(feed(), "/a") == b"said 200"
    assert TRY_S_MAX <= script.asked[1][0] <= TRY_S_MAX + 1


async def test_urgent_requests_go_first(
    autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    script = Script(200)
    source = feed(limits=Allowance(key="okx", units=1, per_s=1, burst=1))
    async with client(transport=script) as asks:
        await asks.get(source, "/before")
        for path, priority in (("/late", 50.0), ("/sooner", 20.0), ("/now", 0.0)):
            nursery.start_soon(partial(asks.get, source, path, priority=priority))
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(10)
    assert [path for _, path in script.asked] == ["/before", "/now", "/sooner", "/late"]


# --- on real sockets ------------------------------------------------------------------------------

Handler = Callable[[trio.SocketStream], Awaitable[None]]


async def serve(nursery: trio.Nursery, handler: Handler) -> int:
    listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
    port: int = listeners[0].socket.getsockname()[1]
    return port


class Site:
    """A web server with one answer, which notes what it is asked."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[Request] = []

    async def handle(self, stream: trio.abc.Stream) -> None:
        await serve_client(stream, self._answer, self._refuse)

    async def _answer(self, first: str, request: Request) -> Answer:
        self.requests.append(Request(request.method, f"/{first}{request.path}", request.query,
                                     request.headers))  # fmt: skip
        return self.answer

    async def _refuse(self, *_: str | trio.abc.Stream | bytes | Upgrade) -> None:
        raise AssertionError("no WebSocket here")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real sockets know no virtual time: no pauses between tries."""
    monkeypatch.setattr(rest, "BACKOFF_S_MIN", 0.001)


async def test_a_request_as_it_goes_over_the_wire(nursery: trio.Nursery) -> None:
    site = Site(Answer(200, b'{"ok":1}'))
    port = await serve(nursery, site.handle)
    source = feed(rest_headers=(("X-Gate-Size-Decimal", "1"),))
    config = settings(okx_spot=FeedConfig(rest_url=f"http://127.0.0.1:{port}/prefix/"))
    async with client(config) as asks:
        assert await asks.get(source, "/api/v5/trades", {"instId": "A&B=1", "limit": "5"})
        assert await asks.post(source, "/bullet") == b'{"ok":1}'
        url = f"http://127.0.0.1:{port}/board/list"
        assert await asks.get_url(url, allowance=WIDE, params={"n": "1"}, headers=(("X-A", "b"),))
    got, posted, board = site.requests
    assert (got.method, got.path) == ("GET", "/prefix/api/v5/trades")
    assert got.query == {"instId": "A&B=1", "limit": "5"}
    assert got.headers["x-gate-size-decimal"] == "1"
    assert "gzip" in got.headers["accept-encoding"]
    assert (posted.method, posted.path) == ("POST", "/prefix/bullet")
    assert (board.method, board.path, board.query) == ("GET", "/board/list", {"n": "1"})
    assert board.headers["x-a"] == "b"


async def test_the_venues_own_address_is_the_default(nursery: trio.Nursery) -> None:
    site = Site(Answer(200, b"1"))
    port = await serve(nursery, site.handle)
    async with client() as asks:
        await asks.get(feed(rest_url=f"http://127.0.0.1:{port}"), "/a/b")
    assert [request.path for request in site.requests] == ["/a/b"]


@pytest.mark.parametrize("status", [400, 401, 404, 301])
async def test_a_refused_request_is_an_error_at_once(nursery: trio.Nursery, status: int) -> None:
    body = b'{"code":-1121,\n"msg":"Invalid symbol."}' + b"x" * 1000
    site = Site(Answer(status, body, (("location", "http://127.0.0.1:1/elsewhere"),)))
    source = feed(rest_url=f"http://127.0.0.1:{await serve(nursery, site.handle)}")
    async with client() as asks:
        with pytest.raises(VenueError, match=rf'HTTP {status}.*"Invalid symbol."') as caught:
            await asks.get(source, "/a/b")
    assert len(site.requests) == 1
    assert not caught.value.retry
    assert "not asked again" in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


async def test_the_api_key_goes_only_where_it_is_needed_and_is_never_shown(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(f" {KEY}\n")
    site = Site(Answer(400, b"." * 190 + KEY.encode() + b" is not welcome"))
    url = f"http://127.0.0.1:{await serve(nursery, site.handle)}"
    config = settings(tmp_path, okx_spot=FeedConfig(rest_url=url, api_key_file="key"))
    source = feed(api_key_header="X-MBX-APIKEY")
    async with client(config) as asks:
        with pytest.raises(VenueError):
            await asks.get(source, "/open")
        with pytest.raises(VenueError) as caught:
            await asks.get(source, "/history", needs_api_key=True)
    assert [r.headers.get("x-mbx-apikey") for r in site.requests] == [None, KEY]
    assert KEY[:8] not in str(caught.value)
    assert "(hidden)" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, r"feeds\.okx_spot\.api_key_file = .*/key: cannot be read: No such file"),
     (b"", "one word of printable ASCII"), (b"two words", "one word"), (b"a\nb", "one word"),
     ("schlüssel".encode(), "one word")],
)  # fmt: skip
async def test_an_unusable_key_file_is_named_and_not_shown(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    script = Script(200)
    config = settings(tmp_path, okx_spot=FeedConfig(api_key_file="key"))
    async with client(config, script) as asks:
        with pytest.raises(VenueError, match=message) as caught:
            await asks.get(feed(api_key_header="X-Key"), "/history", needs_api_key=True)
    assert not caught.value.retry
    assert content is None or content == b"" or content.decode() not in str(caught.value)
    assert script.asked == []


async def test_a_missing_key_says_which_setting_to_make() -> None:
    async with client(transport=Script(200)) as asks:
        with pytest.raises(VenueError, match=r"set feeds\.okx_spot\.api_key_file"):
            await asks.get(feed(api_key_header="X-Key"), "/history", needs_api_key=True)


@pytest.mark.parametrize("is_packed", [False, True])
async def test_an_answer_without_measure_is_cut_off(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, is_packed: bool
) -> None:
    monkeypatch.setattr(rest, "BODY_BYTES_MAX", 100_000)
    body = b"0" * 2_000_000
    headers = (("content-encoding", "gzip"),) if is_packed else ()
    site = Site(Answer(200, gzip.compress(body) if is_packed else body, headers))
    source = feed(rest_url=f"http://127.0.0.1:{await serve(nursery, site.handle)}")
    async with client() as asks:
        with pytest.raises(VenueError, match=r"HTTP 200.*cut off at 100,000 bytes"):
            await asks.get(source, "/a/b")
        assert len(site.requests) == 1
        monkeypatch.setattr(rest, "BODY_BYTES_MAX", 2_000_000)
        assert await asks.get(source, "/a/b") == body


async def test_an_endless_answer_is_not_read_on(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "BODY_BYTES_MAX", 1_000_000)
    monkeypatch.setattr(rest, "TRY_S_MAX", 5.0)

    async def handle(stream: trio.SocketStream) -> None:
        try:
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                await stream.send_all(b"0" * 65_536)
        except trio.BrokenResourceError:
            return

    source = feed(rest_url=f"http://127.0.0.1:{await serve(nursery, handle)}")
    async with client() as asks:
        with pytest.raises(VenueError, match="cut off at 1,000,000 bytes"):
            await asks.get(source, "/a/b")


async def test_half_an_answer_is_none(nursery: trio.Nursery, hasty: None) -> None:
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", b"", b"no HTTP at all\r\n\r\n",
               b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"]  # fmt: skip

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some(10_000)
        await stream.send_all(answers.pop(0))
        await stream.aclose()

    source = feed(rest_url=f"http://127.0.0.1:{await serve(nursery, handle)}")
    async with client() as asks:
        assert await asks.get(source, "/a/b") == b"whole"
    assert answers == []


async def test_nobody_there_is_told_with_the_address(hasty: None) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with client() as asks:
        with pytest.raises(VenueError, match=f"127.0.0.1:{port}/a: no answer .ConnectError") as e:
            await asks.get(feed(rest_url=f"http://127.0.0.1:{port}"), "/a")
        assert asks.turnstiles["okx"].requests == TRIES_MAX
    assert e.value.retry


async def test_certificates_are_checked(
    nursery: trio.Nursery, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    site = Site(Answer(200, b"private"))

    async def handle(stream: trio.SocketStream) -> None:
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await secure.do_handshake()
        except trio.BrokenResourceError:
            return
        await site.handle(secure)

    source = feed(rest_url=f"https://127.0.0.1:{await serve(nursery, handle)}")
    async with client() as asks:
        with pytest.raises(VenueError, match="CERTIFICATE_VERIFY_FAILED"):
            await asks.get(source, "/a/b")
    assert site.requests == []
    with authority.cert_pem.tempfile() as roots:
        monkeypatch.setenv("SSL_CERT_FILE", roots)
        async with client() as asks:
            assert await asks.get(source, "/a/b") == b"private"


async def test_proxies_of_the_environment_are_not_used(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    site = Site(Answer(200, b"direct"))
    source = feed(rest_url=f"http://127.0.0.1:{await serve(nursery, site.handle)}")
    async with client() as asks:
        assert await asks.get(source, "/a/b") == b"direct"


async def test_a_cancelled_request_leaves_the_client_usable(nursery: trio.Nursery) -> None:
    was_asked, site = trio.Event(), Site(Answer(200, b"1"))

    async def handle(stream: trio.SocketStream) -> None:
        if was_asked.is_set():
            await site.handle(stream)
        else:
            await stream.receive_some(10_000)
            was_asked.set()
            await trio.sleep_forever()

    source = feed(rest_url=f"http://127.0.0.1:{await serve(nursery, handle)}")
    async with client() as asks:
        async with trio.open_nursery() as inner:
            inner.start_soon(asks.get, source, "/a/b")
            await was_asked.wait()
            inner.cancel_scope.cancel()
        assert await asks.get(source, "/a/b") == b"1"
        assert (asks.turnstiles["okx"].requests, asks.turnstiles["okx"].waiting) == (2, 0)
