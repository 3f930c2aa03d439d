"""What ``status`` prints: every figure, states in colours, nothing wrapped where it is piped."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from pumpwatch.status_screen import PIPED_COLUMNS, draw_status

RED, GREEN, YELLOW = "\x1b[1;31m", "\x1b[32m", "\x1b[33m"


def feed(name: str, **other: Any) -> dict[str, Any]:
    return {
        "feed": name, "state": "running", "connections": 2, "subscribed": 475, "wanted": 475,
        "left_out": 0, "passed": 1_234_567, "rows_per_s": 1_500.4, "lag_ms": 12.3, "unchecked": 0,
        "gaps_suspected": 0, "gaps_confirmed": 0, "backfill": None, "error": "", **other,
    }  # fmt: skip


def document(**other: Any) -> dict[str, Any]:
    store = {
        "spool_state": "open", "spool_mib": 3.5, "buffered_rows": 7, "database": "up",
        "pending_rows": 1_007, "applied_rows": 397_590, "refused_rows": 0, "lag_p50_s": 0.5,
        "lag_p99_s": None,
    }  # fmt: skip
    return {
        "version": "3.0.0", "pid": 17, "state": "running", "at": "2026-11-25T20:11:52Z",
        "uptime_s": 134.3, "feeds": [feed("okx_spot")], "store": store, "daemon_rss_mib": 200.0,
        "database_rss_mib": 500.0, "differences": [], "upkeep": {}, **other,
    }  # fmt: skip


def drawn(shown: dict[str, Any], *, is_terminal: bool = False, width: int = PIPED_COLUMNS) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=is_terminal, width=width, highlight=False,
                      color_system="standard" if is_terminal else None)  # fmt: skip
    console.print(draw_status(shown))
    return out.getvalue()


def test_every_figure_stands_in_its_line() -> None:
    lines = drawn(document()).splitlines()
    assert lines[0] == "pumpwatch 3.0.0  running  pid 17  up 134 s  as of 2026-11-25T20:11:52Z"
    (row,) = [line.split() for line in lines if line.startswith("okx_spot")]
    assert row == ["okx_spot", "running", "2", "475/475", "0", "1,234,567", "1,500", "12", "0"]
    (database,) = [line for line in lines if line.startswith("database")]
    assert "1,007 rows pending, 397,590 applied, 0 refused" in database
    assert "p50 0.500 s p99 -" in database
    assert any(line.split(maxsplit=1) == ["balance", "every row accounted for"]
               for line in map(str.rstrip, lines))  # fmt: skip


def test_what_is_not_well_has_a_colour() -> None:
    well = drawn(document(), is_terminal=True)
    assert f"{GREEN}running" in well
    assert RED not in well
    assert YELLOW not in well
    ill = document(
        feeds=[feed("okx_spot", state="failing", error="no route", gaps_confirmed=3)],
        differences=["okx_spot: 5 rows parsed, 4 spooled"],
    )
    shown = drawn(ill, is_terminal=True)
    assert f"{RED}failing" in shown
    assert f"{RED}okx_spot: 5 rows parsed, 4 spooled" in shown
    assert "okx_spot: no route" in shown
    assert "3 holes are confirmed" in shown


def test_a_terminal_of_80_columns_holds_the_table() -> None:
    lines = drawn(document(), width=80).splitlines()
    assert "gaps" in lines[1]
    assert "rows/s" in lines[1]
