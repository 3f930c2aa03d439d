"""The way through a proxy, with a real small one: sockets, venues' REST, boards."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.capture.connection import open_stream
from pumpwatch.config import Config, FeedConfig, load_config
from pumpwatch.dialling import ProxyRefusedError, connect_request, open_tcp
from pumpwatch.errors import ConfigError, VenueError
from pumpwatch.listing.board_client import make_http
from pumpwatch.rest import RestClient
from pumpwatch.venues import FEEDS
from tests.connect_proxy import connect_proxy

FEED = next(spec for spec in FEEDS if spec.name == "okx_spot")
HELLO = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"


async def serve_hello(stream: trio.SocketStream) -> None:
    """A venue that speaks at once: bytes behind the proxy's answer belong to the tunnel."""
    async with stream:
        await stream.send_all(HELLO)
        await stream.receive_some(4096)


async def venue(nursery: trio.Nursery) -> int:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(partial(trio.serve_listeners, serve_hello, [listener]))
    return int(listener.socket.getsockname()[1])


@pytest.mark.parametrize("wants_password", [False, True])
async def test_a_socket_goes_through_the_tunnel(wants_password: bool) -> None:
    async with (
        connect_proxy(wants_password=wants_password) as proxy,
        trio.open_nursery() as nursery,
    ):
        port = await venue(nursery)
        url = f"ws://127.0.0.1:{port}/ws?a=1"
        stream, host, resource = await open_stream(url, proxy.url)
        with trio.fail_after(60):
            received = b""
            while len(received) < len(HELLO):
                received += await stream.receive_some(4096)
        assert received == HELLO
        assert (host, resource) == (f"127.0.0.1:{port}", "/ws?a=1")
        assert proxy.tunnels == [f"127.0.0.1:{port}"]
        await stream.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("status", ["403 Forbidden", "502 Bad Gateway", "302 Found"])
async def test_a_refused_tunnel_says_so_and_leaves_nothing_open(status: str) -> None:
    async with connect_proxy() as proxy:
        proxy.refuses = status
        with pytest.raises(ProxyRefusedError, match=status):
            await open_tcp("venue.invalid", 443, proxy.url)


async def test_a_wrong_password_is_refused_and_not_shown() -> None:
    async with connect_proxy(wants_password=True) as proxy:
        wrong = f"http://seat:hushhush@127.0.0.1:{proxy.port}"
        with pytest.raises(ProxyRefusedError, match="407") as refused:
            await open_tcp("venue.invalid", 443, wrong)
        assert "hushhush" not in str(refused.value)


async def test_rest_of_one_feed_goes_through_and_the_others_do_not() -> None:
    async with connect_proxy(wants_password=True) as proxy, trio.open_nursery() as nursery:
        port = await venue(nursery)
        other = next(spec for spec in FEEDS if spec.name == "okx_futures")
        url = f"http://127.0.0.1:{port}"
        feeds = {
            **Config().feeds,
            FEED.name: FeedConfig(rest_url=url, proxy_url=proxy.url),
            other.name: FeedConfig(rest_url=url),
        }
        config = msgspec.structs.replace(Config(), feeds=feeds)
        async with RestClient(config, random.Random(1)) as rest:
            assert await rest.get(other, "/straight") == b"{}"
            assert proxy.requests == []
            assert await rest.get(FEED, "/behind") == b"{}"
        assert proxy.requests == [f"GET http://127.0.0.1:{port}/behind"]
        nursery.cancel_scope.cancel()


async def test_a_board_goes_through() -> None:
    async with connect_proxy() as proxy, trio.open_nursery() as nursery:
        port = await venue(nursery)
        async with make_http(proxy.url) as http:
            assert (await http.get(f"http://127.0.0.1:{port}/v1/notices")).json() == {}
        assert proxy.requests == [f"GET http://127.0.0.1:{port}/v1/notices"]
        nursery.cancel_scope.cancel()


async def test_a_dead_proxy_is_an_error_like_any_other() -> None:
    feeds = {**Config().feeds, FEED.name: FeedConfig(proxy_url="http://127.0.0.1:9")}
    config = msgspec.structs.replace(Config(), feeds=feeds)
    with pytest.raises(OSError, match="all attempts to connect"):
        await open_tcp("venue.invalid", 443, "http://127.0.0.1:9")
    client = RestClient(config, random.Random(1))
    async with client as rest:
        with pytest.raises(VenueError, match="okx_spot"):
            await rest.get(FEED, "/x")


@given(st.text(min_size=1, max_size=40), st.text(max_size=40))
def test_no_user_or_password_breaks_the_request(user: str, password: str) -> None:
    userinfo = httpx.URL("http://h:1").copy_with(username=user, password=password).userinfo
    request = connect_request("host", 443, urlsplit(f"http://{userinfo.decode()}@h:1"))
    assert request.count(b"\r\n") == 4
    assert request.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "url", ["socks5://h:1", "https://h:1", "http://h", "http://h:1/path", "http://h:99999", "h:1",
            "http://h:1 ", "http://a b@h:1"],
)  # fmt: skip
def test_what_is_no_proxy_is_refused_without_showing_it(url: str, tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text(f'[feeds.okx_spot]\nproxy_url = "{url}"\n')
    with pytest.raises(ConfigError, match="takes CONNECT") as refused:
        load_config(file, {})
    assert url not in str(refused.value)
