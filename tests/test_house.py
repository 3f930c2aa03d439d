"""The house rules, as far as a machine can check them: sizes, names, who imports whom, docs."""

from __future__ import annotations

import ast
import importlib
import re
import statistics
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from pumpwatch.cli import app
from pumpwatch.config import FEED_NAMES, key_table

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pumpwatch"
LINES_MAX = 500
LINES_MEDIAN_MAX = 200
FUNCTION_LINES_MAX = 70
FORBIDDEN_NAMES = {"utils", "common", "helpers", "manager", "handler", "base", "core", "misc"}

# What everybody may import; it imports nothing above itself.
BASE = {
    "errors", "clock", "model", "config", "config_migration", "config_upkeep", "settings", "log",
    "metrics", "version",
    "rates", "balance", "budget", "capacity", "standing", "health", "health_line", "moments",
    "spans", "trust", "whole_file", "log_file", "alert_rules", "alert_book", "alert_files",
}  # fmt: skip
# Parts meet in the composition root (and in the verbs that run it), through model.py's Protocols.
ROOTS = {
    "daemon", "monitor", "seat", "systemd", "feed_switch", "reload", "daemon_client", "sql_verb",
    "demo", "status", "status_screen", "schema_verbs", "environment", "init_config", "tally",
    "past", "past_listings", "past_publish", "past_files", "past_journal", "cli_past",
    "backfilling", "verify", "verify_book", "verify_stored", "verify_rest", "cli_verify",
    "answering", "hour", "trades_verb",
    "cli", "cli_alerts", "cli_seat", "cli_check", "cli_data", "cli_gaps", "cli_print", "cli_run",
    "cli_listings", "cli_migrate", "cli_quarantine", "quarantine_orders", "reading_again",
    "revaluing", "archiving",
    "migrate_verbs", "moving", "cli_backup", "cli_retention",
    "cli_drill", "upkeep_verbs", "drills",
    "__main__", "venues_page", "caretaker", "caretaker_orders", "daemon_orders", "release",
    "restored", "upgrade_verb", "cli_upgrade", "online", "cli_examples", "spool_damage",
    "listing_desk", "listing_order", "listing_view", "listing_publish", "listing_verbs",
    "demo_listing", "venue_lists", "cli_bundles", "cli_completion", "listing_frames",
    "replay_verb", "replay_frames", "cli_replay", "cli_study", "cli_lake",
}  # fmt: skip
MAY_IMPORT = {
    "_fast": BASE,
    "dialling": BASE,
    "rest": BASE | {"turnstile"},
    "turnstile": BASE,
    "venues": BASE | {"_fast"},
    "capture": BASE | {"_fast", "venues", "rest", "turnstile", "dialling"},
    "store": BASE | {"_fast", "rest"},  # never capture, nor the reverse
    "listing": BASE | {"store", "rest", "dialling"},
    "report": BASE | {"listing"},
    "migrate": BASE | {"store", "listing"},
    "research": BASE | {"store", "listing"},
    "sim": BASE,  # an independent reading of what venues send: shares no code with venues/
    "alerts": BASE | {"rest"},
    "dashboard": BASE | {"store", "listing"},
}
# Decides without I/O: no trio, no sockets, no files, no clock.
SANS_IO = {
    "model.py", "errors.py", "balance.py", "rates.py", "standing.py", "health.py",
    "health_line.py", "capacity.py", "metrics.py", "moments.py", "spans.py", "alert_rules.py",
    "alert_book.py", "dashboard/parameters.py", "dashboard/models.py", "capture/session.py",
    "capture/plan.py", "capture/subscriptions.py", "capture/ledger.py", "capture/open_gaps.py",
    "capture/ranges.py", "capture/coverage.py", "capture/watermarks.py", "capture/flight_frames.py",
    "capture/archive_fold.py", "capture/message_shape.py", "capture/overlap.py",
    "capture/roster.py", "capture/route.py", "capture/id_witness.py",
    "capture/agreement.py", "store/segment.py", "store/progress.py", "store/window_model.py",
    "store/window_instruments.py", "store/window_cache.py", "store/retention_plan.py",
    "store/backup_manifest.py", "listing/window.py", "listing/certificate.py",
    "listing/past_notices.py", "listing/evidence.py", "listing/canonical.py", "listing/messages.py",
    "listing/legacy_json.py", "report/pumps.py", "report/figures.py", "report/movers.py",
    "report/before.py", "report/buying.py", "report/document.py", "report/words.py",
    "report/format.py", "report/terminal.py", "report/refined.py", "report/charts.py",
    "report/page_tables.py", "report/study.py", "venues/spec.py", "venues/binance.py",
    "venues/bybit.py", "venues/okx.py", "venues/kucoin.py", "venues/gate.py", "venues/phemex.py",
}  # fmt: skip
IO_MODULES = {"trio", "trio_websocket", "httpx", "socket", "psycopg", "time", "os", "subprocess"}


