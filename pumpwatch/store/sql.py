"""SQL over the PostgreSQL wire: psycopg in threads, for every part that asks the database."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psycopg
import trio
from psycopg.rows import dict_row, tuple_row

from pumpwatch.errors import ServerError, StatementError
from pumpwatch.store.server import ServerAddress

QUERY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 5
CONNECTIONS_MAX = 4  # of one Sql: a long question must not hold up the watch on the WAL

Answer = TypeVar("Answer")
Task = Callable[["psycopg.Connection[Any]"], Answer]


class Sql:
    """Questions and statements as one of the two users; connections are opened as needed.

    A lost connection is made again. ``%s`` stands for a parameter. Every method raises
    StatementError when the server refuses the statement, and ServerError (worth a retry) when it
    does not answer.
    """

    def __init__(
        self,
        address: ServerAddress,
        *,
        readonly: bool = False,
        timeout_s: float = QUERY_TIMEOUT_S,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        self._address = address
        self._readonly = readonly
        self._timeout_s = timeout_s
        self._limit = trio.CapacityLimiter(connections_max)
        self._idle: list[_Line] = []

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Rows of a question; it is asked twice if the connection proves dead."""

        def task(connection: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
            with connection.cursor(row_factory=tuple_row) as cursor:
                return cursor.execute(sql, params or None).fetchall()

        return await self._ask_twice(task)

    async def query_dicts(self, sql: str, params: Sequence[object] = ()) -> list[dict[str, Any]]:
        """As query, each row by its columns' names."""

        def task(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
            with connection.cursor(row_factory=dict_row) as cursor:
                return cursor.execute(sql, params or None).fetchall()

        return await self._ask_twice(task)

    async def execute(self, sql: str, params: Sequence[object] = ()) -> None:
        """Run a statement once: after a lost connection nobody knows whether it was done."""

        def task(connection: psycopg.Connection[Any]) -> None:
            connection.execute(sql, params or None)

        await self._run(task)

    async def aclose(self) -> None:
        """Close what is idle; what still runs closes itself."""
        idle, self._idle = self._idle, []
        for line in idle:
            line.close()
        await trio.lowlevel.checkpoint()

    async def _ask_twice(self, task: Task[Answer]) -> Answer:
        try:
            return await self._run(task)
        except _LostConnectionError:
            return await self._run(task)

    async def _run(self, task: Task[Answer]) -> Answer:
        async with self._limit:
            call = _Call(self._take_idle(), self._connect, task)
            is_answered = False
            try:
                with trio.fail_after(self._timeout_s):
                    answer: Answer = await trio.to_thread.run_sync(call.run, abandon_on_cancel=True)
                is_answered = True
            except trio.TooSlowError:
                place = f"{self._address.pg_host}:{self._address.pg_port}"
                raise ServerError(
                    f"the database on {place} did not answer within {self._timeout_s:g} s"
                ) from None
            finally:
                if not is_answered:
                    call.abandon()
            assert call.line is not None
            self._idle.append(call.line)
            return answer

    def _take_idle(self) -> _Line | None:
        while self._idle:
            line = self._idle.pop()
            if line.is_sound():
                return line
            line.close()
        return None

    def _connect(self) -> _Line:
        address = self._address
        return _Line(
            psycopg.connect(
                host=address.pg_host,
                port=address.pg_port,
                user=address.readonly_user if self._readonly else address.user,
                password=address.readonly_password if self._readonly else address.password,
                dbname="qdb",  # any name will do, but libpq would take the user's
                autocommit=True,
                connect_timeout=CONNECT_TIMEOUT_S,
                prepare_threshold=None,  # named statements outlive a change of their table
            )
        )


class _LostConnectionError(ServerError):
    """An idle connection was dead; a new one may well answer."""


class _Line:
    """A connection, and a second handle of its socket by which another thread can end it.

    Closing a connection under the thread that uses it is not safe, nor is its file number: libpq
    may have closed it, and the number may be another socket's by now.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._twin = socket.socket(fileno=os.dup(connection.fileno()))

    def is_sound(self) -> bool:
        """False once the server has gone: an idle connection has nothing to read but its end."""
        poll = select.poll()
        poll.register(self._twin.fileno(), select.POLLIN)
        return not self.connection.closed and not poll.poll(0)

    def shut(self) -> None:
        """Wake the thread that waits on this connection: it reads an end of file."""
        with contextlib.suppress(OSError):
            self._twin.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        self.connection.close()
        self._twin.close()


class _Call:
    """One task in a thread, on a connection that belongs to the thread while it runs."""

    def __init__(self, line: _Line | None, connect: Callable[[], _Line], task: Task[Any]) -> None:
        self.line = line
        self._was_idle = line is not None
        self._connect = connect
        self._task = task
        self._lock = threading.Lock()
        self._is_done = False  # the connection is open, and the caller's
        self._is_abandoned = False  # nobody waits any more: the thread closes the connection

    def run(self) -> Any:
        """Ask; leaves an open connection behind only where all went well."""
        try:
            answer = self._ask()
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            kind = _LostConnectionError if self._was_idle else ServerError
            raise kind(f"the database does not answer: {_one_line(error)}") from error
        except psycopg.Error as error:
            raise StatementError(f"the database refused: {_one_line(error)}") from error
        except UnicodeError as error:  # a text that came in as broken UTF-8 over ILP
            raise StatementError(f"a stored text is no UTF-8: {error}") from error
        finally:
            self._end()
        return answer

    def _ask(self) -> Any:
        if self.line is None:
            self.line = self._connect()
        if self._is_abandoned:
            return None
        answer = self._task(self.line.connection)
        self._is_done = True
        return answer

    def _end(self) -> None:
        with self._lock:
            self._is_done = self._is_done and not self._is_abandoned
            if not self._is_done and self.line is not None:
                self.line.close()

    def abandon(self) -> None:
        """Make the thread end soon, and see that the connection is closed."""
        with self._lock:
            self._is_abandoned = True
            if self.line is None:
                return
            self.line.shut()
            if self._is_done:
                self.line.close()
                self._is_done = False


def _one_line(error: Exception) -> str:
    """The server's words without the picture of the statement that follows them."""
    lines = [line.strip() for line in str(error).splitlines()]
    words = [line for line in lines if line and not line.startswith(("LINE ", "^"))]
    return " ".join(words[:2]) or type(error).__name__
