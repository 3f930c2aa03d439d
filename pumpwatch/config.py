"""Every setting with its default and its limits, and how they are read.

TOML file first, then ``PUMPWATCH_SECTION__KEY`` variables over it. Anything unknown or impossible
is refused with one line (ConfigError). Names carry units: MiB, seconds, milliseconds.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec

from pumpwatch.config_migration import MigrationConfig
from pumpwatch.config_upkeep import (
    ArchivesConfig,
    BackfillConfig,
    BackupConfig,
    DiskConfig,
    QuarantineConfig,
    RetentionConfig,
)
from pumpwatch.errors import ConfigError, UsageError
from pumpwatch.settings import (
    ANY_PATH,
    Key,
    Rule,
    Section,
    SettingError,
    Source,
    Table,
    build,
    keys_of,
    one_of,
    overlay,
    pattern,
    shown,
    span,
    texts,
    unknown_key,
    url,
)

DEFAULT_FILE = "pumpwatch.toml"
EXCHANGES = ("binance", "bybit", "okx", "kucoin", "gate", "phemex")
MARKET_TYPES = ("spot", "futures")
FEED_NAMES = tuple(f"{exchange}_{market}" for exchange in EXCHANGES for market in MARKET_TYPES)

PORT = span(0, 65535)
NAME = pattern(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 of A-Z a-z 0-9 _ . -")
WEB = url("http", "https", path_only=True)
SOCKET = url("ws", "wss")
SOCKETS = texts(r"wss?://[^\s/@]+(/\S*)?", "a list of ws:// or wss:// URLs")
PROXY = Rule(
    "http://[USER:PASSWORD@]HOST:PORT of a proxy that takes CONNECT",
    lambda value: (
        re.fullmatch(r"http://([!-.0-9:;=?A-Z_a-z~%]+@)?[^\s/@]+/?", value) is not None
        and _has_port(value)
    ),
    secret=True,
)
PROXY_DOC = "a proxy for sockets and requests; empty: none, whatever the environment says"


class QuestdbConfig(Section, frozen=True, kw_only=True):
    """The database: a server of our own (embedded), or any other (external)."""

    mode: Annotated[
        Literal["embedded", "external"],
        one_of("embedded", "external"),
        "embedded: started and watched by PumpWatch; external: http_url, pg_host, pg_port, user "
        "and password_file are needed",
    ] = "embedded"
    http_port: Annotated[int, PORT, "embedded, on 127.0.0.1; 0: a free one, see runtime.json"] = (
        9000
    )
    pg_port: Annotated[int, PORT, "PostgreSQL wire; 0 (embedded only): a free one"] = 8812
    health_port: Annotated[int, PORT, "embedded, on 127.0.0.1; 0: a free one"] = 9003
    http_url: Annotated[str | None, WEB, "external only: http://host:9000"] = None
    pg_host: Annotated[
        str | None, pattern(r"[^\s/@=']{1,253}", "a host name or address"), "external only"
    ] = None
    user: Annotated[str, NAME, "who writes"] = "pumpwatch"
    password_file: Annotated[str, ANY_PATH, "relative to data_dir; embedded: made when missing"] = (
        "secrets/questdb"
    )
    readonly_user: Annotated[str, NAME, "who answers questions"] = "pumpwatch_ro"
    readonly_password_file: Annotated[str, ANY_PATH, "as password_file"] = "secrets/questdb_ro"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode == "external":
            for name in ("http_url", "pg_host"):
                if getattr(self, name) is None:
                    raise SettingError(name, "(nothing)", 'needed with mode = "external"')
            if self.pg_port == 0:
                raise SettingError("pg_port", "0", 'allowed with mode = "external": 1 to 65535')
            return
        ports = {"http_port": self.http_port, "pg_port": self.pg_port}
        ports["health_port"] = self.health_port
        seen: dict[int, str] = {}
        for name, port in ports.items():
            if port and port in seen:
                raise SettingError(name, str(port), f"allowed: a port other than {seen[port]}'s")
            seen[port] = name


class SpoolConfig(Section, frozen=True, kw_only=True):
    """The disk between the sockets and the database."""

    disk_max_mib: Annotated[
        int, span(256, 16_777_216, "MiB"), "sockets are no longer read when this is full"
    ] = 8192
    fsync_ms: Annotated[
        int, span(0, 60_000, "ms"), "a power cut costs at most this much; 0: fsync every flush"
    ] = 1000
    buffer_max_mib: Annotated[
        int, span(4, 4096, "MiB"), "memory between socket and disk, for a stalled fsync"
    ] = 64


class WriterConfig(Section, frozen=True, kw_only=True):
    """How rows go from the spool into the database."""

    workers: Annotated[
        int, span(1, 16), "requests in flight per table; one is fastest unless measured"
    ] = 1
    rows_max: Annotated[int, span(1, 1_000_000, "rows"), "rows of one request"] = 100_000
    interval_ms: Annotated[
        int, span(0, 5_000, "ms"), "not more often than this; a commit has a fixed price"
    ] = 250


class FlightConfig(Section, frozen=True, kw_only=True):
    """Raw messages of the last minutes, for whoever looks into a listing."""

    minutes: Annotated[int, span(0, 1440, "minutes"), "how far they reach back; 0: none"] = 10
    disk_max_mib: Annotated[int, span(16, 1_048_576, "MiB"), "or this much, the oldest go"] = 4096


class MemoryConfig(Section, frozen=True, kw_only=True):
    """The in-memory hour, and the limit that bounds everything."""

    window_s: Annotated[int, span(0, 86_400, "s"), "how far memory reaches back"] = 3600
    max_mib: Annotated[int, span(16, 1_048_576, "MiB"), "or this much, whichever is less"] = 1024
    budget_mib: Annotated[
        int,
        span(0, 16_777_216, "MiB"),
        "bounds the hour, the database's heap and scratch servers together; "
        "0: 60 % of RAM or of the cgroup limit",
    ] = 0


class FeedConfig(Section, frozen=True, kw_only=True):
    """One of the feeds; a feed that the file does not name runs with these defaults."""

    enabled: Annotated[bool, "record this feed"] = True
    websocket_url: Annotated[
        str | None, SOCKET, "the whole URL that is connected to; empty: the venue's own"
    ] = None
    other_websocket_urls: Annotated[tuple[str, ...], SOCKETS, "tried where that is silent"] = ()
    rest_url: Annotated[
        str | None, WEB, "scheme, host and optional path prefix; empty: the venue's own"
    ] = None
    proxy_url: Annotated[str | None, PROXY, PROXY_DOC] = None
    symbols: Annotated[
        tuple[str, ...],
        texts(r"[^\s,'\"=;]{1,40}", "a list of globs on BASE+QUOTE, at least one", at_least=1),
        "globs on BASE+QUOTE",
    ] = ("*",)
    quotes: Annotated[
        tuple[str, ...],
        texts(r"[A-Z0-9]{2,12}", "a list of quote coins in capitals, at least one", at_least=1),
        "quote coins",
    ] = ("USDT",)
    redundancy: Annotated[int, span(1, 2), "connections that carry the same symbol"] = 1
    connections_max: Annotated[int, span(0, 1000), "0: as many as the symbols need"] = 0
    api_key_file: Annotated[
        str | None, ANY_PATH, "only where a venue's history wants one; relative to data_dir"
    ] = None
    history_s: Annotated[
        int, span(0, 604_800, "s"), "older rows of a first subscription are counted, not stored"
    ] = 3600


class UpbitConfig(Section, frozen=True, kw_only=True):
    """Upbit's notice board and market list."""

    enabled: Annotated[bool, "watch it"] = True
    api_url: Annotated[str, WEB, "notices"] = "https://api-manager.upbit.com"
    markets_url: Annotated[str, WEB, "market list"] = "https://api.upbit.com"
    websocket_url: Annotated[str, SOCKET, "used when both key files are set"] = (
        "wss://api.upbit.com/websocket/v1/private"
    )
    access_key_file: Annotated[str | None, ANY_PATH, "relative to data_dir"] = None
    secret_key_file: Annotated[str | None, ANY_PATH, "relative to data_dir"] = None
    proxy_url: Annotated[str | None, PROXY, PROXY_DOC] = None
    poll_interval_s: Annotated[float, span(0.5, 3600, "s"), "between two looks"] = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.access_key_file is None) != (self.secret_key_file is None):
            name = "access_key_file" if self.access_key_file is None else "secret_key_file"
            raise SettingError(name, "(nothing)", "allowed: both key files or neither")


