"""The command line: exit codes, one-line errors, help; and that the manual knows all of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pumpwatch import cli
from pumpwatch.cli import app, main
from pumpwatch.cli_data import parse_time_ns
from pumpwatch.cli_run import parse_duration_s, split_list
from pumpwatch.config import key_table
from pumpwatch.errors import ConfigError, ServerError, UsageError

ROOT = Path(__file__).parent.parent
MANUAL = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
VERBS = ("run", "init", "demo", "check", "doctor", "status", "trades", "gaps", "listings", "backup",
         "retention", "migrate", "upgrade", "secrets", "proof", "schema", "sql", "capacity",
         "feeds", "alerts", "quarantine", "verify", "replay", "lake", "completion", "sim", "drill",
         "version")  # fmt: skip


def pumpwatch(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("PUMPWATCH_")}
    return subprocess.run(
        [sys.executable, "-m", "pumpwatch", *arguments],
        cwd=cwd,
        env=inherited | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"} | environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Settings whose ports are free whatever runs on this machine."""
    (tmp_path / "pumpwatch.toml").write_text(
        "[questdb]\nhttp_port = 0\npg_port = 0\nhealth_port = 0\n"
        '[dashboard]\nbind = "127.0.0.1:0"\n'
        "[memory]\nmax_mib = 16\nbudget_mib = 512\n"
    )
    return tmp_path


def test_version(tmp_path: Path) -> None:
    number = re.compile(r"pumpwatch \d+\S+\n")
    for arguments in (["version"], ["--version"]):
        done = pumpwatch(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert number.fullmatch(done.stdout)
    as_json = json.loads(pumpwatch("version", "--json", cwd=tmp_path).stdout)
    assert set(as_json) == {"pumpwatch", "python"}


def test_help_names_every_verb_and_imports_nothing_heavy(tmp_path: Path) -> None:
    done = pumpwatch("--help", cwd=tmp_path)
    assert done.returncode == 0
    for verb in VERBS:
        assert re.search(rf"(?m)^  {verb} ", done.stdout), verb
    assert "..." not in done.stdout.split("Commands:")[1]  # no sentence is cut off
    script = "import sys, pumpwatch.cli; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", script], text=True, cwd=ROOT).split()
    heavy = {"trio", "msgspec", "structlog", "httpx", "psycopg", "polars", "rich", "psutil"}
    assert not heavy & set(loaded)


