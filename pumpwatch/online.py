"""``doctor --online``: asks every venue and notice source once, and says in words what it saw.

One question a door (a feed's REST and its WebSocket, a board's lists): name service, TCP, TLS,
status, round trip and the offset of this machine's clock. Nothing is subscribed, no body is read
beyond its first bytes; twelve feeds and two boards are some thirty requests in all.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from email.utils import parsedate_to_datetime
from statistics import median
from urllib.parse import SplitResult, urlsplit

import msgspec
import trio

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.dialling import ProxyRefusedError, address_of, open_tcp
from pumpwatch.environment import Finding, State
from pumpwatch.listing.looks import BITHUMB_PATH, MARKETS_PATH, UPBIT_PATH
from pumpwatch.trust import system_roots
from pumpwatch.venues import FEEDS
from pumpwatch.venues.spec import FeedSpec
from pumpwatch.version import VERSION

DOOR_S_MAX = 15.0
AT_ONCE_MAX = 6  # doors; the doors of one host are asked one after the other
HEAD_BYTES_MAX = 32 * 1024
SAMPLE_BYTES = 160
CLOCK_OFFSET_S_WARN = 2.0  # Date has whole seconds: what is seen is good to about one
ROUND_TRIP_S_WARN = 1.0
SWITCHING = 101
LOCATION_STATUSES = (403, 451)
LOCATION_WORDS = re.compile(rb"restricted location|not available in your|country|region|geo", re.I)
SOCKET_KEY = base64.b64encode(b"pumpwatch-doctor").decode()


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """One address that the recording depends on."""

    name: str  # "okx_spot rest"
    url: str
    setting: str  # where a proxy could be set
    method: str = "GET"
    proxy_url: str | None = None

    @property
    def is_socket(self) -> bool:
        """A WebSocket: a switch of protocols is what is hoped for."""
        return self.url.startswith("ws")


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking."""

    door: Door
    status: int = 0  # 0: no answer, ``problem`` says why
    step: str = ""  # that failed: name service, connect, tls, answer
    problem: str = ""
    tls: str = ""
    round_trip_s: float = 0.0  # from the request to the first byte of the answer
    clock_ahead_s: float | None = None  # of ours, against the Date of the answer
    body: bytes = b""  # its first bytes


# --- which doors there are ------------------------------------------------------------------------


def doors_of(config: Config) -> list[Door]:
    """Every address of the enabled feeds and boards."""
    doors = []
    for spec in FEEDS:
        if config.feeds[spec.name].enabled:
            doors += _doors_of_feed(spec, config)
    upbit, bithumb = config.listing.upbit, config.listing.bithumb
    if upbit.enabled:
        key = "listing.upbit.proxy_url"
        for name, url in (
            ("upbit notices", f"{upbit.api_url}{UPBIT_PATH}?os=web&page=1&per_page=1&category=all"),
            ("upbit markets", upbit.markets_url + MARKETS_PATH),
        ):
            doors.append(Door(name=name, url=url, setting=key, proxy_url=upbit.proxy_url))
    if bithumb.enabled:
        key = "listing.bithumb.proxy_url"
        for name, url in (
            ("bithumb notices", f"{bithumb.api_url}{BITHUMB_PATH}?count=1"),
            ("bithumb markets", bithumb.api_url + MARKETS_PATH),
        ):
            doors.append(Door(name=name, url=url, setting=key, proxy_url=bithumb.proxy_url))
    return doors


def _doors_of_feed(spec: FeedSpec, config: Config) -> list[Door]:
    feed = config.feeds[spec.name]
    setting = f"feeds.{spec.name}.proxy_url"
    base = (feed.rest_url or spec.rest_url).rstrip("/")
    query = "&".join(f"{key}={value}" for key, value in spec.instruments.params.items())
    path = spec.instruments.path + (f"?{query}" if query else "")
    rest = Door(
        name=f"{spec.name} rest", url=base + path, setting=setting, proxy_url=feed.proxy_url
    )
    if spec.token is not None:  # it tells a WebSocket's address to those who ask it: that is enough
        token = msgspec.structs.replace(
            rest, name=f"{spec.name} token", url=base + spec.token.path, method="POST"
        )
        return [rest, token]
    url = feed.websocket_url or spec.websocket_url
    return [rest, msgspec.structs.replace(rest, name=f"{spec.name} socket", url=url)]


