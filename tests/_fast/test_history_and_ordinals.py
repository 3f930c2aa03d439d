"""R5: old rows of a first subscription are counted, not sent. R6: equal Phemex rows by ordinal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch._fast import parse_binance, parse_phemex
from tests._fast.driving import NOW_NS, SECOND_NS, Drive, binance_trade, phemex_trades
from tests._fast.ilp_reading import Line

HOUR_NS = 3600 * SECOND_NS
OLD_NS = NOW_NS - 2 * HOUR_NS


def ids(lines: list[Line]) -> list[str]:
    return [str(line.fields["trade_id"]) for line in lines]


# --- R5 -------------------------------------------------------------------------------------------


def test_r5_old_rows_of_a_first_subscription_are_counted_and_not_sent() -> None:
    drive = Drive(parse_binance.SPOT, "BTCUSDT", history_s=3600)
    assert drive.message(binance_trade(7, ns=OLD_NS)) == []
    assert drive.counts["history_skipped"] == 1
    assert ids(drive.message(binance_trade(8, ns=NOW_NS))) == ["8"]


def test_r5_a_snapshot_is_cut_at_the_limit_row_by_row() -> None:
    drive = Drive(parse_phemex.FUTURES, "BTCUSDT", history_s=3600)
    rows = [
        (NOW_NS - age, "Buy", "1", str(size))
        for size, age in (
            (1, SECOND_NS),
            (2, HOUR_NS - SECOND_NS),
            (3, HOUR_NS + SECOND_NS),
            (4, 9 * HOUR_NS),
        )
    ]
    lines = drive.message(phemex_trades(rows, kind="snapshot"))
    assert sorted(ids(lines)) == ["buy-1-1-0", "buy-1-2-0"]
    assert drive.counts["history_skipped"] == 2


def test_r5_what_may_lie_in_a_hole_is_no_history() -> None:
    """After a reconnect a row may be old because the connection was away for long: it goes on."""
    drive = Drive(parse_binance.SPOT, "BTCUSDT", history_s=3600)
    drive.message(binance_trade(7, ns=OLD_NS - SECOND_NS), receive_ns=OLD_NS)
    drive.connect()
    assert ids(drive.message(binance_trade(8, ns=OLD_NS))) == ["8"]
    assert drive.counts["history_skipped"] == 0


# --- R6 -------------------------------------------------------------------------------------------

ROW = ("Buy", "1.5", "2")


def equal_rows(count: int, *, kind: str = "incremental", ns: int = NOW_NS) -> str:
    return phemex_trades([(ns, *ROW)] * count, kind=kind)


def test_r6_equal_rows_of_one_message_are_as_many_trades() -> None:
    drive = Drive(parse_phemex.FUTURES, "BTCUSDT")
    assert ids(drive.message(equal_rows(3))) == ["buy-1.5-2-0", "buy-1.5-2-1", "buy-1.5-2-2"]


def test_r6_ordinals_run_on_across_messages() -> None:
    drive = Drive(parse_phemex.FUTURES, "BTCUSDT")
    got = ids(drive.message(equal_rows(1), equal_rows(2)))
    assert got == ["buy-1.5-2-0", "buy-1.5-2-1", "buy-1.5-2-2"]


def test_r6_a_new_connection_counts_from_0_and_finds_the_same_ids() -> None:
    drive = Drive(parse_phemex.FUTURES, "BTCUSDT")
    before = ids(drive.message(equal_rows(2)))
    drive.connect()
    assert drive.message(equal_rows(2, kind="snapshot")) == []  # both are held: repeats
    assert drive.counts["repeated"] == 2
    assert ids(drive.message(equal_rows(3, ns=NOW_NS + 1))) == [
        "buy-1.5-2-0", "buy-1.5-2-1", "buy-1.5-2-2"
    ]  # fmt: skip
    assert before == ["buy-1.5-2-0", "buy-1.5-2-1"]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["1", "2"])), min_size=1, max_size=12),
       st.integers(0, 11))  # fmt: skip
def test_r6_a_snapshot_gives_the_keys_that_the_stream_gave(
    drawn: list[tuple[int, str]], cut: int
) -> None:
    """Whatever the equal rows are and wherever messages are cut: one multiset, one set of keys."""
    oldest_first = [(NOW_NS + ns, "Sell", "3", size) for ns, size in sorted(drawn)]
    stream = Drive(parse_phemex.FUTURES, "BTCUSDT")
    parts = [oldest_first[:cut], oldest_first[cut:]]
    texts = [phemex_trades(part[::-1]) for part in parts if part]
    snapshot = Drive(parse_phemex.FUTURES, "BTCUSDT")
    told = snapshot.message(phemex_trades(oldest_first[::-1], kind="snapshot"))
    streamed = stream.message(*texts)
    assert len(streamed) == len(drawn)

    def keys(lines: list[Line]) -> list[tuple[int, str]]:
        return sorted((line.timestamp_ns, str(line.fields["trade_id"])) for line in lines)

    assert keys(told) == keys(streamed)
    assert len(set(keys(told))) == len(drawn)
