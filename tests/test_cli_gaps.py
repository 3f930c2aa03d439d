"""The verbs of the ledger against a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from pumpwatch.cli import main
from pumpwatch.errors import EXIT_GOOD, EXIT_NO
from pumpwatch.model import Gap
from pumpwatch.store import gap_rows
from pumpwatch.store.gap_rows import gap_row, read_needed_gaps
from pumpwatch.store.ilp_client import IlpClient, Outcome
from pumpwatch.store.schema import MIGRATIONS, apply_schema
from pumpwatch.store.schema_file import shapes_of
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql

pytestmark = pytest.mark.questdb

NOW_NS = 1_790_000_000_123_456_789
ROWS = [
    Gap(gap_id="one", opened_ns=NOW_NS, exchange="okx", market_type="spot", symbol="BTCUSDT",
        cause="cut", from_ns=NOW_NS - 5),
    Gap(gap_id="two", opened_ns=NOW_NS + 1, exchange="okx", market_type="futures",
        symbol="BTCUSDT", cause="id_jump", state="filled", first_id=3, last_id=4, missing=2,
        filled_rows=2, exact=True, reason="late", from_ns=1, to_ns=2, closed_ns=NOW_NS + 9),
    Gap(gap_id="three", opened_ns=NOW_NS + 2, exchange="gate", market_type="spot", symbol="*",
        cause="quarantine", from_ns=NOW_NS, to_ns=NOW_NS + 4),
]  # fmt: skip


@pytest.fixture
async def database(questdb_server: ServerAddress, monkeypatch: pytest.MonkeyPatch) -> ServerAddress:
    """The session's database with the rows above in its ledger, found as a running one."""
    sql, client = Sql(questdb_server), IlpClient(questdb_server)
    try:
        await apply_schema(sql, spool_is_empty=lambda: True)
        await sql.execute("TRUNCATE TABLE feed_gaps")
        verdict = await client.send(b"".join(map(gap_row, ROWS)))
        assert verdict.outcome is Outcome.ACCEPTED, verdict
        with trio.fail_after(60):
            while len(await read_needed_gaps(sql)) != 2:  # noqa: ASYNC110 - rows become visible
                await trio.sleep(0.05)
    finally:
        await client.aclose()
        await sql.aclose()
    monkeypatch.setattr(gap_rows, "running_address", lambda config: questdb_server)
    return questdb_server


@pytest.fixture
def ask(database: ServerAddress, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    def run(*arguments: str, code: int = EXIT_GOOD) -> Any:
        capsys.readouterr()  # the fixtures' log
        assert main(["gaps", *arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["gap_id"] for row in rows]


async def test_list_shows_the_newest_first_with_the_table_s_columns(
    ask: Callable[..., Any],
) -> None:
    rows = ask("list", "--late")
    assert ids(rows) == ["three", "two", "one"]
    assert set(rows[0]) == set(shapes_of(MIGRATIONS)["feed_gaps"].columns)
    assert rows[2]["opened_at"] == "2026-09-21T14:13:20.123456789Z"
    assert (rows[2]["to_ts"], rows[2]["first_id"], rows[2]["exact"]) == (None, None, False)
    assert (rows[1]["missing"], rows[1]["filled_rows"], rows[1]["reason"]) == (2, 2, "late")


async def test_list_can_be_narrowed(ask: Callable[..., Any]) -> None:
    assert ids(ask("list", "--open")) == ["three", "one"]
    assert ids(ask("list", "--feed", "okx_spot")) == ["one"]
    assert ids(ask("list", "--symbol", "BTCUSDT")) == ["one"]  # two's rows came by themselves
    assert ids(ask("list", "--symbol", "BTCUSDT", "--late")) == ["two", "one"]
    assert ids(ask("list", "--symbol", "*")) == ["three"]
    assert ids(ask("list", "--limit", "1")) == ["three"]


async def test_show_is_one_row_or_the_answer_no(ask: Callable[..., Any]) -> None:
    assert ids(ask("show", "two")) == ["two"]
    assert ask("show", "four", code=EXIT_NO) == []


async def test_both_print_a_table(
    database: ServerAddress, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["gaps", "list"]) == EXIT_GOOD
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["opened_at", "gap_id", "exchange"]
    assert len(lines) == 2
    assert main(["gaps", "show", "two"]) == EXIT_GOOD
    assert "reason" in capsys.readouterr().out


def test_retry_wants_to_know_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gaps", "retry"]) == 64
    assert "--open" in capsys.readouterr().err
    config = tmp_path / "pumpwatch.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n')
    assert main(["gaps", "retry", "--open", "--config", str(config)]) == 69  # nobody runs there
    assert "pumpwatch run" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--feed", "nope"], ["--symbol", "A B"], ["--limit", "0"]])
def test_what_cannot_be_meant_is_refused(arguments: list[str]) -> None:
    assert main(["gaps", "list", *arguments]) == 64