def sources() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".pyx", ".pxd"))


def python_sources() -> list[Path]:
    return [path for path in sources() if path.suffix == ".py"]


def shown(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_modules_are_small() -> None:
    lines = {shown(path): len(path.read_text().splitlines()) for path in sources()}
    assert {name: count for name, count in lines.items() if count > LINES_MAX} == {}
    assert statistics.median(count for count in lines.values() if count) <= LINES_MEDIAN_MAX


def test_functions_are_short() -> None:
    long = {
        f"{shown(path)}:{node.name}": size
        for path in python_sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES_MAX
    }
    assert long == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    assert [shown(path) for path in sources() if path.stem in FORBIDDEN_NAMES] == []


def part_of(module: str) -> str:
    """``pumpwatch.store.spool`` -> ``store``."""
    return module.split(".")[1]


def imports_of(path: Path) -> Iterator[str]:
    """Modules of ours that a file imports when it runs (imports for types alone do not count)."""
    tree = ast.parse(path.read_text())
    for_types = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            if node.module == "pumpwatch":
                yield from (f"pumpwatch.{alias.name}" for alias in node.names)
            else:
                yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", python_sources(), ids=shown)
def test_who_imports_whom(path: Path) -> None:
    part = shown(path).split("/")[0].removesuffix(".py")
    if part in ROOTS or part == "__init__":
        return
    allowed = BASE if part in BASE else MAY_IMPORT[part] | {part}
    wrong = {
        module
        for module in imports_of(path)
        if module.startswith("pumpwatch.") and part_of(module) not in allowed
    }
    assert wrong == set(), f"{shown(path)} may import {sorted(allowed)}"


@pytest.mark.parametrize("name", sorted(SANS_IO))
def test_what_decides_does_no_io(name: str) -> None:
    imported = {module.split(".")[0] for module in imports_of(PACKAGE / name)}
    assert imported & IO_MODULES == set()


def test_venue_names_stay_in_venues() -> None:
    """A question for the venue outside venues/ means that a FeedSpec field is missing."""
    asks = re.compile(r"(exchange|venue|feed(_name)?|spec\.name) (==|!=|in) .?[\"'(]")
    allowed = {"venues", "sim", "_fast"}
    found = [
        f"{shown(path)}: {line.strip()}"
        for path in python_sources()
        if shown(path).split("/")[0] not in allowed
        for line in path.read_text().splitlines()
        if asks.search(line)
    ]
    assert found == []


def test_every_feed_has_samples() -> None:
    for name in FEED_NAMES:
        assert (ROOT / "tests/samples" / f"{name}.jsonl").stat().st_size
        assert (ROOT / "tests/samples" / f"{name}.expected.tsv").stat().st_size


def test_the_wheel_holds_every_package() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert found <= set(listed)


def test_schema_files_are_numbered_without_holes() -> None:
    numbers = [int(path.name[:3]) for path in sorted((ROOT / "schema").glob("*.sql"))]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_verb_and_setting_is_in_operations() -> None:
    text = (ROOT / "docs/operations.md").read_text()
    command = typer.main.get_command(app)
    verbs = list(getattr(command, "commands", {}))
    assert [verb for verb in verbs if f"`{verb}`" not in text] == []
    sections = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    missing = []
    for key in key_table():
        section, _, name = key.rpartition(".")
        title = f"[{section}]" if section else "Top level"
        title = "[feeds.NAME]" if section.startswith("feeds.") else title
        if f"| `{name}` |" not in sections.get(title, ""):
            missing.append(key)
    assert missing == []


def test_adrs_are_numbered_and_have_their_parts() -> None:
    files = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [int(path.name[:4]) for path in files] == list(range(1, len(files) + 1))
    for path in files:
        text = path.read_text()
        for part in ("## Context", "## Options", "## Decision", "## Consequences"):
            assert part in text, f"{path.name}: no {part}"


NEED_PEERS = {"bench_peers", "peers_python", "peers_cryptofeed"}  # `make bench-peers` gets them


@pytest.mark.parametrize(
    "name",
    sorted(p.stem for p in (PACKAGE.parent / "bench").glob("*.py") if p.stem not in NEED_PEERS),
)
def test_every_bench_can_be_started(name: str) -> None:
    """Nothing else runs them in CI."""
    importlib.import_module(f"bench.{name}")