# --- asking ---------------------------------------------------------------------------------------


async def ask_all(doors: Sequence[Door], clock: Clock) -> list[Seen]:
    """Ask each door once; in the order of ``doors``. Never raises for what a door does."""
    found: dict[str, Seen] = {}
    limit = trio.CapacityLimiter(AT_ONCE_MAX)

    async def one_host(own: list[Door]) -> None:
        for door in own:
            async with limit:
                found[door.name] = await ask(door, clock)

    hosts: dict[str, list[Door]] = {}
    for door in doors:
        hosts.setdefault(urlsplit(door.url).netloc, []).append(door)
    async with trio.open_nursery() as nursery:
        for own in hosts.values():
            nursery.start_soon(one_host, own)
    return [found[door.name] for door in doors]


async def ask(door: Door, clock: Clock) -> Seen:
    """Ask one door; what fails is told, with the step at which it did."""
    parts = urlsplit(door.url)
    host, port = address_of(parts)
    step = "answer"
    try:
        with trio.fail_after(DOOR_S_MAX):
            if door.proxy_url is None:
                step = "name service"
                await trio.socket.getaddrinfo(host, port)
            step = "connect"
            stream: trio.abc.Stream = await open_tcp(host, port, door.proxy_url)
            async with stream:
                tls = ""
                if parts.scheme in ("https", "wss"):
                    step = "tls"
                    secure = trio.SSLStream(
                        stream, system_roots("socket"), server_hostname=host,
                        https_compatible=True,
                    )  # fmt: skip
                    await secure.do_handshake()
                    tls, stream = secure.version() or "", secure
                step = "answer"
                return await _exchange(stream, door, parts, tls, clock)
    except trio.TooSlowError:
        return Seen(door=door, step=step, problem=f"nothing within {DOOR_S_MAX:g} s")
    except (OSError, trio.BrokenResourceError, ProxyRefusedError, ValueError) as error:
        return Seen(door=door, step=step, problem=_first_words(error))


async def _exchange(
    stream: trio.abc.Stream, door: Door, parts: SplitResult, tls: str, clock: Clock
) -> Seen:
    sent_s, sent_ns = trio.current_time(), clock.wall_ns()
    await stream.send_all(_request(door, parts))
    answer = bytes(await stream.receive_some(65536))
    round_trip_s, came_ns = trio.current_time() - sent_s, clock.wall_ns()
    while b"\r\n\r\n" not in answer and len(answer) < HEAD_BYTES_MAX:
        data = await stream.receive_some(65536)
        if not data:
            break
        answer += data
    await trio.aclose_forcefully(stream)  # an instrument list may have megabytes
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.[01] ([0-9]{3})( .*)?", lines[0])
    if found is None:
        raise ValueError("the answer is not HTTP")
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return Seen(
        door=door, status=int(found[1]), tls=tls, round_trip_s=round_trip_s, body=body[:2048],
        clock_ahead_s=clock_ahead_s(fields.get("date", ""), sent_ns, came_ns),
    )  # fmt: skip


def _request(door: Door, parts: SplitResult) -> bytes:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"{door.method} {path} HTTP/1.1", f"Host: {parts.netloc}",
             f"User-Agent: pumpwatch/{VERSION}"]  # fmt: skip
    if door.is_socket:
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                  f"Sec-WebSocket-Key: {SOCKET_KEY}"]  # fmt: skip
    else:
        lines += ["Connection: close", "Accept: application/json"]
    if door.method == "POST":
        lines.append("Content-Length: 0")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


