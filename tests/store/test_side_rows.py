"""Lines of the small tables, read back by an independent reader."""

from __future__ import annotations

import io
import math
import random
from decimal import Decimal
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pumpwatch.model import Gap, Instrument, InstrumentState
from pumpwatch.store.message_files import kept_of
from pumpwatch.store.quarantine import ROWS_PER_MINUTE_MAX
from pumpwatch.store.schema import MIGRATIONS, TABLES
from pumpwatch.store.schema_file import shapes_of
from pumpwatch.store.side_rows import TEXT_CHARACTERS_MAX, side_row
from pumpwatch.store.side_tables import SideTables
from pumpwatch.store.spool import Spool
from tests._fast.ilp_reading import Line, Nanoseconds, read_lines
from tests.store.records import WALL_NS, SetClock, held, opened

TEXTS = st.text(max_size=50)
FIELDS = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]),
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63) + 1, 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False), TEXTS,
    ),
    max_size=4,
)  # fmt: skip
TAGS = st.dictionaries(st.sampled_from(["t", "u"]), st.one_of(st.none(), TEXTS), max_size=2)
TIMES = st.dictionaries(st.sampled_from(["x"]), st.one_of(st.none(), st.integers(0, 2**62)))


def plain(text: str) -> str:
    """Control characters become blanks, what UTF-8 cannot say a question mark."""
    spaced = "".join(" " if character < " " else character for character in text)
    return spaced.encode("utf-8", "replace").decode()


@settings(deadline=None)
@given(TAGS, FIELDS, TIMES, st.integers(1, 2**63 - 1))
def test_every_value_reads_back(
    tags: dict[str, str | None],
    fields: dict[str, str | int | float | bool | None],
    times: dict[str, int | None],
    timestamp_ns: int,
) -> None:
    wanted: dict[str, object] = {
        name: plain(value) if isinstance(value, str) else value
        for name, value in fields.items()
        if value is not None
    } | {name: value for name, value in times.items() if value}
    if not wanted:
        with pytest.raises(ValueError, match="at least one field"):
            side_row("t", tags, fields, timestamp_ns, time_fields=times)
        return
    row = side_row("t", tags, fields, timestamp_ns, time_fields=times)
    assert row.count(b"\n") == 1
    (line,) = read_lines(row)
    assert line.table == "t"
    assert line.symbols == {name: plain(value) for name, value in tags.items() if value}
    found = {
        name: float(value) if isinstance(value, Decimal) else value
        for name, value in line.fields.items()
    }
    assert found == wanted
    assert {name: type(found[name]) for name in fields if name in found} == {
        name: type(wanted[name]) for name in fields if name in wanted
    }
    assert all(isinstance(line.fields[name], Nanoseconds) for name in times if name in wanted)
    assert line.timestamp_ns == timestamp_ns


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_double_that_is_no_number_is_left_out(value: float) -> None:
    """The server refuses inf, and takes NaN for NULL."""
    assert side_row("t", {}, {"a": value, "b": 1}, 5) == b"t b=1i 5\n"


def test_a_long_text_is_cut_before_it_is_escaped() -> None:
    (line,) = read_lines(side_row("t", {}, {"a": '"' * (TEXT_CHARACTERS_MAX + 1)}, 5))
    assert line.fields == {"a": '"' * TEXT_CHARACTERS_MAX}


@pytest.mark.parametrize("timestamp_ns", [0, -1])
def test_a_row_without_a_time_is_a_bug(timestamp_ns: int) -> None:
    """The server would take its own clock."""
    with pytest.raises(ValueError, match="is no timestamp"):
        side_row("t", {}, {"a": 1}, timestamp_ns)


# --- what the daemon puts into them ---------------------------------------------------------------


class Feed:
    def __init__(self, exchange: str, market_type: str) -> None:
        self.exchange = exchange
        self.market_type = market_type


FEEDS = [Feed("okx", "spot"), Feed("gate", "futures")]


@pytest.fixture
async def spool(tmp_path: Path) -> Spool:
    return await opened(tmp_path / "spool")


