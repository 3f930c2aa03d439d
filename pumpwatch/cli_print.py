"""What all verbs share: the --config and --json options, and how answers are printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pumpwatch.config import Config

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="Settings; else ./pumpwatch.toml, else defaults."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Row = Mapping[str, Any]


def load(path: Path | None) -> Config:
    """The settings of --config and the environment."""
    from pumpwatch.config import load_config

    return load_config(path, os.environ)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    import msgspec

    text = msgspec.json.format(msgspec.json.encode(document, enc_hook=str), indent=1)
    sys.stdout.write(text.decode() + "\n")


def print_rows(rows: Sequence[Row], columns: Sequence[str]) -> None:
    """An aligned table on stdout; numbers to the right, the last column as long as it is."""
    cells = [[_text(row.get(column)) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    right = [
        bool(rows) and all(isinstance(row.get(column), int | float) for row in rows)
        for column in columns
    ]
    for line in [list(columns), *cells]:
        padded = [
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        ]
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value)
    return " ".join(str(value).split())