class BithumbConfig(Section, frozen=True, kw_only=True):
    """Bithumb's notice board and market list."""

    enabled: Annotated[bool, "watch it"] = True
    api_url: Annotated[str, WEB, "notices and market list"] = "https://api.bithumb.com"
    proxy_url: Annotated[str | None, PROXY, PROXY_DOC] = None
    poll_interval_s: Annotated[float, span(0.5, 3600, "s"), "between two looks"] = 3.0


class ListingConfig(Section, frozen=True, kw_only=True):
    """What is looked at around a listing, and where listings are announced."""

    before_s: Annotated[int, span(1, 3600, "s"), "before the announcement"] = 20
    after_s: Annotated[int, span(1, 3600, "s"), "after it"] = 20
    late_s_max: Annotated[
        int, span(60, 2_592_000, "s"), "a notice first seen later than this only alerts"
    ] = 86_400
    exec: Annotated[
        tuple[str, ...],
        texts(r"[^\0]+", "a list of texts: a program and its arguments"),
        "run for each listing and each verdict with JSON on its standard input; no shell",
    ] = ()
    exec_s_max: Annotated[int, span(1, 600, "s"), "then the program is ended"] = 10
    upbit: UpbitConfig = msgspec.field(default_factory=UpbitConfig)
    bithumb: BithumbConfig = msgspec.field(default_factory=BithumbConfig)


