"""The page and its files: read once, served from memory, with an ETag; nothing from a network."""

from __future__ import annotations

import functools
import hashlib
from importlib.resources import files
from typing import Any

import msgspec
from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
PAGE_FILES = frozenset(
    {"page.html", "page.css", "page.js", "feeds.js", "charts.js", "words.js", "icon.svg"}
)
PLOTLY = "plotly.min.js"  # of the installed wheel, 4.8 MB: only fetched when a window is drawn


class StaticFile(msgspec.Struct, frozen=True):
    """One file in memory."""

    content: bytes
    media_type: str
    etag: str


@functools.cache
def static_file(name: str) -> StaticFile | None:
    """A file of the page by its name; None: there is no such."""
    if name == PLOTLY:
        path = files("plotly").joinpath("package_data", PLOTLY)
    elif name in PAGE_FILES:
        path = files("pumpwatch.dashboard").joinpath("static", name)
    else:
        return None
    content = path.read_bytes()
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return StaticFile(content, TYPES[name.rpartition(".")[2]], etag)


def _answer(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
    file = static_file(name)
    if file is None:
        raise NotFoundException(detail="no such file")
    headers = {"etag": file.etag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == file.etag:
        return Response(b"", status_code=304, headers=headers, media_type=file.media_type)
    return Response(file.content, headers=headers, media_type=file.media_type)


@get("/", summary="The page", include_in_schema=False)
async def page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """One screen."""
    return _answer(request, "page.html")


@get("/static/{name:str}", include_in_schema=False)
async def static(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file of the page."""
    return _answer(request, name)


HANDLERS: list[HTTPRouteHandler] = [page, static]
