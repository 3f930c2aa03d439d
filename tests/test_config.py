"""Settings: defaults, refusals, environment."""

from __future__ import annotations

import json
import string
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.config import (
    FEED_NAMES,
    Config,
    FeedConfig,
    QuestdbConfig,
    SpoolConfig,
    WriterConfig,
    in_folder,
    key_table,
    load_config,
    narrow,
)
from pumpwatch.errors import ConfigError, UsageError
from pumpwatch.settings import SettingError, shown, variable_name

# The design's own example, with every value at its default.
SAMPLE = """
data_dir = "data"
[questdb]
mode = "embedded"
http_port = 9000
pg_port = 8812
health_port = 9003
user = "pumpwatch"
password_file = "secrets/questdb"
readonly_user = "pumpwatch_ro"
readonly_password_file = "secrets/questdb_ro"
[spool]
disk_max_mib = 8192
fsync_ms = 1000
[writer]
workers = 1
rows_max = 100000
interval_ms = 250
[memory]
window_s = 3600
max_mib = 1024
budget_mib = 0
[feeds.binance_spot]
enabled = true
symbols = ["*"]
quotes = ["USDT"]
redundancy = 1
connections_max = 0
[listing]
before_s = 20
after_s = 20
[listing.upbit]
enabled = true
api_url = "https://api-manager.upbit.com"
markets_url = "https://api.upbit.com"
websocket_url = "wss://api.upbit.com/websocket/v1/private"
poll_interval_s = 6.0
[listing.bithumb]
enabled = true
api_url = "https://api.bithumb.com"
poll_interval_s = 3.0
[dashboard]
bind = "127.0.0.1:8080"
[alerts]
urls = []
[backup]
directory = "backups"
daily_at = "03:10"
keep_days = 7
remote_url = ""
[system]
shutdown_s = 30
status_interval_s = 60
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load_text(text: str, environ: dict[str, str] | None = None) -> Config:
    path = Path("given.toml")
    path.write_text(text)
    return load_config(path, environ or {})


def leaves(table: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(table, dict):
        return {prefix.rstrip("."): table}
    found: dict[str, object] = {}
    for name, value in table.items():
        found |= leaves(value, f"{prefix}{name}.")
    return found


def value_of(config: Config, dotted: str) -> object:
    place: object = config
    for part in dotted.split("."):
        place = place[part] if isinstance(place, dict) else getattr(place, part)
    return list(place) if isinstance(place, tuple) else place


def test_every_default_is_the_designs() -> None:
    config = load_config(None, {})
    for dotted, expected in leaves(tomllib.loads(SAMPLE)).items():
        if dotted == "data_dir":
            expected = Path("data").absolute()
        assert value_of(config, dotted) == expected, dotted


def test_the_sample_is_accepted_and_says_nothing_new() -> None:
    assert load_text(SAMPLE) == load_config(None, {})


def test_defaults_of_the_key_table_are_those_of_the_sections() -> None:
    config = Config()
    for dotted, key in key_table().items():
        default = list(key.default) if isinstance(key.default, tuple) else key.default
        assert value_of(config, dotted) == default, dotted


def test_all_feeds_are_always_there_in_order() -> None:
    config = load_text('[feeds.phemex_futures]\nenabled = false\nquotes = ["USDT", "USDC"]')
    assert tuple(config.feeds) == FEED_NAMES
    assert len(FEED_NAMES) == 12
    assert config.enabled_feeds == FEED_NAMES[:-1]
    assert config.feeds["phemex_futures"].quotes == ("USDT", "USDC")
    assert config.feeds["okx_spot"] == FeedConfig()


def test_feed_names_are_those_of_the_venues() -> None:
    venues = pytest.importorskip("pumpwatch.venues")
    assert tuple(spec.name for spec in venues.FEEDS) == FEED_NAMES


def test_the_file_in_the_current_folder_is_read_unless_another_is_named() -> None:
    Path("pumpwatch.toml").write_text("[writer]\nworkers = 3")
    assert load_config(None, {}).writer.workers == 3
    Path("other.toml").write_text("[writer]\nworkers = 4")
    assert load_config(Path("other.toml"), {}).writer.workers == 4


def test_paths_of_the_file_are_relative_to_data_dir(tmp_path: Path) -> None:
    config = load_text('data_dir = "rows"')
    assert config.data_dir == tmp_path / "rows"
    assert config.path(config.questdb.password_file) == tmp_path / "rows/secrets/questdb"
    assert config.path("/etc/secret") == Path("/etc/secret")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[writer]\nworkers = 0", ["writer.workers = 0", "1 to 16"]),
        ("[writer]\nworkers = 17", ["writer.workers = 17", "1 to 16"]),
        ("[writer]\nworkers = true", ["writer.workers = true", "1 to 16"]),
        ('[writer]\nworkers = "4"', ['writer.workers = "4"', "1 to 16"]),
        ("[writer]\nworkers = 1.5", ["writer.workers = 1.5", "1 to 16"]),
        ("[writer]\nwrokers = 1", ["writer.wrokers = 1", "did you mean workers?", "rows_max"]),
        ("writer = 3", ["writer = 3", "a section"]),
        ("colour = 3", ["colour = 3", "unknown key", "data_dir"]),
        ("[spool]\nfsync_ms = -1", ["spool.fsync_ms = -1", "0 to 60_000 ms"]),
        ("[memory]\nmax_mib = 15", ["memory.max_mib = 15", "16 to 1_048_576 MiB"]),
        ('[questdb]\nmode = "docker"', ['mode = "docker"', '"embedded" or "external"']),
        ("[questdb]\nhttp_port = 65536", ["questdb.http_port = 65536", "0 to 65_535"]),
        ("[questdb]\npg_port = 9000", ["questdb.pg_port = 9000", "other than http_port"]),
        ('[questdb]\nmode = "external"', ["questdb.http_url = (nothing)", "needed"]),
        (
            '[questdb]\nmode = "external"\nhttp_url = "http://db:9000"',
            ["questdb.pg_host = (nothing)", "needed"],
        ),
        (
            '[questdb]\nmode="external"\nhttp_url="http://db:9"\npg_host="db"\npg_port = 0',
            ["questdb.pg_port = 0", "1 to 65535"],
        ),
        ("[feeds.okx_sport]\nenabled = true", ["feeds.okx_sport", "did you mean okx_spot?"]),
        ('"a\\nb" = 3', ['"a\\nb" = 3', "unknown key"]),
        ("feeds = 3", ["feeds = 3", "a section"]),
        ("[feeds]\nokx_spot = 3", ["feeds.okx_spot = 3", "a section"]),
        ("[feeds.okx_spot]\nredundancy = 3", ["feeds.okx_spot.redundancy = 3", "1 to 2"]),
        ("[feeds.okx_spot]\nsymbols = []", ["feeds.okx_spot.symbols = []", "at least one"]),
        ('[feeds.okx_spot]\nsymbols = "BTC"', ['symbols = "BTC"', "list of globs"]),
        ('[feeds.okx_spot]\nquotes = ["usdt"]', ['quotes = ["usdt"]', "capitals"]),
        ('[feeds.okx_spot]\nwebsocket_url = "https://x"', ["websocket_url", "ws:// or wss://"]),
        ('[feeds.okx_spot]\nrest_url = "wss://x"', ["rest_url", "http:// or https://"]),
        ('[feeds.okx_spot]\nrest_url = "https://"', ['rest_url = "https://"', "URL"]),
        ('[feeds.okx_spot]\nrest_url = "https://x?a=1"', ["rest_url", "without query"]),
        ("[listing]\nbefore_s = 3601", ["listing.before_s = 3601", "1 to 3_600 s"]),
        ("[listing.upbit]\npoll_interval_s = nan", ["listing.upbit.poll_interval_s", "0.5 to"]),
        ('[listing.upbit]\naccess_key_file = "a"', ["secret_key_file", "both key files"]),
        ('[listing.bithumb]\napi_url = "ftp://x"', ["listing.bithumb.api_url", "http://"]),
        ('[dashboard]\nbind = "8080"', ['dashboard.bind = "8080"', "HOST:PORT"]),
        ('[dashboard]\nbind = "::1:8080"', ['dashboard.bind = "::1:8080"', "brackets"]),
        ('[dashboard]\nbind = "localhost:70000"', ["dashboard.bind", "HOST:PORT"]),
        ('[dashboard]\nbind = "127.0.0.1:9000"', ["dashboard.bind", "[questdb] does not use"]),
        ('[backup]\ndaily_at = "24:00"', ['backup.daily_at = "24:00"', "23:59"]),
        ('[backup]\nremote_url = "ftp://x"', ['remote_url = "ftp://x"', "s3://"]),
        ('[backup]\ndirectory = ""', ['backup.directory = ""', "a path"]),
        ('data_dir = ""', ['data_dir = ""', "a path"]),
        ("[system]\nshutdown_s = 0", ["system.shutdown_s = 0", "1 to 600 s"]),
    ],
)
def test_a_refusal_names_key_value_range_and_file(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    message = str(caught.value)
    assert message.endswith("(given.toml)")
    assert "\n" not in message
    for part in parts:
        assert part in message
    assert caught.value.exit_code == 78


def test_a_file_that_cannot_be_read_or_is_no_toml_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file"):
        load_config(Path("missing.toml"), {})
    with pytest.raises(ConfigError, match=r"given\.toml: is no TOML: .*line 2"):
        load_text("[writer]\nworkers = = 1")
    Path("latin.toml").write_bytes(b'data_dir = "\xe9"')
    with pytest.raises(ConfigError, match=r"latin\.toml: is no TOML"):
        load_config(Path("latin.toml"), {})


@pytest.mark.parametrize(
    "text",
    [
        '[alerts]\nurls = ["tgram://secret-token/1", "no url"]',
        '[feeds.okx_spot]\nwebsocket_url = "http://me:secret-token@host"',
        '[questdb]\npassword = "secret-token"',
    ],
)
def test_a_refusal_does_not_show_secrets(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(text)
    assert "secret-token" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "dotted", "expected"),
    [
        ("PUMPWATCH_WRITER__WORKERS", "4", "writer.workers", 4),
        ("PUMPWATCH_FEEDS__BINANCE_SPOT__ENABLED", "false", "feeds.binance_spot.enabled", False),
        ("PUMPWATCH_FEEDS__OKX_SPOT__SYMBOLS", "BTC*, ETH*", "feeds.okx_spot.symbols", None),
        ("PUMPWATCH_FEEDS__OKX_SPOT__SYMBOLS", '["BTC*", "ETH*"]', "feeds.okx_spot.symbols", None),
        ("PUMPWATCH_LISTING__UPBIT__API_URL", "http://[::1]:7/x", "listing.upbit.api_url", None),
        ("PUMPWATCH_LISTING__UPBIT__POLL_INTERVAL_S", "2", "listing.upbit.poll_interval_s", 2.0),
        ("PUMPWATCH_QUESTDB__MODE", "embedded", "questdb.mode", "embedded"),
        ("PUMPWATCH_FEEDS__OKX_SPOT__REST_URL", "", "feeds.okx_spot.rest_url", ""),
        ("PUMPWATCH_BACKUP__REMOTE_URL", "s3://b/p", "backup.remote_url", "s3://b/p"),
    ],
)
def test_the_environment_overrides_the_file(
    variable: str, text: str, dotted: str, expected: object
) -> None:
    config = load_text("[writer]\nworkers = 2", {variable: text, "HOME": "/x", "PUMP": "1"})
    if dotted.endswith("symbols"):
        expected = ["BTC*", "ETH*"]
    elif dotted.endswith("api_url"):
        expected = text
    elif expected == "":
        expected = None  # empty: the venue's own
    assert value_of(config, dotted) == expected
    assert variable_name(dotted) == variable


def test_data_dir_can_come_from_the_environment(tmp_path: Path) -> None:
    assert load_config(None, {"PUMPWATCH_DATA_DIR": "x"}).data_dir == tmp_path / "x"


@pytest.mark.parametrize(
    ("variable", "value", "parts"),
    [
        ("PUMPWATCH_WRITER__WORKERS", "99", ["writer.workers = 99", "1 to 16"]),
        ("PUMPWATCH_WRITER__WORKERS", "four", ['writer.workers = "four"', "1 to 16"]),
        ("PUMPWATCH_WRITER__WORKERS", "1_0", ['writer.workers = "1_0"', "1 to 16"]),
        ("PUMPWATCH_WRITER__WORKERS", "", ['writer.workers = ""', "1 to 16"]),
        ("PUMPWATCH_WRITER__WROKERS", "1", ["writer.wrokers", "did you mean workers?"]),
        ("PUMPWATCH_WRITER", "1", ["writer = ", "unknown key"]),
        ("PUMPWATCH_Writer__Workers", "1", ["unknown key"]),
        ("PUMPWATCH_", "1", ["unknown key"]),
        ("PUMPWATCH_FEEDS__OKX__ENABLED", "1", ["feeds.okx =", "okx_spot"]),
        ("PUMPWATCH_FEEDS__OKX_SPOT__ENABLED", "yes", ["enabled", "true or false"]),
        ("PUMPWATCH_FEEDS__OKX_SPOT__SYMBOLS", "[1]", ["symbols = [1]", "list of globs"]),
        ("PUMPWATCH_FEEDS__OKX_SPOT__SYMBOLS", "[", ['symbols = "["', "list of globs"]),
        ("PUMPWATCH_LISTING__UPBIT__POLL_INTERVAL_S", "inf", ["poll_interval_s", "0.5 to"]),
        ("PUMPWATCH_QUESTDB__MODE", "docker", ["questdb.mode", '"external"']),
    ],
)
def test_a_refused_variable_is_named(variable: str, value: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, {variable: value})
    message = str(caught.value)
    assert message.endswith(f"(environment {variable})")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_variable_below_a_value_of_the_file_does_not_hide_the_files_fault() -> None:
    with pytest.raises(ConfigError, match=r"writer = 3: allowed: a section"):
        load_text("writer = 3", {"PUMPWATCH_WRITER__WORKERS": "2"})


def test_the_builds_own_variable_is_no_setting() -> None:
    assert load_config(None, {"PUMPWATCH_TRACE": "1"}) == load_config(None, {})


GLOBS = st.lists(
    st.text(string.ascii_letters + string.digits + "*?[]-", min_size=1, max_size=40), min_size=1
)


@given(GLOBS)
def test_a_list_means_the_same_as_toml_and_as_variable(globs: list[str]) -> None:
    text = json.dumps(globs)
    variable = "PUMPWATCH_FEEDS__GATE_SPOT__SYMBOLS"
    from_file = load_text(f"[feeds.gate_spot]\nsymbols = {text}")
    assert load_config(None, {variable: text}).feeds == from_file.feeds
    if not globs[0].startswith("["):  # which would begin JSON
        assert load_config(None, {variable: ",".join(globs)}).feeds == from_file.feeds


@given(st.integers())
def test_a_whole_number_is_judged_alike_as_toml_and_as_variable(number: int) -> None:
    def outcome(text: str, environ: dict[str, str]) -> int | str:
        try:
            return load_text(text, environ).spool.fsync_ms
        except ConfigError as error:
            return str(error).split(":")[1]

    if abs(number) < 2**63:  # TOML's limit
        by_file = outcome(f"[spool]\nfsync_ms = {number}", {})
        assert outcome("", {"PUMPWATCH_SPOOL__FSYNC_MS": str(number)}) == by_file
        assert isinstance(by_file, int) == (0 <= number <= 60_000)


@given(st.dictionaries(st.text(max_size=30), st.text(max_size=30), max_size=3), st.text())
def test_any_environment_gives_settings_or_one_line(others: dict[str, str], value: str) -> None:
    environ = {f"PUMPWATCH_{name}": text for name, text in others.items()}
    environ["PUMPWATCH_ALERTS__URLS"] = value
    message = ""
    try:
        load_config(None, environ)
    except ConfigError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


def test_sections_made_in_code_are_checked_too() -> None:
    assert WriterConfig(workers=16).workers == 16
    with pytest.raises(SettingError, match="workers = 17: allowed: 1 to 16"):
        WriterConfig(workers=17)
    with pytest.raises(SettingError, match="fsync_ms"):
        msgspec.structs.replace(SpoolConfig(), fsync_ms=-1)
    assert QuestdbConfig(http_port=0, pg_port=0, health_port=0).http_port == 0


def test_every_key_says_what_it_is_for() -> None:
    for dotted, key in key_table().items():
        assert key.rule.allowed != "a section", dotted
        assert key.doc or dotted == "data_dir", dotted


def test_narrow_enables_only_the_named_feeds() -> None:
    config = narrow(Config(), ["okx_spot", "gate_futures"], ["BTC*"])
    assert config.enabled_feeds == ("okx_spot", "gate_futures")
    assert config.feeds["okx_spot"].symbols == ("BTC*",)
    assert narrow(Config()) == Config()
    with pytest.raises(UsageError, match="--feeds okx: no such feed; there are binance_spot"):
        narrow(Config(), ["okx"])
    with pytest.raises(UsageError, match="--symbols"):
        narrow(Config(), [], ["a b"])


def test_a_short_life_elsewhere_takes_free_ports(tmp_path: Path) -> None:
    config = in_folder(load_text("[questdb]\nhttp_port = 9100"), tmp_path / "x")
    questdb = config.questdb
    assert (questdb.http_port, questdb.pg_port, questdb.health_port) == (0, 0, 0)
    assert config.dashboard.port == 0
    assert config.data_dir == tmp_path / "x"


def test_long_values_are_cut() -> None:
    assert len(shown("x" * 1000)) == 80
