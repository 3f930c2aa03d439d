"""The migration while the daemon runs: where reads go, what is kept, what a restart finds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from pumpwatch.config_migration import MigrationConfig
from pumpwatch.errors import ServerError
from pumpwatch.migrate.compare import MS_NS, compare_feed
from pumpwatch.migrate.desk import PLACE_SQL, MigrationDesk, Standing, load_place
from pumpwatch.migrate.event_folder import find_folders
from pumpwatch.migrate.frames import frame_sender
from pumpwatch.migrate.importer import Importer
from pumpwatch.migrate.legacy_store import SIDE_NS, LegacyStore
from pumpwatch.migrate.shadow import Shadow
from pumpwatch.migrate.stages import DAY_NS, Place, Refusal
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.operations import DirectSink
from pumpwatch.store.partitions import wait_applied
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.migrate.folders import FEEDS, TRIGGER_MS, metadata, trade, write_folder
from tests.migrate.test_importer import LATEST_NS, VALUES

CONFIG = MigrationConfig(stages="10:0 50:0 100:0 100:0", comparisons_min=1)
NOT_BEGUN = Place()


class Hand:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now_ns = 1_000 * DAY_NS

    def wall_ns(self) -> int:
        return self.now_ns


class Rows:
    """A sink that keeps the rows."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    async def put(self, line: bytes) -> None:
        self.lines.append(line)


def desk_of(
    tmp_path: Path, sink: Any, place: Place = NOT_BEGUN, disk_percent: float = 10.0
) -> MigrationDesk:
    store = LegacyStore(tmp_path, VALUES, LATEST_NS)
    shadow = Shadow(store, None, Hand(), random.Random(1), tmp_path / "m.jsonl")  # type: ignore[arg-type]
    return MigrationDesk(
        CONFIG, place, shadow, Hand(), sink, tmp_path / "status.json", lambda: disk_percent
    )


async def old_answer() -> str | None:
    return "old"


async def no_answer() -> str | None:
    return None


async def new_answer() -> str:
    return "new"


async def failing() -> str:
    raise ServerError("no database answers")


@pytest.mark.parametrize(
    ("stage", "questdb", "legacy", "wanted"),
    [
        (0, new_answer, old_answer, ("old", "legacy")),
        (0, new_answer, no_answer, ("new", "questdb")),
        (3, new_answer, old_answer, ("new", "questdb")),
        (3, failing, old_answer, ("old", "legacy_fallback")),
        (3, failing, no_answer, None),
        (4, failing, old_answer, None),
    ],
)
async def test_where_a_question_goes(
    tmp_path: Path, stage: int, questdb: Any, legacy: Any, wanted: tuple[str, str] | None
) -> None:
    desk = desk_of(tmp_path, Rows(), Place(stage=stage))
    if wanted is None:
        with pytest.raises(ServerError):
            await desk.ask("AVAUSDT|1|2", questdb, legacy)
    else:
        assert await desk.ask("AVAUSDT|1|2", questdb, legacy) == wanted


async def test_failing_reads_step_back_once_with_one_alert(tmp_path: Path) -> None:
    rows = Rows()
    desk = desk_of(tmp_path, rows, Place(stage=3))
    with capture_logs() as logs:
        for _ in range(5):
            for number in range(20):
                await desk.ask(f"{number}", failing if number < 2 else new_answer, old_answer)
            await desk.check()
    assert desk.migration.place.stage == 2
    (told,) = [line for line in logs if line["event"] == "migration_rolled_back"]
    assert "10.0% of reads failed" in told["cause"]
    assert len(rows.lines) == 1
    standing = msgspec.json.decode((tmp_path / "status.json").read_bytes(), type=Standing)
    assert standing.place == desk.migration.place
    assert standing.read_percent == 50


async def test_slow_reads_and_a_full_disk_count_as_bad(tmp_path: Path, autojump_clock: Any) -> None:
    async def slow() -> str:
        await trio.sleep(0.6)
        return "new"

    desk = desk_of(tmp_path, Rows(), Place(stage=3))
    for _ in range(3):
        await desk.ask("x", slow, old_answer)
        await desk.check()
    assert "read p99 600 ms" in desk.migration.place.cause
    full = desk_of(tmp_path, Rows(), Place(stage=3), disk_percent=96.0)
    for _ in range(3):
        await full.check()
    assert "disk 96.0 %" in full.migration.place.cause


