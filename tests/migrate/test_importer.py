"""Ten folders with each known defect of the original give exactly the expected rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from pumpwatch.errors import ServerError, UsageError
from pumpwatch.migrate import importer as importing
from pumpwatch.migrate.event_folder import find_folders, read_metadata, rfc3339_ns
from pumpwatch.migrate.frames import frame_sender
from pumpwatch.migrate.importer import Importer, Values, read_folder
from pumpwatch.migrate.journal import Entry, Journal
from pumpwatch.store.ilp_client import IlpClient
from pumpwatch.store.schema import apply_schema
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from tests.migrate.folders import FEEDS, TRIGGER_MS, metadata, trade, write_folder

LATEST_NS = TRIGGER_MS * 10**6 + 10**12
TRIGGER_NS = TRIGGER_MS * 10**6
VALUES: Values = {
    ("okx", "futures"): {"0GUSDT": Decimal("0.1")},
    ("kucoin", "futures"): {"0GUSDT": Decimal(10)},
    ("gate", "futures"): {"0GUSDT": Decimal(1)},
}
Trades = Mapping[tuple[str, str], Sequence[object]]


def of_all_feeds(count: int, **changes: Any) -> dict[tuple[str, str], list[object]]:
    names = {("okx", "futures"): "0GUSDTSWAP", ("kucoin", "futures"): "0GUSDTM"}
    return {
        feed: [trade(*feed, n, symbol=names.get(feed, "0GUSDT"), **changes) for n in range(count)]
        for feed in FEEDS
    }


def constructed(root: Path) -> None:
    """Ten events; the time of day keeps their rows apart."""

    def at(event: int) -> dict[str, int]:
        return {"timestamp": TRIGGER_MS + event * 60_000}

    write_folder(root, "0G_20250922_045000", of_all_feeds(40), told=metadata())
    write_folder(root, "0G_20250922_045100", of_all_feeds(3), told=metadata(), is_flat=True)
    write_folder(root, "EMPTY_20250922_045200", {}, told=metadata("EMPTY"))
    repeat = trade("bybit", "spot", 1, **at(3))
    write_folder(
        root, "REP_20250922_045300",
        {("bybit", "spot"): [repeat, repeat, repeat | {"price": "9"}]}, told=metadata("REP"),
    )  # fmt: skip
    odd = [
        trade("gate", "spot", 1, price="x", **at(4)),
        trade("gate", "spot", 2, side="none", **at(4)),
        "no record",
        trade("gate", "spot", 3, **at(4)),
        trade("okx", "spot", 4, **at(4)),
    ]
    write_folder(root, "ODD_20250922_045400", {("gate", "spot"): odd}, told=metadata("ODD"))
    unknown = [trade("okx", "futures", 1, symbol="NEWUSDTSWAP", **at(5))]
    write_folder(root, "NEW_20250922_045500", {("okx", "futures"): unknown}, told=metadata("NEW"))
    other = [
        trade("bybit", "spot", n, symbol=s, **at(6)) for n, s in enumerate(("OLUSDT", "SOLUSDT"))
    ]
    write_folder(root, "OL_20250922_045600", {("bybit", "spot"): other}, told=metadata("OL"))
    micro = [trade("phemex", "spot", 1, symbol="s0GUSDT", timestamp=(TRIGGER_MS + 420_000) * 1000)]
    write_folder(root, "0G_20250922_045700", {("phemex", "spot"): micro}, told=metadata())
    twins = [trade("phemex", "futures", 1, trade_id="", **at(8))] * 2
    write_folder(root, "0G_20250922_045800", {("phemex", "futures"): twins})  # no metadata
    invented = metadata(notice_url="internal://pumpwatch", title="")
    folder = write_folder(
        root, "0G_20250922_045900", {("bybit", "futures"): [trade("bybit", "futures", 1, **at(9))]},
        told=invented,
    )  # fmt: skip
    whole = json.dumps([trade("kucoin", "spot", n, **at(9)) for n in range(4)], indent=2)
    (folder / "raw/kucoin/spot.json").write_text(whole[: whole.rindex('"price"')])
    (folder / "raw/notes.txt").write_text("mine")


WANTED = {  # folder: state, read, stored, repeated, refused, other coins
    "0G_20250922_045000": ("stored", 480, 480, 0, 0, 0),
    "0G_20250922_045100": ("stored", 36, 36, 0, 0, 0),
    "0G_20250922_045700": ("stored", 1, 1, 0, 0, 0),
    "0G_20250922_045800": ("stored", 2, 2, 0, 0, 0),
    "0G_20250922_045900": ("stored", 5, 4, 0, 1, 0),
    "EMPTY_20250922_045200": ("empty", 0, 0, 0, 0, 0),
    "NEW_20250922_045500": ("empty", 1, 0, 0, 1, 0),
    "ODD_20250922_045400": ("stored", 5, 1, 0, 4, 1),
    "OL_20250922_045600": ("stored", 2, 2, 0, 0, 1),
    "REP_20250922_045300": ("stored", 3, 1, 1, 1, 1),
}


@pytest.mark.questdb
async def test_folders_give_exactly_the_expected_rows(
    questdb_server: ServerAddress, tmp_path: Path
) -> None:
    sql, sender = Sql(questdb_server), IlpClient(questdb_server)
    constructed(tmp_path / "old")
    folders = find_folders(tmp_path / "old")
    assert [folder.name for folder in folders] == sorted(WANTED)
    try:
        await apply_schema(sql, spool_is_empty=lambda: True)
        importer = Importer(
            sql, sender, frame_sender(questdb_server), tmp_path / "refused", VALUES, LATEST_NS
        )
        for again in (False, True):
            reports = [await importer.store(folder) for folder in folders]
            got = {
                one.folder: (one.state, one.read, one.stored, one.repeated, one.refused,
                             one.other_coins)
                for one in reports
            }  # fmt: skip
            assert got == WANTED, f"again: {again}"
        await check_rows(sql)
        await check_events(sql)
        await check_refused(sql, tmp_path / "refused")
    finally:
        await sender.aclose()
        await sql.aclose()


async def check_rows(sql: Sql) -> None:
    ((count,),) = await sql.query("SELECT count() FROM archive_trades")
    # The second folder tells the same trades as the first ones of the first.
    assert count == sum(wanted[2] for wanted in WANTED.values()) - 36
    rows = await sql.query(
        "SELECT exchange, market_type, symbol, side, price, quantity, kind, origin,"
        f" received_at::long FROM archive_trades WHERE timestamp = {TRIGGER_NS - 19_993_000_000}"
        " ORDER BY exchange, market_type"
    )
    assert len(rows) == len(FEEDS)
    by_feed = {(row[0], row[1]): row[2:] for row in rows}
    received_ns = TRIGGER_NS - 19_893_000_000
    plain = ("0GUSDT", "buy", 2.0001, 2.5, None, "import", received_ns)
    assert by_feed["bybit", "spot"] == plain
    assert by_feed["binance", "futures"] == ("0GUSDT", "sell", *plain[2:])
    assert by_feed["okx", "futures"] == (*plain[:3], 0.25, "aggregate", *plain[5:])
    assert by_feed["kucoin", "futures"] == (*plain[:3], 25.0, *plain[4:])
    ((twins,),) = await sql.query(
        "SELECT count() FROM archive_trades WHERE exchange = 'phemex'"
        f" AND timestamp = {TRIGGER_NS + 480_000_000_000}"
    )
    assert twins == 2


async def check_events(sql: Sql) -> None:
    rows = await sql.query(
        "SELECT notice_id, symbol, state, certificate, announced_at::long, detected_at::long,"
        " collected_trades, exchanges_with_data, url FROM listing_events WHERE source = 'import'"
    )
    events = {row[0]: row[1:] for row in rows}
    assert set(events) == set(WANTED)
    assert events["0G_20250922_045000"] == (
        "0G", "imported", None, TRIGGER_NS, TRIGGER_NS + 13_250_000_000, 480, 12,
        "https://upbit.com/service_center/notice?id=1",
    )  # fmt: skip
    assert events["0G_20250922_045800"][3] == TRIGGER_NS  # told by the trades
    assert events["0G_20250922_045900"][7] in (None, "")  # the original's own invention


async def check_refused(sql: Sql, folder: Path) -> None:
    rows = await sql.query("SELECT detail, reason, rows FROM quarantine ORDER BY received_at")
    details = [row[0] for row in rows]
    assert len(details) == sum(wanted[4] for wanted in WANTED.values())
    odd = [one for one in details if one.startswith("ODD_")]
    assert odd[0] == "ODD_20250922_045400/raw/gate/spot.json:2: price 'x' is no amount"
    assert "exchange is 'okx' in a file of gate_spot" in odd[3]
    assert any("contracts" in one for one in details)
    assert any("cut off or broken" in one for one in details)
    files = {name for name, wanted in WANTED.items() if wanted[4]}
    assert {path.stem for path in folder.glob("*")} == files  # noqa: ASYNC240


async def test_rows_that_the_table_does_not_show_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def applied(*_: object, **__: object) -> None: ...

    class Blind:
        async def query(self, sql: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
            return []

        async def execute(self, sql: str, params: Sequence[object] = ()) -> None: ...

    monkeypatch.setattr(importing, "wait_applied", applied)
    folder = write_folder(tmp_path, "0G_20250922_045000", of_all_feeds(1), told=metadata())
    importer = Importer(
        Blind(), None, lambda rows: None, tmp_path, VALUES, LATEST_NS  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(ServerError, match="shows 0 of 12 rows"):
        await importer.store(find_folders(folder)[0])


def test_the_report_adds_up_and_says_what_was_put_right(tmp_path: Path) -> None:
    constructed(tmp_path)
    for folder in find_folders(tmp_path):
        reading = read_folder(folder, VALUES, LATEST_NS)
        report = reading.report
        assert report.read == len(reading.rows) + report.repeated + report.refused
    first = read_folder(find_folders(tmp_path)[0], VALUES, LATEST_NS).report
    assert first.mended == {
        "aggregate": 80, "contracts_multiplied": 120, "side_inverted": 80, "symbol_renamed": 80,
    }  # fmt: skip
    last = read_folder(find_folders(tmp_path)[4], VALUES, LATEST_NS).report
    assert last.notes == ["raw/notes.txt: of no feed, left alone"]


def test_a_place_without_events_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no event folder in it"):
        find_folders(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        find_folders(tmp_path / "nowhere")


def test_metadata_of_the_older_generation(tmp_path: Path) -> None:
    told = {"symbol": "tia", "listing_time": TRIGGER_MS, "notice_title": "t", "markets": ["KRW"]}
    (tmp_path / "metadata.json").write_text(json.dumps(told))
    read = read_metadata(tmp_path / "metadata.json")
    assert (read.symbol, read.title, read.announced_ns) == ("TIA", "t", TRIGGER_NS)
    (tmp_path / "metadata.json").write_text("{")
    assert read_metadata(tmp_path / "metadata.json").problem.startswith("metadata.json: ")


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2025-09-22T13:50:00+09:00", TRIGGER_NS),
        ("2025-09-22T04:50:00.000000001Z", TRIGGER_NS + 1),
        ("2025-09-22 04:50:00", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("2025-13-22T04:50:00Z", 0),
    ],
)
def test_times_with_their_zone(text: str, ns: int) -> None:
    assert rfc3339_ns(text) == ns


def test_a_folder_is_known_again_until_it_changes(tmp_path: Path) -> None:
    path = write_folder(tmp_path, "0G_20250922_045000", of_all_feeds(1), told=metadata())
    digest = find_folders(path)[0].digest()
    journal = Journal(tmp_path / "imported.json")
    assert journal.find(path.name, digest) is None
    journal.note(path.name, Entry(digest, 12, 12, 0, 0))
    assert Journal(tmp_path / "imported.json").find(path.name, digest) == Entry(
        digest, 12, 12, 0, 0
    )
    (path / "raw/okx/spot.json").write_text("[]")
    assert journal.find(path.name, find_folders(path)[0].digest()) is None