def _has_port(value: str) -> bool:
    try:
        return urlsplit(value).port is not None
    except ValueError:
        return False


def _is_address(value: str) -> bool:
    host, colon, port = value.rpartition(":")
    bare = host.startswith("[") == host.endswith("]") and (":" not in host or host[0] == "[")
    return bool(colon and host) and bare and port.isascii() and port.isdigit() and _is_port(port)


def _is_port(text: str) -> bool:
    return len(text) <= 5 and int(text) <= 65535


class DashboardConfig(Section, frozen=True, kw_only=True):
    """Where the page and the HTTP interface listen."""

    bind: Annotated[
        str, Rule("HOST:PORT, IPv6 in brackets", _is_address), "HOST:PORT; port 0: a free one"
    ] = "127.0.0.1:8080"
    tls_certificate_file: Annotated[
        str | None, ANY_PATH, "PEM, relative to data_dir; for a bind that is not loopback"
    ] = None
    tls_key_file: Annotated[str | None, ANY_PATH, "its key"] = None
    behind_proxy: Annotated[
        bool, "a proxy of yours ends TLS in front of this; the token is needed for everything"
    ] = False
    requests_per_s_max: Annotated[
        int, span(1, 10_000, "a second"), "more than this wait their turn: recording comes first"
    ] = 50
    connections_max: Annotated[
        int, span(8, 10_000), "more than this are turned away: each holds a file handle"
    ] = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            name = "tls_key_file" if self.tls_key_file is None else "tls_certificate_file"
            raise SettingError(name, "(nothing)", "allowed: both TLS files or neither")
        if not self.is_loopback and self.tls_key_file is None and not self.behind_proxy:
            allowed = (
                "allowed: a loopback address, or tls_certificate_file and tls_key_file, or"
                " behind_proxy = true (ssh -L needs neither)"
            )
            raise SettingError("bind", f'"{self.bind}"', allowed)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def host(self) -> str:
        """The address without brackets."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """0: a free one."""
        return int(self.bind.rpartition(":")[2])


APPRISE = texts(r"[A-Za-z][A-Za-z0-9+.-]*://\S+", "a list of apprise URLs", secret=True)
HEARTBEAT = Rule(
    "an http:// or https:// URL",
    lambda value: re.fullmatch(r"https?://[^\s/]\S*", value) is not None,
    secret=True,
)
HOUR = r"([01][0-9]|2[0-3]):[0-5][0-9]"


class AlertsConfig(Section, frozen=True, kw_only=True):
    """Who is told."""

    urls: Annotated[
        tuple[str, ...],
        APPRISE,
        "told everything; apprise URLs hold tokens, so better set them through the environment",
    ] = ()
    page_urls: Annotated[tuple[str, ...], APPRISE, "told what cannot wait, beside urls"] = ()
    notify_urls: Annotated[tuple[str, ...], APPRISE, "told what can, beside urls"] = ()
    digest_urls: Annotated[tuple[str, ...], APPRISE, "told once a day, beside urls"] = ()
    digest_at: Annotated[str, pattern(HOUR, "HH:MM, 00:00 to 23:59"), "UTC"] = "08:00"
    quiet_hours: Annotated[
        str,
        pattern(f"({HOUR}-{HOUR})?", "empty or HH:MM-HH:MM"),
        "UTC; notify waits for their end, pages and listings never do",
    ] = ""
    heartbeat_url: Annotated[
        str | None,
        HEARTBEAT,
        "fetched every minute while all is well: a watcher elsewhere notices a dead host",
    ] = None


class SystemConfig(Section, frozen=True, kw_only=True):
    """The process itself."""

    shutdown_s: Annotated[int, span(1, 600, "s"), "time to drain after SIGTERM"] = 30
    status_interval_s: Annotated[int, span(1, 3600, "s"), "between two status lines"] = 60
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        one_of("debug", "info", "warning", "error"),
        "of the log; SIGHUP changes it",
    ] = "info"
    log_file: Annotated[
        str | None, ANY_PATH, "relative to data_dir; empty: stderr, which the journal keeps"
    ] = None
    log_max_mib: Annotated[
        int, span(1, 10_240, "MiB"), "of log_file; then it becomes log_file.1, and so on"
    ] = 64
    log_keep: Annotated[int, span(1, 100), "files beside it; the oldest goes"] = 5


class Config(Section, frozen=True, kw_only=True):
    """Everything; ``feeds`` always holds all feeds, in the order of FEED_NAMES."""

    data_dir: Annotated[Path, Rule("a path, not empty", lambda path: "\0" not in str(path))] = Path(
        "data"
    )
    questdb: QuestdbConfig = msgspec.field(default_factory=QuestdbConfig)
    spool: SpoolConfig = msgspec.field(default_factory=SpoolConfig)
    writer: WriterConfig = msgspec.field(default_factory=WriterConfig)
    memory: MemoryConfig = msgspec.field(default_factory=MemoryConfig)
    flight: FlightConfig = msgspec.field(default_factory=FlightConfig)
    feeds: Annotated[dict[str, FeedConfig], Rule("a section", lambda _: True)] = msgspec.field(
        default_factory=lambda: {name: FeedConfig() for name in FEED_NAMES}
    )
    backfill: BackfillConfig = msgspec.field(default_factory=BackfillConfig)
    listing: ListingConfig = msgspec.field(default_factory=ListingConfig)
    dashboard: DashboardConfig = msgspec.field(default_factory=DashboardConfig)
    alerts: AlertsConfig = msgspec.field(default_factory=AlertsConfig)
    retention: RetentionConfig = msgspec.field(default_factory=RetentionConfig)
    disk: DiskConfig = msgspec.field(default_factory=DiskConfig)
    backup: BackupConfig = msgspec.field(default_factory=BackupConfig)
    migration: MigrationConfig = msgspec.field(default_factory=MigrationConfig)
    archives: ArchivesConfig = msgspec.field(default_factory=ArchivesConfig)
    quarantine: QuarantineConfig = msgspec.field(default_factory=QuarantineConfig)
    system: SystemConfig = msgspec.field(default_factory=SystemConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        ports = (self.questdb.http_port, self.questdb.pg_port, self.questdb.health_port)
        if self.questdb.mode == "embedded" and self.dashboard.port in ports and self.dashboard.port:
            allowed = "allowed: a port that [questdb] does not use"
            raise SettingError("dashboard.bind", f'"{self.dashboard.bind}"', allowed)

    def path(self, relative: str | Path) -> Path:
        """A path of the file (password, key, backup folder): relative to data_dir."""
        return self.data_dir / Path(relative).expanduser()

    @property
    def enabled_feeds(self) -> tuple[str, ...]:
        """Names of the feeds that are recorded."""
        return tuple(name for name, feed in self.feeds.items() if feed.enabled)


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``run`` was asked on the command line, beyond the settings."""

    duration_s: float | None = None  # None: until a signal
    config_path: Path | None = None  # read again on SIGHUP; None: where load_config looks


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """Read the settings: the file, then ``PUMPWATCH_...`` variables over it.

    ``path`` None: ./pumpwatch.toml if there is one, else the defaults. A relative data_dir is
    taken from the current folder and comes back absolute. Raises ConfigError, always one line.
    """
    if path is None and Path(DEFAULT_FILE).exists():
        path = Path(DEFAULT_FILE)
    table: Table = {} if path is None else _read_toml(path)
    source = Source("defaults" if path is None else str(path))
    overlay(table, environ, key_table(), source)
    feeds = _build_feeds(table.pop("feeds", {}), source)
    config = build(Config, table, "", source)
    data_dir = config.data_dir.expanduser().absolute()
    return msgspec.structs.replace(config, feeds=feeds, data_dir=data_dir)


