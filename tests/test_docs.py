"""What stands under docs/ is true: queries run, names exist, pages are what the code makes."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest
import yaml

from pumpwatch.metrics import METRICS
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from pumpwatch.venues_page import render

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
QUERIES = re.findall(r"^## (\d+)\. (.+?)\n+```sql\n(.+?)```", (DOCS / "sql.md").read_text(),
                     re.MULTILINE | re.DOTALL)  # fmt: skip
KINDS = {metric.full_name: metric.kind for metric in METRICS}


def test_there_are_fifteen_questions() -> None:
    assert [int(number) for number, _, _ in QUERIES] == list(range(1, 16))


@pytest.mark.questdb
@pytest.mark.parametrize(("number", "title", "query"), QUERIES, ids=[q[0] for q in QUERIES])
async def test_each_question_is_answered(
    questdb_server: ServerAddress, number: str, title: str, query: str
) -> None:
    writer = Sql(questdb_server)
    await apply_schema(writer, spool_is_empty=lambda: True)
    await writer.aclose()
    reader = Sql(questdb_server, readonly=True)
    rows = await reader.query(query)
    await reader.aclose()
    assert isinstance(rows, list), (number, title)


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"pumpwatch_[a-z0-9_]+", expression))


def check(expression: str) -> None:
    assert names_in(expression), expression
    for name in names_in(expression):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        known = name if name in KINDS else base
        assert known in KINDS, f"{name} is no metric: {expression}"
        if known != name:
            assert KINDS[known] == "histogram", expression
        if KINDS[known] == "counter":
            assert re.search(rf"(sum\(|rate\(|increase\().*{name}", expression), expression


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    board = json.loads((DOCS / "grafana/pumpwatch.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    assert len(expressions) > 20
    for expression in expressions:
        check(expression)
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_panels_do_not_overlap() -> None:
    board = json.loads((DOCS / "grafana/pumpwatch.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_rules_ask_for_metrics_that_exist() -> None:
    document = yaml.safe_load((DOCS / "prometheus/pumpwatch.rules.yml").read_text())
    (group,) = document["groups"]
    for rule in group["rules"]:
        check(rule["expr"])
        assert rule["labels"]["severity"] in ("page", "notify")
        assert rule["annotations"]["summary"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])


def test_the_venues_page_is_what_the_code_says() -> None:
    assert (DOCS / "venues.md").read_text() == render(), (
        "python -m pumpwatch.venues_page > docs/venues.md"
    )


def test_the_unit_is_one_and_starts_what_exists() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DOCS / "systemd/pumpwatch.service")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert " -m pumpwatch run --config " in service["ExecStart"]
    assert " -m pumpwatch check --config " in service["ExecStartPre"]
    assert "-HUP" in service["ExecReload"]
    assert int(service["WatchdogSec"]) > 10
    assert service["User"] not in ("", "root")
    assert int(service["TimeoutStopSec"]) > 30  # system.shutdown_s, and the database's own end
