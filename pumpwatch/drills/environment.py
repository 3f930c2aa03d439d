"""The environment (D-00): the database as our own command makes it, made again on the same data.

Schema applied twice, a row that outlives the server, loopback only, every key of our server file in
effect, default credentials and unknown settings refused, memory that a question took given back to
the system. ``count`` is how often it is made again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import psycopg
import trio

from pumpwatch.config import Config, load_config
from pumpwatch.drills.months import database_before
from pumpwatch.drills.outcome import Order, Outcome
from pumpwatch.drills.stage import EMBEDDED_TOML
from pumpwatch.drills.trace import heap_mib_of, own_mib_of
from pumpwatch.errors import EXIT_CONFIG
from pumpwatch.store.embedded_files import TRIM_EVERY_MS, TRIM_OPTION
from pumpwatch.store.schema import SCHEMA_VERSION
from pumpwatch.store.server import ServerAddress, running_address
from pumpwatch.store.server_process import PidFile
from pumpwatch.store.sql import Sql

START_S_MAX = 120.0
CONF_FILE = Path("questdb/conf/server.conf")
DEFAULT = ("admin", "quest")
INSERT_SQL = (
    "INSERT INTO trades (timestamp, exchange, market_type, symbol, side, price, quantity,"
    " trade_id, sequence_number, origin) VALUES ('2026-01-01T00:00:00.000000001Z', 'okx', 'spot',"
    " 'ENVUSDT', 'buy', 1.5, 2.5, '{number}', {number}, 'stream')"
)
ROWS_SQL = "SELECT count() FROM trades WHERE symbol = 'ENVUSDT'"
VERSIONS_SQL = "SELECT count(), max(version) FROM schema_version"
# Its groups take memory beside Java's heap in pieces of which malloc's arenas keep 32 MiB for good,
# where there are several and nobody asks for it.
GREEDY_SQL = "SELECT count() FROM (SELECT x % 400000 k, count() FROM long_sequence(800000))"
GREEDY_TIMES = 3
KEPT_MIB_MAX = 10.0
SECRET = "password"  # in a key: the server does not show its value


async def run(order: Order) -> Outcome:
    """Make, look, end, make again; see the module."""
    outcome = Outcome()
    order.folder.mkdir(parents=True, exist_ok=True)
    file = order.folder / "pumpwatch.toml"
    toml = f'data_dir = "{order.folder / "data"}"\n{EMBEDDED_TOML}\n'
    await trio.Path(file).write_text(toml)
    config = load_config(file, {})
    for number in range(2):
        code, text = await _say("schema", "apply", "--config", str(file))
        outcome.expect(code == 0, f"schema apply, time {number + 1}: {code} {text}")
    versions: list[tuple[int, int]] = []
    keys = 0
    for number in range(order.count + 1):
        order.tell(f"server {number + 1} of {order.count + 1} on the same data")
        async with database_before(config) as sql:
            versions.append(tuple((await sql.query(VERSIONS_SQL))[0]))
            [(rows,)] = await sql.query(ROWS_SQL)
            outcome.expect(rows == number, f"{rows} rows after {number} servers")
            await sql.execute(INSERT_SQL.format(number=number))
            keys = await _check_parameters(outcome, sql, config)
            await _check_doors(outcome, running_address(config), config)
            if number == order.count:
                order.tell("a question that takes memory, and whether the server gives it back")
                await _check_given_back(outcome, sql, config)
    outcome.expect(
        len(set(versions)) == 1 and versions[0][1] == SCHEMA_VERSION,
        f"the schema was applied again: {versions}",
    )
    refusals = {
        "an unknown key": "nonsense = 1\n", "an unknown section": "[nonsense]\nkey = 1\n",
    }  # fmt: skip
    for what, text in refusals.items():
        bad = order.folder / "bad.toml"
        await trio.Path(bad).write_text(text + toml if what == "an unknown key" else toml + text)
        code, told = await _say("run", "--config", str(bad))
        outcome.expect(code == EXIT_CONFIG, f"{what}: exit code {code}: {told}")
    outcome.rows = order.count + 1
    outcome.figures |= {
        "servers": order.count + 1,
        "keys_in_effect": keys,
        "schema_version": versions[0][1],
    }
    return outcome


async def _say(*words: str) -> tuple[int, str]:
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-m", "pumpwatch", *words], capture_output=True, text=True,
            timeout=START_S_MAX, check=False, env=os.environ,
        )
    )  # fmt: skip
    return done.returncode, done.stderr[-300:]


async def _check_parameters(outcome: Outcome, sql: Sql, config: Config) -> int:
    """Every key of our file is what the server goes by; returns how many were compared."""
    text = await trio.Path(config.data_dir / CONF_FILE).read_text()
    ours = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and line[:1] != "#")
    shown = {row["property_path"]: row for row in await sql.query_dicts("SHOW PARAMETERS")}
    compared = 0
    for key, value in ours.items():
        row = shown.get(key)
        if row is None:
            outcome.expect(False, f"{key}: the server does not know it")
            continue
        outcome.expect(row["value_source"] == "conf", f"{key}: from {row['value_source']}")
        compared += 1
        if SECRET not in key:
            outcome.expect(str(row["value"]) == value, f"{key} is {row['value']}, not {value}")
    outcome.expect(compared > 0, "no key was compared")
    return compared


async def _check_doors(outcome: Outcome, address: ServerAddress, config: Config) -> None:
    """Only loopback listens, and nobody comes in by the passwords of the distribution."""
    known = PidFile.read(config.data_dir)
    assert known is not None
    doors = [
        one.laddr.ip
        for one in psutil.Process(known.pid).net_connections(kind="inet")
        if one.status == psutil.CONN_LISTEN
    ]
    outside = [ip for ip in doors if ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")]
    outcome.expect(bool(doors), "nothing listens")
    outcome.expect(not outside, f"listens outside of loopback: {outside}")
    async with httpx.AsyncClient(base_url=address.http_url, trust_env=False) as client:
        for credentials in (None, DEFAULT):
            answer = await client.get("/exec", params={"query": "select 1"}, auth=credentials)
            outcome.expect(
                answer.status_code in (401, 403),
                f"HTTP as {credentials}: {answer.status_code}",
            )
    is_refused = await trio.to_thread.run_sync(_is_refused, address)
    outcome.expect(is_refused, f"PGWire takes {DEFAULT[0]}/{DEFAULT[1]}")


async def _check_given_back(outcome: Outcome, sql: Sql, config: Config) -> None:
    """What a question took is back at the system within twice the interval, but for noise.

    A Java that cannot do it is told of, not judged.
    """
    known = PidFile.read(config.data_dir)
    assert known is not None
    can_trim = any(TRIM_OPTION in word for word in psutil.Process(known.pid).cmdline())

    def beyond_heap_mib() -> float:
        return own_mib_of(known.pid) - heap_mib_of(known.pid)

    before_mib, begun_s = beyond_heap_mib(), trio.current_time()
    for _ in range(GREEDY_TIMES):
        await sql.query(GREEDY_SQL)
    kept_mib = left_mib = beyond_heap_mib() - before_mib
    end_s = begun_s + 2 * TRIM_EVERY_MS / 1000
    while can_trim and left_mib > KEPT_MIB_MAX and trio.current_time() < end_s:
        await trio.sleep(1)
        left_mib = beyond_heap_mib() - before_mib
    is_back = left_mib <= KEPT_MIB_MAX or not can_trim
    outcome.expect(is_back, f"{left_mib:.1f} MiB are kept of a question")
    outcome.figures["memory_mib"] = {
        "kept": round(kept_mib, 1), "left": round(left_mib, 1), "trimmed": can_trim,
    }  # fmt: skip


def _is_refused(address: ServerAddress) -> bool:
    try:
        psycopg.connect(
            host=address.pg_host, port=address.pg_port, dbname="qdb", user=DEFAULT[0],
            password=DEFAULT[1], connect_timeout=5,
        ).close()  # fmt: skip
    except psycopg.OperationalError:
        return True
    return False