@pytest.fixture
def side(spool: Spool, tmp_path: Path) -> SideTables:
    return SideTables(spool, SetClock(), FEEDS, tmp_path / "quarantine")


def rows(spool: Spool, table: str) -> list[Line]:
    assert spool.write_now() == 0
    lines = read_lines(b"".join(held(spool, TABLES[table])))
    columns = shapes_of(MIGRATIONS)[table].columns
    for line in lines:  # the server makes no column, and refuses the whole request
        assert line.table == table
        assert {*line.symbols, *line.fields} <= set(columns)
        assert all(columns[name] == "SYMBOL" for name in line.symbols)
    return lines


async def test_gaps_are_rows_of_the_ledger(spool: Spool, side: SideTables) -> None:
    confirmed = Gap(
        gap_id="a.1", opened_ns=WALL_NS, exchange="okx", market_type="spot", symbol="BTCUSDT",
        cause="id_jump", state="confirmed", first_id=5, last_id=9, missing=5, exact=True,
        from_ns=WALL_NS - 10, to_ns=WALL_NS - 1,
    )  # fmt: skip
    suspected = Gap(
        gap_id="b.1", opened_ns=WALL_NS + 1, exchange="gate", market_type="futures", symbol="*",
        cause="cut", from_ns=WALL_NS,
    )  # fmt: skip
    closed = Gap(
        gap_id="b.1", opened_ns=WALL_NS + 1, exchange="gate", market_type="futures", symbol="*",
        cause="cut", from_ns=WALL_NS, to_ns=WALL_NS + 5, state="filled", missing=7, filled_rows=7,
        exact=True, reason="rest", closed_ns=WALL_NS + 9, revision=3,
    )  # fmt: skip
    side.gaps([confirmed, suspected])
    side.gaps([closed])
    side.gaps([])
    known, unknown, last = rows(spool, "feed_gaps")
    assert known.symbols == {
        "exchange": "okx", "market_type": "spot", "symbol": "BTCUSDT", "cause": "id_jump",
        "state": "confirmed",
    }  # fmt: skip
    assert known.fields == {
        "gap_id": "a.1", "first_id": 5, "last_id": 9, "missing": 5, "exact": True,
        "filled_rows": 0, "revision": 1, "from_ts": WALL_NS - 10, "to_ts": WALL_NS - 1,
    }  # fmt: skip
    assert known.timestamp_ns == WALL_NS
    assert (unknown.fields["missing"], unknown.fields["exact"]) == (-1, False)
    # NULL: still open.
    assert not {"first_id", "last_id", "to_ts", "closed_at", "reason"} & set(unknown.fields)
    assert last.timestamp_ns == unknown.timestamp_ns  # with the id the key: it replaces the other
    assert (last.fields["closed_at"], last.fields["reason"]) == (WALL_NS + 9, "rest")
    assert set(known.symbols) | set(last.fields) | {"first_id", "last_id", "opened_at"} == set(
        shapes_of(MIGRATIONS)["feed_gaps"].columns
    )


async def test_instruments_say_what_a_list_shows(spool: Spool, side: SideTables) -> None:
    side.instruments(
        InstrumentState(
            instrument=Instrument(
                feed="kucoin_futures", venue_symbol=f"{base}USDTM", symbol=f"{base}USDT",
                base=base, quote="USDT", coin="PEPE", unit=1000, contract_value="0.001",
                price_exponent=-8, krw_upbit=True, volume_quote=5.0,
            ),
            valid_from_ns=WALL_NS, first_seen_ns=WALL_NS - 1, revision=2,
        )
        for base in ("1000PEPE", "哈基米")
    )  # fmt: skip
    first, second = rows(spool, "instruments")
    assert first.symbols == {
        "exchange": "kucoin", "market_type": "futures", "symbol": "1000PEPEUSDT",
        "base": "1000PEPE", "quote": "USDT", "coin": "PEPE", "status": "trading",
    }  # fmt: skip
    assert first.fields == {
        "venue_symbol": "1000PEPEUSDTM", "unit": 1000, "contract_value": "0.001",
        "price_exponent": -8, "krw_upbit": True, "volume_quote": 5.0, "revision": 2,
        "first_seen": WALL_NS - 1,
    }  # fmt: skip
    assert first.timestamp_ns == WALL_NS
    assert second.symbols["symbol"] == "哈基米USDT"


