"""``sql``: one question to the database through the user who can only read."""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pumpwatch.cli_print import print_json, print_rows
from pumpwatch.config import Config
from pumpwatch.errors import PumpWatchError, UsageError
from pumpwatch.store.readonly import reading
from pumpwatch.store.server import running_address

FORMATS = ("table", "json", "csv", "parquet")


def ask(config: Config, query: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Column names and rows. Raises ServerError or StatementError."""
    with reading(running_address(config)) as connection, connection.cursor() as cursor:
        cursor.execute(query.encode())
        names = [column.name for column in cursor.description or ()]
        rows = cursor.fetchall() if cursor.description else []
    return names, [dict(zip(names, row, strict=True)) for row in rows]


def show(names: Sequence[str], rows: Sequence[dict[str, Any]], form: str, out: Path | None) -> None:
    """Print the answer, or write it to ``out``. Raises UsageError, OSError."""
    if form == "parquet":
        if out is None:
            raise UsageError("--format parquet: needs --out FILE")
        import polars as pl

        pl.DataFrame(rows, infer_schema_length=None).write_parquet(out)
    elif form == "csv":
        with out.open("w", newline="") if out else _Stdout() as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)
    elif out is not None:
        import msgspec

        if form == "table":
            raise UsageError("--out FILE: needs --format json, csv or parquet")
        out.write_bytes(msgspec.json.format(msgspec.json.encode(rows, enc_hook=str), indent=1))
    elif form == "json":
        print_json(rows)
    else:
        print_rows(rows, names)


class _Stdout:
    """stdout as a file that stays open."""

    def __enter__(self) -> Any:
        return sys.stdout

    def __exit__(self, *_details: object) -> None:
        sys.stdout.flush()


def run_psql(config: Config) -> None:
    """Become psql, as the user who can only read. Raises PumpWatchError where there is none."""
    program = shutil.which("psql")
    if program is None:
        raise PumpWatchError(
            "--psql: there is no psql on this machine: apt-get install postgresql-client"
        )
    address = running_address(config)
    environ = {**os.environ, "PGPASSWORD": address.readonly_password}
    command = [
        program, "-h", address.pg_host, "-p", str(address.pg_port), "-U", address.readonly_user,
        "qdb",
    ]  # fmt: skip
    os.execve(program, command, environ)