def clock_ahead_s(date: str, sent_ns: int, came_ns: int) -> float | None:
    """By how much our clock is ahead; 0 where it cannot be told apart from right, None: no Date.

    Date is cut to whole seconds and was written between sending and receiving.
    """
    try:
        theirs_ns = int(parsedate_to_datetime(date).timestamp()) * 1_000_000_000
    except (TypeError, ValueError, OverflowError):
        return None
    if sent_ns > theirs_ns + 1_000_000_000:
        return (sent_ns - theirs_ns - 1_000_000_000) / 1e9
    return min(0.0, (came_ns - theirs_ns) / 1e9)


def _first_words(error: BaseException) -> str:
    while isinstance(error, OSError) and not error.strerror and error.__cause__:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return " ".join(str(error).split()) or type(error).__name__


# --- judging --------------------------------------------------------------------------------------


def judge_seen(seen: Seen) -> Finding:
    """One door in words."""
    state, text = _verdict(seen)
    return Finding(name=seen.door.name, state=state, text=text)


def _verdict(seen: Seen) -> tuple[State, str]:
    host, proxy = urlsplit(seen.door.url).netloc, seen.door.proxy_url is not None
    where = f"{host} through a proxy" if proxy else host
    if not seen.status:
        return "fail", f"{where}: {seen.step} failed: {seen.problem}"
    if is_location_refusal(seen):
        instead = "the proxy's place" if proxy else "this location"
        return "fail", (
            f"{where} refuses {instead} (HTTP {seen.status}{_sample(seen)}): record it from"
            f" elsewhere, set {seen.door.setting}, or switch it off (enabled = false)"
        )
    if seen.status == 429 or seen.status == 418:
        return "warn", f"{where} has had too many questions from here (HTTP {seen.status}): wait"
    good = (SWITCHING,) if seen.door.is_socket else range(200, 300)
    if seen.status not in good:
        return "fail", f"{where} answered HTTP {seen.status}{_sample(seen)}"
    words = [where, f"{seen.round_trip_s * 1000:.0f} ms"]
    if seen.tls:
        words.append(seen.tls)
    is_slow = seen.round_trip_s > ROUND_TRIP_S_WARN
    return ("warn" if is_slow else "ok"), ", ".join(words) + (": far or busy" if is_slow else "")


def is_location_refusal(seen: Seen) -> bool:
    """451 is one by its meaning, 403 by what venues answer where they may not serve."""
    if seen.status == 451:
        return True
    return seen.status in LOCATION_STATUSES or (
        400 <= seen.status < 500 and LOCATION_WORDS.search(seen.body) is not None
    )


def judge_clock(seen: Iterable[Seen]) -> Finding:
    """This machine's clock against all who told theirs: one wrong venue clock changes nothing."""
    told = [one.clock_ahead_s for one in seen if one.clock_ahead_s is not None]
    if not told:
        return Finding(name="clock", state="warn", text="nobody told the time: not compared")
    ahead_s = median(told)
    if abs(ahead_s) < CLOCK_OFFSET_S_WARN:
        text = f"within {CLOCK_OFFSET_S_WARN:g} s of {len(told)} answers' time"
        return Finding(name="clock", state="ok", text=text)
    way = "ahead of" if ahead_s > 0 else "behind"
    text = f"about {abs(ahead_s):.1f} s {way} the venues: timedatectl set-ntp true, or run chrony"
    return Finding(name="clock", state="fail", text=text)


def _sample(seen: Seen) -> str:
    text = " ".join(seen.body[:SAMPLE_BYTES].decode("utf-8", "replace").split())
    text = "".join(c for c in text if c.isprintable())
    return f": {text}" if text else ""


def look_online(config: Config, clock: Clock) -> list[Finding]:
    """Ask and judge; for a verb."""
    seen = trio.run(ask_all, doors_of(config), clock)
    return [*map(judge_seen, seen), judge_clock(seen)]
