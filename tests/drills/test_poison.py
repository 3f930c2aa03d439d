"""Order of storing, as the proxy sees it."""

from __future__ import annotations

from pumpwatch.drills.poison import Arrivals


def line(number: int, received_ns: int, symbol: str = "BTCUSDT") -> bytes:
    return (
        f"trades,exchange=okx,market_type=spot,symbol={symbol},side=buy "
        f'price=1.0,trade_id="{number}",received_at={received_ns}n {received_ns}\n'
    ).encode()


def noted(*bodies: bytes) -> Arrivals:
    arrivals = Arrivals()
    for body in bodies:
        arrivals.note(body)
    return arrivals


def test_rows_as_received_are_in_order_and_what_comes_again_does_not_count() -> None:
    first = line(1, 10) + line(2, 10) + line(3, 20)
    arrivals = noted(first, line(9, 5, "ETHUSDT"), first + line(4, 30), b"feed_gaps,x=1 y=1i 1\n")
    assert (arrivals.rows, arrivals.out_of_order) == (5, [])


def test_a_row_behind_a_later_one_is_out_of_order() -> None:
    arrivals = noted(line(1, 10) + line(3, 30), line(2, 20))
    assert [text.rsplit(" ", 1)[1] for text in arrivals.out_of_order] == ["2"]
