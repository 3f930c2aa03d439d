"""Where a question goes is its text's alone, and an old row is one that readers of trades know."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from pumpwatch._fast.trade_rows import Label, RowsBuilder
from pumpwatch.migrate.legacy import Mender
from pumpwatch.migrate.reads import name_of, table_rows
from pumpwatch.migrate.stages import share_of
from pumpwatch.store.window_model import WindowQuestion
from tests.migrate.folders import trade
from tests.migrate.test_importer import LATEST_NS


@dataclass(frozen=True)
class Parts:
    """What makes a question."""

    coin: str
    from_ns: int
    span_ns: int
    feeds: tuple[str, ...]

    @property
    def question(self) -> WindowQuestion:
        return WindowQuestion(
            coin=self.coin, from_ns=self.from_ns, to_ns=self.from_ns + self.span_ns,
            feeds=self.feeds,
        )  # fmt: skip


PARTS = st.builds(
    Parts, st.sampled_from(["AVA", "AV", "A"]), st.integers(0, 100), st.integers(1, 100),
    st.sampled_from([(), ("okx_spot",), ("okx_spot", "gate_spot")]),
)  # fmt: skip


@given(PARTS, PARTS)
def test_two_questions_have_one_name_only_if_they_are_one(one: Parts, other: Parts) -> None:
    assert (name_of(one.question) == name_of(other.question)) == (one == other)


def test_a_share_of_windows_is_about_the_share_of_all() -> None:
    names = [name_of(Parts("AVA", n, 40, ()).question) for n in range(2000)]
    for percent in (10, 50):
        moved = sum(share_of(name) < percent for name in names)
        assert abs(moved / len(names) * 100 - percent) < 4


def test_an_old_row_is_taken_by_the_builder_of_answers() -> None:
    """OKX's merged fills have a kind of their own in an import, and none in an answer."""
    mender = Mender("okx", "spot", {}, LATEST_NS)
    rows = tuple(mender.row(trade("okx", "spot", number)) for number in range(3))
    assert {row.kind for row in rows} == {"aggregate"}
    builder = RowsBuilder([Label("okx", "spot", "0GUSDT", "")])
    assert builder.add_table(table_rows(rows)) == 3
    found = builder.build().rows()
    assert [row["trade_id"] for row in found] == [row.trade_id for row in rows]
    assert {row["kind"] for row in found} == {None}
    assert {row["origin"] for row in found} == {"import"}
