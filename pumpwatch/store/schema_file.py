"""The files of schema/: one statement each, read into the shape that the tables then have."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from pumpwatch.errors import SchemaError

FILE_NAME = re.compile(r"(\d{3})_([a-z0-9_]+)\.sql")
COMMENT = re.compile(r"--[^\n]*")
TABLE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<table>\w+) \((?P<columns>.*)\) TIMESTAMP\((?P<timestamp>\w+)\)"
    r" PARTITION BY (?P<partition>\w+)(?: TTL (?P<ttl>\d+ \w+))? WAL"
    r" DEDUP UPSERT KEYS\((?P<keys>[\w, ]+)\)",
    re.IGNORECASE,
)
VIEW = re.compile(
    r"CREATE MATERIALIZED VIEW IF NOT EXISTS (?P<view>\w+) WITH BASE (?P<base>\w+)"
    r" REFRESH IMMEDIATE AS \((?P<query>.*)\)"
    r" PARTITION BY (?P<partition>\w+)(?: TTL (?P<ttl>\d+ \w+))?",
    re.IGNORECASE,
)
ADD_COLUMN = re.compile(
    r"ALTER TABLE (?P<table>\w+) ADD COLUMN (?:IF NOT EXISTS )?(?P<column>\w+) (?P<type>\w+)",
    re.IGNORECASE,
)
SET_TTL = re.compile(r"ALTER TABLE (?P<table>\w+) SET TTL (?P<ttl>\d+ \w+)", re.IGNORECASE)
ADDITIVE = (TABLE, VIEW, ADD_COLUMN)  # what old spool records fit into as well as new ones (R19)


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its number, its name and its only statement, without comments and line breaks."""

    number: int
    name: str
    statement: str

    @property
    def is_additive(self) -> bool:
        """Whether it only adds a table or a column, so that rows in the spool still fit (R19)."""
        return any(pattern.fullmatch(self.statement) for pattern in ADDITIVE)

    @property
    def added_column(self) -> tuple[str, str] | None:
        """Table and column, if that is what it adds."""
        match = ADD_COLUMN.fullmatch(self.statement)
        return (match["table"], match["column"]) if match else None


class TableShape(msgspec.Struct, frozen=True, kw_only=True):
    """What a table must look like. ``ttl`` as in "45 DAY"; empty: none."""

    name: str
    columns: dict[str, str]  # name -> type; a view's follow from its query
    timestamp: str
    partition: str
    ttl: str
    keys: frozenset[str]
    base: str = ""  # of a materialised view: the table it is made from
    query: str = ""  # and how


class _Place(Protocol):
    """A folder, or one inside a wheel."""

    @property
    def name(self) -> str: ...

    def iterdir(self) -> Iterable[_Place]: ...

    def read_text(self, encoding: str) -> str: ...


def schema_folder() -> _Place:
    """Beside the package in a checkout, inside it in a wheel."""
    beside = Path(__file__).resolve().parents[2] / "schema"
    if any(FILE_NAME.fullmatch(path.name) for path in beside.glob("*.sql")):
        return beside
    return importlib.resources.files("pumpwatch") / "schema"


def read_migrations(folder: _Place) -> tuple[Migration, ...]:
    """All files in order. Raises SchemaError where a number or a statement is missing."""
    found: list[Migration] = []
    for path in folder.iterdir():
        match = FILE_NAME.fullmatch(path.name)
        if match is not None:
            text = COMMENT.sub("", path.read_text(encoding="utf-8"))
            statements = [part for part in map(one_line, text.split(";")) if part]
            if len(statements) != 1:
                raise SchemaError(f"schema/{path.name}: holds {len(statements)} statements, not 1")
            found.append(Migration(number=int(match[1]), name=match[2], statement=statements[0]))
    found.sort(key=lambda migration: migration.number)
    numbers = [migration.number for migration in found]
    if not numbers or numbers != list(range(1, len(numbers) + 1)):
        raise SchemaError(f"schema/: numbers are {numbers}, not 1, 2, 3 …")
    return tuple(found)


def shapes_of(migrations: Sequence[Migration]) -> dict[str, TableShape]:
    """Every table as it is when all migrations were applied. Raises SchemaError."""
    shapes: dict[str, TableShape] = {}
    for migration in migrations:
        try:
            shape = _next_shape(migration.statement, shapes)
        except KeyError as error:
            raise SchemaError(
                f"schema/{migration.number:03d}_{migration.name}.sql: no table {error} before it"
            ) from None
        if shape is None:
            raise SchemaError(
                f"schema/{migration.number:03d}_{migration.name}.sql: a statement whose effect is"
                " not known to schema_file.py"
            )
        shapes[shape.name] = shape
    return shapes


def _next_shape(statement: str, shapes: dict[str, TableShape]) -> TableShape | None:
    if match := TABLE.fullmatch(statement):
        columns = dict(_column(text) for text in match["columns"].split(","))
        return TableShape(
            name=match["table"],
            columns=columns,
            timestamp=match["timestamp"],
            partition=match["partition"].upper(),
            ttl=ttl_text(match["ttl"]),
            keys=frozenset(key.strip() for key in match["keys"].split(",")),
        )
    if match := VIEW.fullmatch(statement):
        return TableShape(
            name=match["view"],
            columns={},
            timestamp=shapes[match["base"]].timestamp,
            partition=match["partition"].upper(),
            ttl=ttl_text(match["ttl"]),
            keys=frozenset(),
            base=match["base"],
            query=one_line(match["query"]),
        )
    if match := ADD_COLUMN.fullmatch(statement):
        shape = shapes[match["table"]]
        columns = {**shape.columns, match["column"]: match["type"].upper()}
        return msgspec.structs.replace(shape, columns=columns)
    if match := SET_TTL.fullmatch(statement):
        return msgspec.structs.replace(shapes[match["table"]], ttl=ttl_text(match["ttl"]))
    return None


def _column(text: str) -> tuple[str, str]:
    name, kind = text.split()
    return name, kind.upper()


def ttl_text(text: str | None) -> str:
    """As the server says it: "45 days" is "45 DAY"."""
    return "" if text is None else text.upper().rstrip("S")


def one_line(text: str) -> str:
    """With single spaces only."""
    return " ".join(text.split())