def _read_toml(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config = {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # bad TOML, or bytes that are no UTF-8
        reason = " ".join(str(error).split())
        raise ConfigError(f"config = {path}: is no TOML: {reason}") from None


def _build_feeds(table: object, source: Source) -> dict[str, FeedConfig]:
    if not isinstance(table, dict):
        raise ConfigError(f"feeds = {shown(table)}: allowed: a section ({source.of('feeds')})")
    for name, value in table.items():
        if name not in FEED_NAMES:
            raise unknown_key(f"feeds.{name}", value, FEED_NAMES, source.of(f"feeds.{name}"))
    return {
        name: build(FeedConfig, table.get(name, {}), f"feeds.{name}.", source)
        for name in FEED_NAMES
    }


@functools.cache
def key_table() -> Mapping[str, Key]:
    """Every key by its dotted name (``feeds.okx_spot.enabled``), in the order of the file."""

    def walk(section: type[Section], prefix: str) -> Iterator[tuple[str, Key]]:
        for key in keys_of(section):
            if key.section is not None:
                yield from walk(key.section, f"{prefix}{key.name}.")
            elif key.name == "feeds" and section is Config:
                for feed in FEED_NAMES:
                    yield from walk(FeedConfig, f"feeds.{feed}.")
            else:
                yield f"{prefix}{key.name}", key

    return dict(walk(Config, ""))


# --- what the command line changes ----------------------------------------------------------------


def narrow(config: Config, feeds: Iterable[str] = (), symbols: Iterable[str] = ()) -> Config:
    """The settings with only these feeds enabled and these symbol globs; empty changes nothing.

    Raises UsageError for a feed that does not exist.
    """
    wanted, globs = tuple(feeds), tuple(symbols)
    for name in wanted:
        if name not in FEED_NAMES:
            raise UsageError(f"--feeds {name}: no such feed; there are {', '.join(FEED_NAMES)}")
    changed: dict[str, FeedConfig] = {}
    for name, feed in config.feeds.items():
        changes: dict[str, Any] = {"enabled": name in wanted} if wanted else {}
        if globs:
            changes["symbols"] = globs
        try:
            changed[name] = msgspec.structs.replace(feed, **changes)
        except SettingError as error:
            raise UsageError(f"--symbols: {error}") from None
    return msgspec.structs.replace(config, feeds=changed)


def in_folder(config: Config, data_dir: Path) -> Config:
    """The settings for a short life elsewhere: another data_dir, free ports, a server of our own.

    For ``demo`` and ``run --for``, whose user may have a QuestDB (or a daemon) running already.
    """
    questdb = QuestdbConfig(mode="embedded", http_port=0, pg_port=0, health_port=0)
    dashboard = DashboardConfig(bind="127.0.0.1:0")
    return msgspec.structs.replace(
        config, data_dir=data_dir.absolute(), questdb=questdb, dashboard=dashboard
    )