async def test_what_was_not_understood_is_kept_whole_and_its_kind_has_a_row(
    spool: Spool, side: SideTables, tmp_path: Path
) -> None:
    raw = b'{"e":"\xff\n"}'
    assert side.keep(FEEDS[0], "malformed", raw, 0, "no price")
    assert side.keep(FEEDS[0], "malformed", raw, 3)
    assert side.keep(FEEDS[0], "malformed", b"another one", 4)
    side.close()
    first, second, third = rows(spool, "quarantine")
    assert first.symbols == {"exchange": "okx", "market_type": "spot", "reason": "malformed"}
    text = '{"e":"\\xff "}'
    assert first.fields == {"raw": text, "detail": "no price", "rows": 0, "messages": 1}
    assert first.timestamp_ns < second.timestamp_ns == third.timestamp_ns
    # The same key, with the counts of its minute.
    assert third.fields == {"raw": text, "detail": "", "rows": 7, "messages": 2}
    assert side.quarantine.rows == {"okx_spot": 7}
    side.messages.write_now()
    assert [one.raw for one in kept_of(tmp_path / "quarantine/okx_spot")] == [
        raw, raw, b"another one",
    ]  # fmt: skip
    side.messages.files.close()


async def test_a_refused_line_is_kept_with_the_servers_words(
    spool: Spool, side: SideTables
) -> None:
    side.refused_line(2, b"trades,exchange=gate price==\x10\xff 5\n", "cast error")
    side.refused_line(0, b"feed_gaps,cause=x a=1 5\n", "no such column")
    first, second = rows(spool, "quarantine")
    assert first.symbols == {"exchange": "gate", "market_type": "futures", "reason": "refused"}
    assert first.fields["detail"] == "cast error"
    assert first.fields["rows"] == 1
    assert str(first.fields["raw"]).startswith("trades,exchange=gate price==")
    assert second.symbols == {"reason": "refused"}


async def test_a_refused_line_of_the_quarantine_itself_makes_no_new_row(
    spool: Spool, side: SideTables
) -> None:
    """It would be refused again, and the next one, for ever."""
    side.refused_line(0, b'quarantine,reason=refused raw="x" 5\n', "cast error")
    assert rows(spool, "quarantine") == []
    assert side.quarantine.overflowed == {("_", "refused"): 1}
    side.close()


async def test_times_of_a_table_never_repeat_though_the_clock_does(
    spool: Spool, tmp_path: Path
) -> None:
    clock = SetClock()
    side = SideTables(spool, clock, FEEDS, tmp_path)
    rng = random.Random(3)
    for _ in range(50):
        clock.now_ns += rng.choice([-1_000_000_000, 0, 0, 1])
        side.refused_line(1, b"same", "no")
    times = [line.timestamp_ns for line in rows(spool, "quarantine")]
    assert times == sorted(set(times))
    assert len(times) == 50


async def test_refused_lines_beyond_the_cap_lie_in_a_file_at_once(
    spool: Spool, side: SideTables, tmp_path: Path
) -> None:
    """Their segment may be released when the writer has passed them."""
    for number in range(ROWS_PER_MINUTE_MAX + 3):
        side.refused_line(1, b"trades,feed=1 id=%di 5\n" % number, "cast error")
    (path,) = (tmp_path / "quarantine").iterdir()
    reader = zstandard.ZstdDecompressor().stream_reader(
        io.BytesIO(path.read_bytes()), read_across_frames=True
    )
    assert len(reader.read().splitlines()) == 3
    assert len(rows(spool, "quarantine")) == ROWS_PER_MINUTE_MAX
    side.close()