@pytest.mark.parametrize("verb", [*VERBS[:-3], "version"])
def test_each_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    assert f"pumpwatch {verb} [OPTIONS]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nope"], "'nope'"),
        ([], "command"),
        (["check", "--nope"], "--nope"),
        (["--config", "x", "check"], "--config"),
        (["trades"], "symbol"),
        (["trades", "BTC USDT"], "allowed: 1 to 40"),
        (["trades", "BTCUSDT", "--feed", "okx"], "there are binance_spot"),
        (["trades", "BTCUSDT", "--from", "yesterday"], "ISO 8601"),
        (["trades", "BTCUSDT", "--from", "2026-01-02", "--to", "2026-01-01"], "before --to"),
        (["trades", "BTCUSDT", "--limit", "0"], "--limit"),
        (["demo", "--seconds", "1"], "--seconds"),
        (["run", "--for", "5x"], "--for '5x'"),
        (["run", "--feeds", "okx"], "--feeds okx: no such feed"),
        (["schema", "drop"], "'drop'"),
        (["replay", "POD"], "either --serve HOST:PORT or --jsonl"),
        (["replay", "POD", "--serve", "7000"], "HOST:PORT"),
        (["replay", "POD", "--jsonl", "--speed", "fast"], "--speed fast"),
        (["replay", "POD", "--jsonl", "--now"], "--now"),
    ],
)
def test_usage_errors_are_one_line_and_64(
    arguments: list[str],
    part: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pumpwatch: error: ")
    assert err.count("\n") == 1
    assert part in err


def test_an_unknown_verb_ends_with_64(tmp_path: Path) -> None:
    done = pumpwatch("nope", cwd=tmp_path)
    assert done.returncode == 64
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "verb", ["check", "doctor", "run", "status", "trades BTCUSDT", "gaps list"]
)
def test_bad_settings_end_with_78(
    verb: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "bad.toml"
    file.write_text("[writer]\nworkers = 99\n")
    assert main([*verb.split(), "--config", str(file)]) == 78
    expected = f"pumpwatch: error: writer.workers = 99: allowed: 1 to 16 ({file})\n"
    assert capsys.readouterr().err == expected


def test_a_variable_of_the_environment_can_refuse_too(settings: Path) -> None:
    done = pumpwatch("check", cwd=settings, PUMPWATCH_WRITER__WROKERS="1")
    assert done.returncode == 78
    assert "PUMPWATCH_WRITER__WROKERS" in done.stderr
    assert done.stderr.count("\n") == 1


def test_check_prints_a_table_or_json(settings: Path) -> None:
    table = pumpwatch("check", cwd=settings)
    assert table.returncode == 0, table.stdout + table.stderr
    assert re.search(r"(?m)^ok +questdb\.http_port +0: a free one", table.stdout)
    assert "0 failed" in table.stdout
    rows = json.loads(pumpwatch("check", "--json", cwd=settings).stdout)
    assert {"check", "state", "text"} == set(rows[0])
    assert {row["state"] for row in rows} <= {"ok", "warn"}
    assert sorted(path.name for path in settings.iterdir()) == ["pumpwatch.toml"]


def test_check_ends_with_78_for_memory_that_cannot_fit(settings: Path) -> None:
    done = pumpwatch("check", cwd=settings, PUMPWATCH_MEMORY__MAX_MIB="1000")
    assert done.returncode == 78
    assert re.search(r"fail +memory +memory\.max_mib = 1000: allowed: 16 to 192", done.stdout)


def test_check_ends_with_69_where_the_data_folder_cannot_be(settings: Path) -> None:
    (settings / "file").write_text("")
    done = pumpwatch("check", cwd=settings, PUMPWATCH_DATA_DIR="file/data")
    assert done.returncode == 69
    assert re.search(r"fail +data_dir +.*file is no folder", done.stdout)


def test_run_refuses_memory_that_cannot_fit_before_it_starts(settings: Path) -> None:
    done = pumpwatch("run", cwd=settings, PUMPWATCH_MEMORY__MAX_MIB="1000")
    assert done.returncode == 78
    assert done.stderr.startswith("pumpwatch: error: memory.max_mib = 1000")
    assert not (settings / "data").exists()


def test_doctor_fits_a_screen_and_shows_versions(settings: Path) -> None:
    done = pumpwatch("doctor", cwd=settings)
    assert done.returncode == 0
    assert "trio-websocket" in done.stdout
    assert len(done.stdout.splitlines()) <= 40
    document = json.loads(pumpwatch("doctor", "--json", cwd=settings).stdout)
    assert document["config"] == "pumpwatch.toml"
    assert document["checks"]


def test_init_then_check(tmp_path: Path) -> None:
    first = pumpwatch("init", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("  python -m pumpwatch ") == 3
    again = pumpwatch("init", cwd=tmp_path)
    assert again.returncode == 64
    assert "never overwrites" in again.stderr
    assert pumpwatch("check", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("a = 1: no"), 78, "a = 1: no"),
        (ServerError("no\nanswer"), 69, "no answer"),
        (UsageError("--x: no"), 64, "--x: no"),
        (PermissionError(13, "Permission denied", "/x"), 69, "Permission denied"),
        (ExceptionGroup("n", [ServerError("gone"), ConfigError("b")]), 69, "gone"),
        (ExceptionGroup("n", [ExceptionGroup("m", [ConfigError("deep")])]), 78, "deep"),
    ],
)
def test_deliberate_errors_are_one_line(
    error: Exception,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fail_with(error, monkeypatch) == code
    err = capsys.readouterr().err
    assert err.startswith("pumpwatch: error: ")
    assert line in err
    assert err.count("\n") == 1


def test_bugs_keep_their_traceback_and_are_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = ExceptionGroup("nursery", [ServerError("gone"), KeyError("oops")])
    for error in (KeyError("oops"), group):
        assert fail_with(error, monkeypatch) == 70
        assert "oops" in capsys.readouterr().err


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail_with(KeyboardInterrupt(), monkeypatch) == 130
    group = BaseExceptionGroup("nursery", [KeyboardInterrupt()])
    assert fail_with(group, monkeypatch) == 130


def fail_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    return main([])


@pytest.mark.parametrize(
    ("text", "seconds"), [("5m", 300), ("90s", 90), ("1h30m", 5400), ("7", 7), ("0.5h", 1800)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5m", "m", "5 m", "5d", "31000h", "1e3"])
def test_no_durations(text: str) -> None:
    with pytest.raises(UsageError, match="--for"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "moment_ns"),
    [
        ("1970-01-01", 0),
        ("1970-01-01T00:00:01.000000001Z", 1_000_000_001),
        ("1970-01-02 00:00", 86_400_000_000_000),
        ("2026-01-31T13:00:00.5+00:00", 1_769_864_400_500_000_000),
    ],
)
def test_times_keep_every_nanosecond(text: str, moment_ns: int) -> None:
    assert parse_time_ns("--from", text) == moment_ns


@pytest.mark.parametrize(
    "text", ["", "now", "2026-13-01", "2026-01-01T25:00", "2026-01-01T00:00:00+09:00", "1"]
)
def test_no_times(text: str) -> None:
    with pytest.raises(UsageError, match="ISO 8601"):
        parse_time_ns("--to", text)


def test_lists() -> None:
    assert split_list(" a, b,,") == ("a", "b")
    assert split_list(None) == ()


def test_a_reader_that_went_away_is_no_error(settings: Path) -> None:
    command = f"{sys.executable} -m pumpwatch doctor --json; echo $? >&2"
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", f"({command}) | true"],
        cwd=settings,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


def test_the_manual_knows_every_verb_and_option() -> None:
    verbs = getattr(typer.main.get_command(app), "commands", {})
    assert set(verbs) == set(VERBS)
    for verb, command in verbs.items():
        assert f"| `{verb}` |" in MANUAL, verb
        for part in (command, *getattr(command, "commands", {}).values()):
            options = {option for parameter in part.params for option in parameter.opts}
            for option in options - {"--help", "-h", "symbol", "gap_id", "args", "query", "feed",
                                     "rule"}:  # fmt: skip
                assert option in MANUAL, option


def test_the_manual_states_every_setting_with_default_and_limits() -> None:
    stated = manual_settings()
    for dotted, key in key_table().items():
        if dotted.startswith("feeds.") and not dotted.startswith("feeds.okx_spot."):
            continue
        section, _, name = dotted.replace("feeds.okx_spot", "feeds.NAME").rpartition(".")
        default, allowed = stated.pop((section, name))
        assert default in (manual_value(key.default), "the venue's"), dotted
        limits = re.match(r"([\d_.]+) to ([\d_.]+)(?! of|\d)", key.rule.allowed)
        if limits:
            assert allowed == f"{limits[1]} to {limits[2]}".replace("_", ""), dotted
    assert not stated  # nothing that no longer exists


def manual_settings() -> dict[tuple[str, str], tuple[str, str]]:
    """(section, key) -> (default, allowed), from the tables of the manual."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    section = ""
    settings = MANUAL[MANUAL.index("## Settings") : MANUAL.index("## Memory")]
    for line in settings.splitlines():
        if line.startswith("### "):
            section = line.removeprefix("### ").strip("[]").replace("Top level", "")
        elif line.startswith("| `"):
            name, default, allowed = (cell.strip() for cell in line.split("|")[1:4])
            found[section, name.strip("`")] = (default, allowed)
    return found


def manual_value(value: object) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    plain = list(value) if isinstance(value, tuple) else value
    return f"`{json.dumps(plain, default=str)}`"
