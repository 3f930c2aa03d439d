"""Whom TLS believes: the authorities that the system trusts, read once for the whole process.

Reading them holds the event loop up for 40 ms and takes 0.8 MiB, and a daemon has a hundred
connections (bench/RESULTS.md). A daemon runs for months: when the system's list changes it is read
again, for sockets that are dialled and clients that are made from then on.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from functools import cache, lru_cache
from typing import Literal

# Of its own each: an HTTP client writes into its context that it speaks HTTP (ALPN).
Use = Literal["http", "socket"]
Changed = tuple[str | None, int]  # a file or folder, and when it changed, ns


def system_roots(use: Use) -> ssl.SSLContext:
    """A client's context that believes whom the system believes; everybody's, so change nothing."""
    paths = ssl.get_default_verify_paths()  # SSL_CERT_FILE and SSL_CERT_DIR count
    return _roots(use, _changed(paths.cafile), _changed(paths.capath))


def trust_for(url: str) -> ssl.SSLContext:
    """What an HTTP client of this one address needs: without TLS nothing is read."""
    return system_roots("http") if url.startswith("https:") else _nobody()


@lru_cache(maxsize=2)  # one for each use
def _roots(use: Use, file: Changed, folder: Changed) -> ssl.SSLContext:
    return ssl.create_default_context()


@cache
def _nobody() -> ssl.SSLContext:
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _changed(path: str | None) -> Changed:
    with contextlib.suppress(OSError):
        if path is not None:
            return path, os.stat(path).st_mtime_ns
    return path, 0
