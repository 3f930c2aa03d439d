"""Does a database answer, on both of its ways in, to both of its users?"""

from __future__ import annotations

import httpx
import trio

from pumpwatch.errors import ServerError
from pumpwatch.store.server import ServerAddress
from pumpwatch.store.sql import Sql
from pumpwatch.trust import trust_for

PROBE_TIMEOUT_S = 5.0
PROBE_AGAIN_S = 0.1


async def probe(address: ServerAddress) -> None:
    """Ask ``select 1`` over HTTP and over PGWire. Raises ServerError where that fails."""
    await _probe_http(address)
    for readonly in (False, True):
        sql = Sql(address, readonly=readonly, timeout_s=PROBE_TIMEOUT_S)
        try:
            await sql.query("select 1")
        finally:
            with trio.CancelScope(shield=True):
                await sql.aclose()


async def _probe_http(address: ServerAddress) -> None:
    async with httpx.AsyncClient(
        base_url=address.http_url,
        auth=httpx.BasicAuth(address.user, address.password),
        timeout=PROBE_TIMEOUT_S,
        trust_env=False,
        verify=trust_for(address.http_url),
    ) as client:
        try:
            answer = await client.get("/exec", params={"query": "select 1"})
        except httpx.HTTPError as error:
            raise ServerError(
                f"no database answers on {address.http_url} ({type(error).__name__})"
            ) from None
    if answer.status_code in (401, 403):
        raise ServerError(f"the database on {address.http_url} refuses user {address.user}")
    if answer.status_code != 200:
        raise ServerError(f"the database on {address.http_url} answers HTTP {answer.status_code}")


async def wait_for_answer(address: ServerAddress, wait_s: float) -> None:
    """Probe until it answers, at most ``wait_s``. Raises the last ServerError."""
    last = ServerError(f"no database answers on {address.http_url}")
    with trio.move_on_after(wait_s):
        while True:
            try:
                await probe(address)
            except ServerError as error:
                last = error
            else:
                return
            await trio.sleep(PROBE_AGAIN_S)
    raise last
