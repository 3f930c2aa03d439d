"""Questions without an event loop, as the user who may only read: verbs, notebooks, tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from pumpwatch.errors import ServerError, StatementError
from pumpwatch.store.server import ServerAddress

CONNECT_TIMEOUT_S = 5


@contextmanager
def reading(address: ServerAddress) -> Iterator[psycopg.Connection[Any]]:
    """A connection for the block.

    Raises ServerError where no database answers, StatementError where it refuses what it is asked.
    """
    try:
        with psycopg.connect(
            host=address.pg_host,
            port=address.pg_port,
            user=address.readonly_user,
            password=address.readonly_password,
            dbname="qdb",
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise ServerError(
            f"no database answers on {address.pg_host}:{address.pg_port}"
            f" (is `pumpwatch run` running on this data_dir?): {' '.join(str(error).split())}"
        ) from None
    except psycopg.Error as error:
        raise StatementError(f"the database refused: {str(error).splitlines()[0]}") from None


def query(address: ServerAddress, sql: str, params: Sequence[object]) -> list[dict[str, Any]]:
    """Rows by column. Raises ServerError, StatementError."""
    with reading(address) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(sql.encode(), params).fetchall()
