"""What can be set in motion over HTTP: each action by its name, with named arguments.

The gate in front has checked the token and that the caller is on this machine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
from litestar import get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath, JSONBody

from pumpwatch.dashboard.models import ActionAnswer, ActionRequest
from pumpwatch.dashboard.parameters import ParameterError

log = structlog.get_logger()


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """One action; ``run`` gets checked arguments and says what it did."""

    help: str
    arguments: Mapping[str, str]  # name -> what it means; a name that ends in ? may be left out
    run: Callable[[Mapping[str, str]], Awaitable[str]]


class ActionDesk:
    """The actions that this daemon knows; its parts add theirs."""

    def __init__(self) -> None:
        self.actions: dict[str, Action] = {}

    def add(self, name: str, action: Action) -> None:
        """Make an action known."""
        assert name not in self.actions
        self.actions[name] = action

    async def run(self, name: str, arguments: Mapping[str, str]) -> str:
        """Check the arguments and do it. Raises ParameterError, or what the action raises."""
        action = self.actions[name]
        known = {argument.rstrip("?") for argument in action.arguments}
        for argument in arguments:
            if argument not in known:
                raise ParameterError(argument[:80], f"one of {', '.join(sorted(known))}")
        for argument in action.arguments:
            if not argument.endswith("?") and not arguments.get(argument):
                raise ParameterError(argument, action.arguments[argument])
        log.info("action", action=name, **arguments)
        return await action.run(arguments)


class ActionHelp(msgspec.Struct, frozen=True, kw_only=True):
    """An action in words."""

    action: str
    help: str
    arguments: dict[str, str]


@get("/api/actions", summary="What can be set in motion")
async def list_actions(state: State) -> list[ActionHelp]:
    """Every action with its arguments."""
    return [
        ActionHelp(action=name, help=action.help, arguments=dict(action.arguments))
        for name, action in sorted(state.desk.actions.items())
    ]


@post("/api/actions/{name:str}", status_code=200, summary="Set something in motion")
async def act(state: State, name: FromPath[str], data: JSONBody[ActionRequest]) -> ActionAnswer:
    """Needs the token of data_dir/secrets/dashboard_token, and a caller on this machine."""
    desk: ActionDesk = state.desk
    if name not in desk.actions:
        raise NotFoundException(detail=f"no action {name[:80]!r}; GET /api/actions lists them")
    return ActionAnswer(action=name, result=await desk.run(name, data.arguments))
