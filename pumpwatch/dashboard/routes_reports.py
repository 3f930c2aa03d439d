"""The report of a listing, out of its bundle: as a page and as figures."""

from __future__ import annotations

import re
from pathlib import Path

import trio
from litestar import Response, get
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from pumpwatch.config import Config
from pumpwatch.listing.archive import FOLDER

BUNDLE = re.compile(r"[A-Z0-9]{1,40}_\d{8}_\d{6}(_[a-z_]{1,40})?", re.ASCII)
# The page brings its scripts along, and may load nothing.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline';"
    " img-src data: blob:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
TYPES = {"report.html": "text/html; charset=utf-8", "report.json": "application/json"}


async def _file(config: Config, bundle: str, name: str) -> Response[bytes]:
    if BUNDLE.fullmatch(bundle) is None:
        raise NotFoundException(detail="no such bundle")
    path = trio.Path(Path(config.data_dir) / FOLDER / bundle / name)
    try:
        content = await path.read_bytes()
    except OSError:
        raise NotFoundException(detail="this bundle has no report") from None
    headers = {"content-security-policy": POLICY, "cache-control": "no-cache"}
    return Response(content, media_type=TYPES[name], headers=headers)


@get("/listings/{bundle:str}/report.html", summary="A listing's report", include_in_schema=False)
async def report_page(state: State, bundle: FromPath[str]) -> Response[bytes]:
    """As people read it."""
    return await _file(state.config, bundle, "report.html")


@get("/api/bundles/{bundle:str}/report", summary="The figures of a listing's report")
async def report_figures(state: State, bundle: FromPath[str]) -> Response[bytes]:
    """report.json of a bundle; its name is the listing's ``bundle``."""
    return await _file(state.config, bundle, "report.json")


HANDLERS: list[HTTPRouteHandler] = [report_page, report_figures]
