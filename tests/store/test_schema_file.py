"""Reading schema/*.sql: order, one statement a file, and what the tables become."""

from __future__ import annotations

from pathlib import Path

import pytest

from pumpwatch.errors import SchemaError
from pumpwatch.store.schema import MIGRATIONS, TABLES, VERSION_TABLE
from pumpwatch.store.schema_file import Migration, read_migrations, schema_folder, shapes_of

TABLE = """-- why; it exists
CREATE TABLE IF NOT EXISTS t (at TIMESTAMP_NS, name SYMBOL) -- a note
TIMESTAMP(at) PARTITION BY DAY WAL DEDUP UPSERT KEYS(at, name);
"""


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.sql").write_text(text)
    return folder


def migrations(*statements: str) -> list[Migration]:
    return [
        Migration(number=number, name="x", statement=" ".join(statement.split()))
        for number, statement in enumerate(statements, 1)
    ]


def test_a_file_is_one_statement_without_its_comments(tmp_path: Path) -> None:
    (migration,) = read_migrations(write(tmp_path, **{"001_t": TABLE}))
    assert (migration.number, migration.name) == (1, "t")
    assert migration.statement == (
        "CREATE TABLE IF NOT EXISTS t (at TIMESTAMP_NS, name SYMBOL) TIMESTAMP(at)"
        " PARTITION BY DAY WAL DEDUP UPSERT KEYS(at, name)"
    )


def test_files_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    files = {f"{number:03d}_t": TABLE for number in (11, 2, 1, 10, 3, 4, 9, 8, 7, 6, 5)}
    found = read_migrations(write(tmp_path, **files, README="no number: not ours"))
    assert [migration.number for migration in found] == list(range(1, 12))


@pytest.mark.parametrize(
    ("files", "part"),
    [
        ({}, r"numbers are \[\]"),
        ({"002_t": TABLE}, r"numbers are \[2\]"),
        ({"001_t": TABLE, "003_t": TABLE}, r"numbers are \[1, 3\]"),
        ({"001_t": TABLE, "001_u": TABLE}, r"numbers are \[1, 1\]"),
        ({"001_t": TABLE + TABLE}, "holds 2 statements"),
        ({"001_t": "-- nothing"}, "holds 0 statements"),
    ],
)
def test_a_folder_that_cannot_be_applied_is_refused(
    tmp_path: Path, files: dict[str, str], part: str
) -> None:
    with pytest.raises(SchemaError, match=part):
        read_migrations(write(tmp_path, **files))


@pytest.mark.parametrize(
    ("statement", "is_additive"),
    [
        ("ALTER TABLE trades ADD COLUMN note VARCHAR", True),
        ("ALTER TABLE trades ADD COLUMN IF NOT EXISTS note VARCHAR", True),
        ("ALTER TABLE trades SET TTL 60 DAYS", False),
        ("ALTER TABLE trades DROP COLUMN kind", False),
        ("ALTER TABLE trades RENAME COLUMN kind TO sort", False),
        ("ALTER TABLE trades ALTER COLUMN price TYPE VARCHAR", False),
        ("ALTER TABLE trades DEDUP DISABLE", False),
        ("DROP TABLE trades", False),
        ("RENAME TABLE trades TO old", False),
        ("TRUNCATE TABLE trades", False),
        ("UPDATE trades SET kind = 'x'", False),
        ("INSERT INTO trades SELECT * FROM archive_trades", False),
        ("CREATE TABLE t AS (SELECT * FROM trades)", False),
        ("CREATE TABLE t (a LONG)", False),
        ("ALTER TABLE trades ADD COLUMN note VARCHAR, DROP COLUMN kind", False),
    ],
)
def test_only_new_tables_and_columns_leave_spooled_rows_alone(
    statement: str, is_additive: bool
) -> None:
    (migration,) = migrations(statement)
    assert migration.is_additive == is_additive


def test_all_files_of_this_version_add_only_and_may_run_twice() -> None:
    for migration in MIGRATIONS:
        assert migration.is_additive, migration.name
        assert "IF NOT EXISTS" in migration.statement, migration.name


def test_a_table_is_what_its_file_and_the_later_ones_say() -> None:
    shape = shapes_of(
        migrations(
            """CREATE TABLE IF NOT EXISTS t (at timestamp_ns, name SYMBOL, size DOUBLE)
            TIMESTAMP(at) PARTITION BY HOUR TTL 45 DAYS WAL DEDUP UPSERT KEYS(at, name)""",
            "ALTER TABLE t ADD COLUMN note varchar",
            "ALTER TABLE t SET TTL 2 WEEKS",
        )
    )["t"]
    assert shape.columns == {
        "at": "TIMESTAMP_NS", "name": "SYMBOL", "size": "DOUBLE", "note": "VARCHAR",
    }  # fmt: skip
    assert (shape.timestamp, shape.partition, shape.ttl) == ("at", "HOUR", "2 WEEK")
    assert shape.keys == {"at", "name"}


@pytest.mark.parametrize(
    ("statement", "part"),
    [
        ("ALTER TABLE t ADD COLUMN a LONG", "no table 't' before it"),
        ("ALTER TABLE t DROP COLUMN a", "effect is not known"),
        ("CREATE TABLE t (a LONG)", "effect is not known"),  # no WAL, no keys
    ],
)
def test_a_file_whose_effect_is_not_known_is_refused(statement: str, part: str) -> None:
    with pytest.raises(SchemaError, match=part):
        shapes_of(migrations(statement))


def test_every_table_has_its_rules() -> None:
    """DESIGN section 4: designated timestamp, keys with it, revision where rows are upserted."""
    shapes = shapes_of(MIGRATIONS)
    assert set(shapes) == {*TABLES, VERSION_TABLE, "trades_1s"}
    for shape in shapes.values():
        if shape.base:
            continue
        assert shape.columns[shape.timestamp] == "TIMESTAMP_NS", shape.name
        assert shape.timestamp in shape.keys, shape.name
        assert shape.keys <= set(shape.columns), shape.name
    assert {name for name, shape in shapes.items() if shape.ttl} == {"trades", "trades_1s"}
    upserted = {"instruments", "feed_gaps", "listing_events", "operations"}
    assert {name for name, shape in shapes.items() if "revision" in shape.columns} == upserted
    for twin in ("event_trades", "archive_trades"):
        assert shapes[twin].columns == shapes["trades"].columns
        assert shapes[twin].keys == shapes["trades"].keys


def test_table_numbers_never_change() -> None:
    assert TABLES == {
        "trades": 1, "instruments": 2, "feed_gaps": 3, "exchange_health": 4, "listing_events": 5,
        "quarantine": 6, "operations": 7, "event_trades": 8, "archive_trades": 9,
    }  # fmt: skip


def test_the_files_are_found_beside_the_package() -> None:
    assert read_migrations(schema_folder()) == MIGRATIONS
