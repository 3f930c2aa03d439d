"""Memory and table compared: what differs is told, what is only under way is not."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pumpwatch.store.window_check import WindowCheck
from pumpwatch.store.window_model import WindowQuestion
from tests._fast.driving import SECOND_NS
from tests.capture.desk import SYMBOL
from tests.test_hour import Story
from tests.window_stage import FORM


def checked(story: Story, folder: Path) -> tuple[WindowCheck, WindowQuestion]:
    """Ten trades, all that came since the subscription; asked for as the check does."""
    desk = story.stage.desk
    from_ns = desk.clock.now_ns
    story.trade(10, 100)
    to_ns = desk.clock.now_ns + SECOND_NS
    desk.clock.now_ns += 120 * SECOND_NS
    story.stage.applied_ns = desk.clock.now_ns  # of what was traded before, so it says
    check = WindowCheck(
        story.stage.windows, desk.clock, random.Random(1), folder,
        lambda: [(FORM.feed, SYMBOL)], lambda: story.visible_ns,
    )  # fmt: skip
    return check, WindowQuestion(
        symbols=(SYMBOL,), from_ns=from_ns, to_ns=to_ns, feeds=(FORM.feed,)
    )


@pytest.mark.parametrize("is_visible", [False, True])
async def test_rows_that_came_and_are_not_in_the_table_yet(
    is_visible: bool, tmp_path: Path
) -> None:
    """After a restart Phemex's snapshot brings rows of long ago: memory has them at once."""
    story = Story()
    check, question = checked(story, tmp_path)
    story.visible_ns = story.stage.desk.clock.now_ns if is_visible else question.from_ns
    assert await check.compare(question) is (False if is_visible else None)
    assert check.differences == is_visible
    assert bool(check.newest_file) == is_visible
    story.stage.apply()
    assert await check.compare(question)
