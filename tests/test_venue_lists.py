from __future__ import annotations

from typing import Any

import msgspec

from pumpwatch.capture.overlap import name_rows
from pumpwatch.errors import VenueError
from pumpwatch.venue_lists import Shown, ask_venue, compare, held_of, inside, missing_of
from pumpwatch.venues import FEEDS_BY_NAME
from pumpwatch.venues.spec import FeedSpec, RestPage, RestTrade, TradePage
from tests.listing.bundles import AT_NS, NS, WINDOW, instrument, row


def listed(at_s: float, number: int, **changes: Any) -> RestTrade:
    facts: dict[str, Any] = {
        "trade_id": str(number), "order_id": number, "sequence_number": number, "side": "buy",
        "price": "1.250", "quantity": "10.5", "exchange_ns": AT_NS + int(at_s * NS),
    }  # fmt: skip
    return RestTrade(**{**facts, **changes})


class List:
    """A venue with one list: answers are handed over as they are."""

    def __init__(self, trades: list[RestTrade], error: str = "") -> None:
        self.trades, self.error = trades, error
        page = RestPage(path="/x", read=self.read, symbol_param="s", rows_max=100,
                        newest_first=True)  # fmt: skip
        spec = FEEDS_BY_NAME["bybit_spot"]
        self.spec: FeedSpec = msgspec.structs.replace(spec, recent=page, history=None)

    def read(self, body: bytes, venue_symbol: str) -> TradePage:
        assert (body, venue_symbol) == (b"", "POD-USDT")
        return TradePage(trades=self.trades, refused=[])

    async def get(self, *_: object, **__: object) -> bytes:
        if self.error:
            raise VenueError(self.error)
        return b""

    async def ask(self) -> Shown:
        return await ask_venue(
            self, self.spec, instrument("bybit_spot"), WINDOW.from_ns, WINDOW.to_ns, AT_NS,
            has_api_key=False,
        )  # fmt: skip


HELD = held_of([row("bybit_spot", 0, 5), row("bybit_spot", 1, 6)])


async def test_what_the_venue_shows_is_held_against_what_we_hold() -> None:
    shown = await List([listed(-30, 4), listed(0, 5), listed(1, 6), listed(25, 7)]).ask()
    check = compare([shown], HELD, WINDOW.from_ns, WINDOW.to_ns)
    assert (check.shown, check.missing, check.different, check.reaches) == (2, 0, 0, True)


async def test_rows_that_are_not_held_and_others_are_counted() -> None:
    shown = await List([listed(0, 5, price="1.26"), listed(1, 6), listed(2, 7)]).ask()
    check = compare([shown], HELD, WINDOW.from_ns, WINDOW.to_ns)
    assert (check.shown, check.missing, check.different, check.reaches) == (3, 1, 1, False)
    rows = inside([shown], WINDOW.from_ns, WINDOW.to_ns)
    assert missing_of(rows, HELD) == [("PODUSDT", AT_NS + 2 * NS, "7")]


async def test_a_venue_that_does_not_answer_says_so() -> None:
    shown = await List([], "no answer").ask()
    check = compare([shown], HELD, WINDOW.from_ns, WINDOW.to_ns)
    assert (check.error, check.reaches) == ("no answer", False)


async def test_equal_rows_without_ids_are_told_apart_by_their_ordinal() -> None:
    trades = [listed(at, 0, trade_id=None, order_id=0) for at in (-30, 0, 0)]
    shown = await List(trades).ask()
    ids = [one.trade_id for one in name_rows(trades, instrument("bybit_spot"))]
    assert ids[1:] == ["buy-1.25-10.5-0", "buy-1.25-10.5-1"]
    one = held_of([row("bybit_spot", 0, 0, trade_id=ids[1])])
    assert compare([shown], one, WINDOW.from_ns, WINDOW.to_ns).missing == 1
