"""docs/research.ipynb runs from top to bottom, and docs/research.md names every column."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from pumpwatch import research
from pumpwatch.research.study import COLUMNS
from tests.research.making import FIRST_NS, NS, Move, Shape, make_bundles

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TIMEOUT_S = 120


# zmq, below the kernel's client, and traitlets speak of event loops that are not ours.
@pytest.mark.filterwarnings("default")
def test_the_notebook_runs_and_finds_who_was_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves = {"okx_spot": Move(400.0, 8.0), "gate_spot": Move(5_000.0, 6.0)}
    make_bundles(tmp_path, [
        Shape(coin=coin, at_ns=FIRST_NS + number * 7_200 * NS, seed=number, moves=moves,
              feeds=("okx_spot", "gate_spot", "phemex_spot"), rate_per_s=8.0)
        for number, coin in enumerate(("POD", "AVA", "TIA"))
    ])  # fmt: skip
    monkeypatch.setenv("PUMPWATCH_DATA", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(DOCS / "research.ipynb", as_version=4)
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    outputs = [cell["outputs"] for cell in notebook.cells if cell.cell_type == "code"]
    assert all(outputs)
    assert sum("application/vnd.plotly.v1+json" in str(one) for one in outputs) == 2
    told = outputs[-1][0]["data"]["text/plain"]
    assert re.findall(r"[a-z]+_spot", told) == ["okx_spot", "gate_spot"]


def test_the_kept_notebook_holds_no_output() -> None:
    notebook = nbformat.read(DOCS / "research.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("columns", [research.EVENTS, research.TRADES, research.PANEL, COLUMNS])
def test_every_column_is_described(columns: dict[str, object]) -> None:
    text = (DOCS / "research.md").read_text()
    assert [name for name in columns if f"`{name}`" not in text] == []
    assert f"`research.VERSION` is {research.VERSION}." in text