async def test_forward_wants_a_comparison_of_this_stage(tmp_path: Path) -> None:
    desk = desk_of(tmp_path, Rows())
    await desk.check()
    with pytest.raises(Refusal, match="0 of 1 windows"):
        await desk.advance()
    desk.shadow.tally.add([compare_feed("okx_spot", [], [])])
    await desk.check()
    assert (await desk.advance()).stage == 1
    await desk.check()
    with pytest.raises(Refusal, match="0 of 1 windows"):
        await desk.advance()


@pytest.mark.questdb
async def test_both_stores_are_compared_and_the_place_survives(
    questdb_server: ServerAddress, tmp_path: Path
) -> None:
    names = {("okx", "futures"): "0GUSDTSWAP", ("kucoin", "futures"): "0GUSDTM"}
    trades = {
        feed: [trade(*feed, n, symbol=names.get(feed, "0GUSDT")) for n in range(300)]
        for feed in FEEDS
    }
    write_folder(tmp_path / "old", "0G_20250922_045000", trades, told=metadata())
    sql, sender = Sql(questdb_server), IlpClient(questdb_server)
    try:
        await apply_schema(sql, spool_is_empty=lambda: True)
        await sql.execute("TRUNCATE TABLE archive_trades")
        importer = Importer(
            sql, sender, frame_sender(questdb_server), tmp_path / "refused", VALUES, LATEST_NS
        )
        await importer.store(find_folders(tmp_path / "old")[0])
        store = LegacyStore(tmp_path / "old", VALUES, LATEST_NS)
        path = tmp_path / "differences.jsonl"
        shadow = Shadow(store, sql, Hand(), random.Random(7), path)
        for _ in range(10):
            assert await shadow.step()
        assert shadow.tally.differences == 0
        assert set(shadow.tally.feeds) == {"_".join(feed) for feed in FEEDS}
        assert sum(one.equal for one in shadow.tally.feeds.values()) > 1000
        assert not path.exists()
        # The control: one row gone and one with another price are found, both sides kept.
        await sql.execute(
            "UPDATE archive_trades SET price = 99 WHERE trade_id = '1150' AND exchange = 'bybit'"
            " AND market_type = 'spot'"
        )
        await wait_applied(sql, "archive_trades")
        while not shadow.tally.differences:
            await shadow.step()
        (kept,) = msgspec.json.decode(path.read_bytes().splitlines()[0])["feeds"]
        assert (kept["feed"], kept["fields"]) == ("bybit_spot", {"price": 1})
        assert kept["kept"][0]["new"]["price"] == 99.0

        assert await load_place(sql) == Place()
        desk = desk_of(tmp_path, DirectSink(sender))
        desk.shadow.tally.add([compare_feed("okx_spot", [], [])])
        await desk.check()
        place = await desk.advance()
        await wait_applied(sql, "operations")
        assert await load_place(sql) == place
        assert len(await sql.query(PLACE_SQL)) == 1
    finally:
        await sender.aclose()
        await sql.aclose()


async def test_a_part_of_a_span_is_not_the_old_stores_to_answer(tmp_path: Path) -> None:
    rows = {("bybit", "spot"): [trade("bybit", "spot", n) for n in range(300)]}
    write_folder(tmp_path, "0G_20250922_045000", rows, told=metadata())
    store = LegacyStore(tmp_path, VALUES, LATEST_NS)
    event_ns = TRIGGER_MS * MS_NS
    whole = store.window(["0GUSDT"], event_ns - SIDE_NS, event_ns + SIDE_NS)
    assert whole is not None
    assert len(whole.rows) == 300
    assert store.window(["0GUSDT"], event_ns - SIDE_NS - 1, event_ns) is None
    assert store.window(["0GUSDT"], event_ns, event_ns + SIDE_NS + 1) is None
    assert store.window(["AVAUSDT"], event_ns - SIDE_NS, event_ns) is None
