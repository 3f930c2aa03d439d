"""Upkeep by order: ``backup create`` and ``retention run`` of the command line, done by the daemon.

The daemon can have its writers wait for a checkpoint, and never does two of them at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from pumpwatch.daemon_orders import ASK, CREATE, ROTATE, RUN, VERIFY, Answer
from pumpwatch.dashboard.actions import Action, ActionDesk
from pumpwatch.errors import ServerError, UsageError
from pumpwatch.store.backup import Backups
from pumpwatch.store.maintenance import Order, Upkeep

if TYPE_CHECKING:
    from pumpwatch.caretaker import Caretaker

WAIT_S = 5.0  # of one question for a result: less than the gate's deadline


def answer_of(order: Order) -> str:
    """As JSON."""
    error = order.error
    document = Answer(
        number=order.number,
        ended=order.ended.is_set(),
        error="" if error is None else str(error),
        kind="" if error is None else type(error).__name__,
        result=order.result,
    )
    return msgspec.json.encode(document).decode()


def offer_orders(desk: ActionDesk, caretaker: Caretaker) -> None:
    """Make them actions of the HTTP interface."""
    for name, action in {**_backup_orders(caretaker), **_other_orders(caretaker)}.items():
        desk.add(name, action)


def _parts(caretaker: Caretaker) -> Upkeep:
    if caretaker.upkeep is None:
        raise ServerError("the upkeep has not begun yet: the database does not answer")
    return caretaker.upkeep


async def _give(caretaker: Caretaker, work: str, run: Callable[[], Awaitable[object]]) -> str:
    order = _parts(caretaker).orders.give(work, run)
    await trio.lowlevel.checkpoint()
    return answer_of(order)


def _backup_orders(caretaker: Caretaker) -> dict[str, Action]:
    def backups() -> Backups:
        found = _parts(caretaker).backups
        if found is None:
            raise UsageError("backup: there are none here; see the alert, or the settings")
        return found

    async def create(_arguments: Mapping[str, str]) -> str:
        return await _give(caretaker, "backup", backups().create)

    async def verify(arguments: Mapping[str, str]) -> str:
        name, is_full = arguments["name"], arguments.get("quick") != "true"
        run = partial(backups().verify, name, full=is_full)
        return await _give(caretaker, "backup verification", run)

    return {
        CREATE: Action(help="Make a backup and test it.", arguments={}, run=create),
        VERIFY: Action(
            help="Restore a backup beside the database, and compare.",
            arguments={"name": "as in `backup list`", "quick?": "true: a sample of it"},
            run=verify,
        ),
    }


def _other_orders(caretaker: Caretaker) -> dict[str, Action]:
    async def retain(arguments: Mapping[str, str]) -> str:
        retention, before = _parts(caretaker).retention, arguments.get("before_ns", "")
        if before and not before.isdigit():
            raise UsageError("before_ns: nanoseconds since 1970")
        run = partial(retention.run, int(before) if before else None)
        return await _give(caretaker, "retention", run)

    async def rotate(_arguments: Mapping[str, str]) -> str:
        return await _give(caretaker, "secrets", caretaker.rotate_secrets)

    async def ask(arguments: Mapping[str, str]) -> str:
        number = arguments["number"]
        order = _parts(caretaker).orders.find(int(number)) if number.isdigit() else None
        if order is None:
            raise UsageError(f"number {number[:20]!r}: no such order of this process")
        with trio.move_on_after(WAIT_S):
            await order.ended.wait()
        return answer_of(order)

    return {
        RUN: Action(
            help="Drop what is too old.",
            arguments={"before_ns?": "a cut-off instead of retention.days"},
            run=retain,
        ),
        ASK: Action(
            help="What became of an order.", arguments={"number": "as it was told"}, run=ask
        ),
        ROTATE: Action(help="New passwords and a new token.", arguments={}, run=rotate),
    }
