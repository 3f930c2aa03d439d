"""Questions that are answered from how the daemon stands: health, figures, feeds, the stream."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream

from pumpwatch import metrics
from pumpwatch.dashboard.live import Live
from pumpwatch.dashboard.models import (
    FeedsAnswer,
    HealthAnswer,
    MetricsAnswer,
    Probe,
    SystemAnswer,
)
from pumpwatch.dashboard.view import SeatView
from pumpwatch.health import judge
from pumpwatch.standing import HistogramStanding, Standing


def state_of(**parts: Any) -> State:
    """What handlers find in ``state``: config, clock, seat, questions, windows, desk, live."""
    return State(parts, deep_copy=False)


def _standing(state: State) -> Standing:
    seat: SeatView = state.seat
    return seat.standing


@get("/livez", summary="The process lives")
async def livez() -> Probe:
    """200 as long as the event loop turns."""
    return Probe(state="ok")


@get("/readyz", summary="It records")
async def readyz(state: State) -> Response[Probe]:
    """200 while feeds are subscribed, the spool is writable and the database applies; else 503."""
    health = judge(_standing(state))
    return Response(
        Probe(state="ok" if health.is_ready else "down", reasons=health.reasons()),
        status_code=200 if health.is_ready else 503,
    )


@get("/api/health", summary="Every part's health")
async def health(state: State) -> Response[HealthAnswer]:
    """200 unless a part is down, else 503; both with every part's state in words."""
    standing = _standing(state)
    verdict = judge(standing)
    answer = HealthAnswer(
        state=verdict.state,
        ready=verdict.is_ready,
        at=standing.at,
        uptime_s=round(standing.process.uptime_s, 3),
        parts=verdict.parts,
    )
    return Response(answer, status_code=503 if verdict.state == "down" else 200)


@get("/api/metrics", summary="The figures asked for first")
async def metrics_json(state: State) -> MetricsAnswer:
    """Rates, totals, lags, health; /metrics has everything for Prometheus."""
    return metrics_answer(_standing(state))


@get("/metrics", summary="Everything, for Prometheus", media_type="text/plain")
async def metrics_text(state: State) -> Response[bytes]:
    """Prometheus' text format."""
    return Response(metrics.render(_standing(state)), media_type=metrics.CONTENT_TYPE)


@get("/api/feeds", summary="Feeds and their connections")
async def feeds(state: State) -> FeedsAnswer:
    """What each feed does, with its balance and its connections."""
    standing = _standing(state)
    return FeedsAnswer(at=standing.at, feeds=standing.feeds)


@get("/api/system/status", summary="Process, spool, database, disk")
async def system_status(state: State) -> SystemAnswer:
    """Everything but the feeds."""
    standing = _standing(state)
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
