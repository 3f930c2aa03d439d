"""The HTTP interface: what there is to ask, as a Litestar application (DESIGN section 9)."""

from __future__ import annotations

import functools
import typing
from typing import Any

import structlog
from litestar import Litestar, Request, Response
from litestar.connection import ASGIConnection
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.params import QueryParameter

from pumpwatch.clock import Clock
from pumpwatch.config import Config
from pumpwatch.dashboard import routes_page, routes_questions, routes_reports, routes_standing
from pumpwatch.dashboard.actions import ActionDesk, act, list_actions
from pumpwatch.dashboard.answers import SharedAnswers
from pumpwatch.dashboard.document import DocumentPlugin
from pumpwatch.dashboard.live import Live
from pumpwatch.dashboard.models import Refusal
from pumpwatch.dashboard.parameters import ParameterError, refuse_unknown
from pumpwatch.dashboard.questions import Questions
from pumpwatch.dashboard.view import SeatView
from pumpwatch.dashboard.windows import WindowAsker
from pumpwatch.errors import PumpWatchError, StatementError, UsageError
from pumpwatch.log import redact_text
from pumpwatch.version import VERSION

log = structlog.get_logger()


def make_app(
    config: Config,
    clock: Clock,
    seat: SeatView,
    shared: SharedAnswers,
    questions: Questions,
    windows: WindowAsker,
    desk: ActionDesk,
) -> Litestar:
    """The application; it reads ``seat`` and asks ``questions`` and ``windows``."""
    return Litestar(
        route_handlers=[
            *routes_standing.HANDLERS, *routes_questions.HANDLERS, *routes_page.HANDLERS,
            *routes_reports.HANDLERS, act, list_actions,
        ],
        guards=[_refuse_unknown_parameters],
        exception_handlers={
            ParameterError: _parameter_refused,
            ValidationException: _validation_refused,
            HTTPException: _http_refused,
            UsageError: _usage_refused,
            PumpWatchError: _part_down,
            Exception: _bug,
        },
        state=routes_standing.state_of(
            config=config, clock=clock, seat=seat, shared=shared, questions=questions,
            windows=windows, desk=desk,
            live=Live(seat),
        ),
        openapi_config=OpenAPIConfig(
            title="PumpWatch",
            version=VERSION,
            path="/schema",
            # The other renderers fetch their scripts from the network.
            render_plugins=[DocumentPlugin(path="/")],
        ),
        logging_config=None,
    )  # fmt: skip


def _refuse_unknown_parameters(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    if not connection.url.path.startswith("/api"):
        return
    query = connection.query_params
    refuse_unknown(query, _query_names(handler.fn))
    for name in query:
        if len(query.getall(name)) > 1:
            raise ParameterError(name, "once")


@functools.cache
def _query_names(handler: Any) -> frozenset[str]:
    """The query parameters that a handler declares."""
    names = set()
    for name, hint in typing.get_type_hints(handler, include_extras=True).items():
        for note in (
            typing.get_args(hint)[1:] if typing.get_origin(hint) is typing.Annotated else ()
        ):
            if isinstance(note, QueryParameter):
                names.add(note.name or name)
    return frozenset(names)


def _refuse(status: int, refusal: Refusal) -> Response[Refusal]:
    return Response(refusal, status_code=status, media_type="application/json")


def _parameter_refused(
    _request: Request[Any, Any, Any], error: ParameterError
) -> Response[Refusal]:
    return _refuse(400, Refusal(error=str(error), parameter=error.parameter, allowed=error.allowed))


def _validation_refused(
    _request: Request[Any, Any, Any], error: ValidationException
) -> Response[Refusal]:
    extra = error.extra if isinstance(error.extra, list) and error.extra else [{}]
    first = extra[0] if isinstance(extra[0], dict) else {}
    name = str(first.get("key", "body"))
    return _refuse(
        400, Refusal(error=f"{name}: {first.get('message', error.detail)}", parameter=name)
    )


def _http_refused(_request: Request[Any, Any, Any], error: HTTPException) -> Response[Refusal]:
    return _refuse(error.status_code, Refusal(error=error.detail))


def _usage_refused(_request: Request[Any, Any, Any], error: UsageError) -> Response[Refusal]:
    return _refuse(400, Refusal(error=redact_text(str(error))))


def _part_down(request: Request[Any, Any, Any], error: PumpWatchError) -> Response[Refusal]:
    """A part that does not answer: never an empty list instead."""
    if isinstance(error, StatementError):
        log.error("page_statement_refused", path=request.url.path, message=str(error))
    response = _refuse(503, Refusal(error=redact_text(str(error))))
    response.headers["retry-after"] = "2"
    return response


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[Refusal]:
    log.error("page_bug", path=request.url.path, exc_info=error)
    return _refuse(500, Refusal(error="a fault of PumpWatch: its log has the details"))
