"""SQL over the PostgreSQL wire, against a real server."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import aclosing
from types import FrameType

import psycopg
import pytest
import trio

from pumpwatch.errors import ServerError, StatementError
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql

pytestmark = pytest.mark.questdb

NOBODY = ServerAddress(
    http_url="http://127.0.0.1:1", pg_host="127.0.0.1", pg_port=1, user="u", password="p",
    readonly_user="r", readonly_password="p",
)  # fmt: skip
LONG_SQL = "SELECT sum(rnd_double()) FROM long_sequence(100000000000)"


async def test_rows_come_back_as_tuples_and_by_name(sql: Sql) -> None:
    assert await sql.query("SELECT 1, 'a'") == [(1, "a")]
    assert await sql.query_dicts("SELECT 1 AS one, 'a' AS letter") == [{"one": 1, "letter": "a"}]


async def test_parameters_are_values_and_never_sql(sql: Sql) -> None:
    text = "'; DROP TABLE trades; --"
    assert await sql.query("SELECT x, %s FROM long_sequence(2) WHERE x = %s", (text, 2)) == [
        (2, text)
    ]


async def test_a_percent_sign_without_parameters_is_itself(sql: Sql) -> None:
    assert await sql.query("SELECT 5 % 3") == [(2,)]


async def test_a_refused_statement_is_one_line_and_not_worth_a_retry(sql: Sql) -> None:
    with pytest.raises(StatementError, match="table does not exist") as caught:
        await sql.query("SELECT * FROM no_such_table")
    assert not caught.value.retry
    assert "\n" not in str(caught.value)
    assert await sql.query("SELECT 1") == [(1,)]


async def test_the_readonly_user_reads_and_changes_nothing(
    questdb_server: ServerAddress, sql: Sql
) -> None:
    await sql.execute("CREATE TABLE IF NOT EXISTS readonly_probe (a LONG)")
    async with aclosing(Sql(questdb_server, readonly=True)) as reader:
        assert await reader.query("SELECT count() FROM readonly_probe") == [(0,)]
        for statement in (
            "INSERT INTO readonly_probe VALUES (1)",
            "CREATE TABLE readonly_other (a LONG)",
            "ALTER TABLE readonly_probe ADD COLUMN b LONG",
            "TRUNCATE TABLE readonly_probe",
            "DROP TABLE readonly_probe",
        ):
            with pytest.raises(ServerError, match=r"(?i)denied|not permitted|read.?only"):
                await reader.execute(statement)
        assert await reader.query("SELECT count() FROM readonly_probe") == [(0,)]
    await sql.execute("INSERT INTO readonly_probe VALUES (1)")  # the statements were good ones
    assert await sql.query("SELECT count() FROM readonly_probe") == [(1,)]


async def test_nobody_there_is_worth_a_retry() -> None:
    with pytest.raises(ServerError, match="does not answer") as caught:
        await Sql(NOBODY).query("SELECT 1")
    assert caught.value.retry


async def test_a_question_survives_a_cut_connection_and_a_statement_does_not(
    questdb_server: ServerAddress,
) -> None:
    with Relay(questdb_server) as relay:
        async with aclosing(Sql(relay.address)) as sql:
            await sql.query("SELECT 1")
            relay.mute()  # the next bytes go nowhere, and the connection ends after they came
            assert await sql.query("SELECT 2") == [(2,)]
            assert relay.connections == 2
            relay.mute()
            with pytest.raises(ServerError, match="does not answer"):
                await sql.execute("SELECT 3")
            assert relay.connections == 2


async def test_a_server_that_went_away_in_between_costs_nothing(
    questdb_server: ServerAddress,
) -> None:
    with Relay(questdb_server) as relay:
        async with aclosing(Sql(relay.address)) as sql:
            await sql.query("SELECT 1")
            relay.cut()
            await sql.execute(
                "SELECT 2"
            )  # an execute is never tried twice: the end was seen before
            assert relay.connections == 2


async def test_a_timeout_ends_the_question_and_its_thread(questdb_server: ServerAddress) -> None:
    async with aclosing(Sql(questdb_server, timeout_s=0.3, connections_max=1)) as sql:
        before = threading.active_count()
        for _ in range(2):  # the second finds the only place free again
            with pytest.raises(ServerError, match=r"did not answer within 0\.3 s"):
                await sql.query(LONG_SQL)
        await until(lambda: _busy_threads() == 0)
        assert threading.active_count() <= before + 2  # trio keeps idle threads for a while


async def test_a_cancelled_question_leaves_nothing_behind(questdb_server: ServerAddress) -> None:
    async with aclosing(Sql(questdb_server)) as sql:
        with trio.move_on_after(0.2) as scope:
            await sql.query(LONG_SQL)
        assert scope.cancelled_caught
        await until(lambda: _busy_threads() == 0)
        assert await sql.query("SELECT 1") == [(1,)]


async def test_a_long_question_does_not_hold_up_a_short_one(questdb_server: ServerAddress) -> None:
    async with aclosing(Sql(questdb_server)) as sql, trio.open_nursery() as nursery:
        nursery.start_soon(sql.query, LONG_SQL)
        await until(lambda: _busy_threads() > 0)
        with trio.fail_after(20):
            assert await sql.query("SELECT 1") == [(1,)]
        nursery.cancel_scope.cancel()


async def test_default_credentials_are_refused(questdb_server: ServerAddress) -> None:
    def connect(user: str, password: str) -> None:
        psycopg.connect(
            host=questdb_server.pg_host, port=questdb_server.pg_port, dbname="qdb",
            user=user, password=password, connect_timeout=5,
        ).close()  # fmt: skip

    for user, password in (("admin", "quest"), ("user", "quest"), (questdb_server.user, "quest")):
        with pytest.raises(psycopg.OperationalError, match="invalid username/password"):
            connect(user, password)
    connect(questdb_server.user, questdb_server.password)


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - a thread ends it
            await trio.sleep(0.02)


def _busy_threads() -> int:
    """Threads that are inside psycopg right now."""
    return sum(
        any("psycopg" in name for name in _files(frame)) for frame in sys._current_frames().values()
    )


def _files(frame: FrameType | None) -> list[str]:
    names = []
    while frame is not None:
        names.append(frame.f_code.co_filename)
        frame = frame.f_back
    return names


class Relay:
    """A TCP relay in front of the database whose connections can be cut."""

    def __init__(self, target: ServerAddress) -> None:
        self._target = (target.pg_host, target.pg_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._is_mute = False
        self.connections = 0
        self.address = ServerAddress(
            http_url=target.http_url, pg_host="127.0.0.1",
            pg_port=self._listener.getsockname()[1], user=target.user, password=target.password,
            readonly_user=target.readonly_user, readonly_password=target.readonly_password,
        )  # fmt: skip
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Relay:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()
        for pair in self._pairs:
            for end in pair:
                end.close()

    def cut(self) -> None:
        """End all connections, as a server does that dies."""
        for pair in self._pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def mute(self) -> None:
        """Swallow the next bytes of the connections there are now, and cut them then."""
        self._is_mute = True

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.create_connection(self._target)
            self._pairs.append((client, server))
            for source, target in ((client, server), (server, client)):
                thread = threading.Thread(target=self._carry, args=(source, target))
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        while True:
            try:
                data = source.recv(65536)
                if data and self._is_mute:
                    self._is_mute = False
                    self.cut()
                    return
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:
                return
