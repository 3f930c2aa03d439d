"""Questions that are answered from how the daemon stands: health, figures, feeds, the stream."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.response import Stream

from pumpwatch import metrics
from pumpwatch.dashboard.answers import Build, Shared, SharedAnswers, as_json
from pumpwatch.dashboard.live import Live
from pumpwatch.dashboard.models import (
    FeedsAnswer,
    HealthAnswer,
    MetricsAnswer,
    Probe,
    SystemAnswer,
)
from pumpwatch.health import judge
from pumpwatch.standing import HistogramStanding, Standing


def state_of(**parts: Any) -> State:
    """What handlers find in ``state``: the arguments of make_app, and ``live``."""
    return State(parts, deep_copy=False)


# --- what is built once a look --------------------------------------------------------------------


def probe_answer(standing: Standing) -> Shared:
    """/readyz."""
    verdict = judge(standing)
    probe = Probe(state="ok" if verdict.is_ready else "down", reasons=verdict.reasons())
    return as_json(probe, 200 if verdict.is_ready else 503)


def health_answer(standing: Standing) -> Shared:
    """/api/health."""
    verdict = judge(standing)
    answer = HealthAnswer(
        state=verdict.state,
        ready=verdict.is_ready,
        at=standing.at,
        uptime_s=round(standing.process.uptime_s, 3),
        parts=verdict.parts,
    )
    return as_json(answer, 503 if verdict.state == "down" else 200)


def system_answer(standing: Standing) -> SystemAnswer:
    """/api/system/status."""
    operations = standing.tables.operations if standing.tables else []
    return SystemAnswer(
        at=standing.at,
        state=standing.state,
        process=standing.process,
        spool=standing.spool,
        database=standing.database,
        volume=standing.volume,
        upkeep=standing.upkeep,
        writers=standing.writers,
        differences=standing.differences,
        operations=[msgspec.structs.asdict(operation) for operation in operations],
        alerts=[msgspec.structs.asdict(alert) for alert in standing.alerts],
    )


BUILDERS: dict[str, Build] = {
    "/livez": lambda _: as_json(Probe(state="ok")),
    "/readyz": probe_answer,
    "/api/health": health_answer,
    "/api/metrics": lambda standing: as_json(metrics_answer(standing)),
    "/metrics": lambda standing: Shared(
        body=metrics.render(standing), media_type=metrics.CONTENT_TYPE
    ),
    "/api/feeds": lambda standing: as_json(FeedsAnswer(at=standing.at, feeds=standing.feeds)),
    "/api/system/status": lambda standing: as_json(system_answer(standing)),
}


# --- handlers -------------------------------------------------------------------------------------


def _shared(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """The finished answer; the gate serves most of them without coming here."""
    shared: SharedAnswers = state.shared
    found = shared.of(request.url.path)
    assert found is not None
    answer, etag = found
    headers = {"etag": etag, "cache-control": "no-cache"}
    return Response(
        answer.body, status_code=answer.status, media_type=answer.media_type, headers=headers
    )


def _describe(model: type, text: str) -> ResponseSpec:
    return ResponseSpec(data_container=model, description=text, generate_examples=False)


@get("/livez", summary="The process lives", responses={200: _describe(Probe, "It does")})
async def livez(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 as long as the event loop turns."""
    return _shared(state, request)


@get(
    "/readyz", summary="It records",
    responses={200: _describe(Probe, "It records"), 503: _describe(Probe, "It does not, and why")},
)  # fmt: skip
async def readyz(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 while feeds are subscribed, the spool is writable and the database applies; else 503."""
    return _shared(state, request)


@get(
    "/api/health", summary="Every part's health",
    responses={
        200: _describe(HealthAnswer, "No part is down"),
        503: _describe(HealthAnswer, "A part is down"),
    },
)  # fmt: skip
async def health(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """200 unless a part is down, else 503; both with every part's state in words."""
    return _shared(state, request)


@get(
    "/api/metrics", summary="The figures asked for first",
    responses={200: _describe(MetricsAnswer, "Rates, totals, lags")},
)  # fmt: skip
async def metrics_json(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Rates, totals, lags, health; /metrics has everything for Prometheus."""
    return _shared(state, request)


@get("/metrics", summary="Everything, for Prometheus", media_type="text/plain")
async def metrics_text(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Prometheus' text format."""
    return _shared(state, request)


@get(
    "/api/feeds", summary="Feeds and their connections",
    responses={200: _describe(FeedsAnswer, "Each feed, with balance and connections")},
)  # fmt: skip
async def feeds(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """What each feed does, with its balance and its connections."""
    return _shared(state, request)


@get(
    "/api/system/status", summary="Process, spool, database, disk",
    responses={200: _describe(SystemAnswer, "Everything but the feeds")},
)  # fmt: skip
async def system_status(state: State, request: Request[Any, Any, Any]) -> Response[bytes]:
    """Everything but the feeds."""
    return _shared(state, request)


@get("/api/stream", summary="Server-sent events", media_type="text/event-stream")
async def stream(state: State, request: Request[Any, Any, Any]) -> Stream:
    """``first`` once, then ``moment`` each second: how everything stands, and its health."""
    live: Live = state.live
    return Stream(
        live.events(),
        media_type="text/event-stream",
        headers={"cache-control": "no-store", "x-accel-buffering": "no"},
    )


def metrics_answer(standing: Standing) -> MetricsAnswer:
    """The figures of one instant."""
    listings = standing.tables.listings if standing.tables else []
    gaps = [feed.gaps_open for feed in standing.feeds]
    counts = {source: sum(h.counts) for source, h in standing.queries.items()}
    asked = sum(counts.values())
    return MetricsAnswer(
        at=standing.at,
        uptime_s=round(standing.process.uptime_s, 3),
        trades_per_second={
            span: round(sum(feed.rows_per_s.get(span, 0.0) for feed in standing.feeds), 1)
            for span in ("1", "10", "60")
        },
        trades_total=standing.database.applied_rows,
        pending_rows=standing.database.pending_rows,
        active_connections=sum(feed.connections_open for feed in standing.feeds),
        database_health=standing.database.state,
        disk_used_ratio=round(standing.volume.used_share, 4),
        disk_free_bytes=standing.volume.free_bytes,
        memory_bytes=standing.process.rss_bytes,
        database_memory_bytes=standing.database.rss_bytes,
        cpu_s=standing.process.cpu_s,
        applied_lag_s=_quantiles(standing.applied_lag),
        spooled_lag_s=_quantiles(standing.spooled_lag),
        queries={
            source: {"count": counts[source], **_quantiles(histogram)}
            for source, histogram in standing.queries.items()
        },
        cache_hit_ratio=round(counts.get("memory", 0) / asked, 4) if asked else None,
        last_listing=listings[0] if listings else None,
        balanced=not standing.differences,
        differences=standing.differences,
        gaps_open=None if None in gaps else sum(gap for gap in gaps if gap is not None),
    )


def _quantiles(histogram: HistogramStanding) -> dict[str, float | None]:
    return {"p50": histogram.quantile(0.5), "p99": histogram.quantile(0.99)}


HANDLERS: list[HTTPRouteHandler] = [
    livez, readyz, health, metrics_json, metrics_text, feeds, system_status, stream,
]  # fmt: skip
