"""TLS for the tap: one read brings all records that have arrived, not one.

trio.SSLStream hands out one record (at most 16 KiB) per call; at 170 bytes a row that is a wake-up
for every 100 rows, which costs more than reading them (ADR 0007). Here the ciphertext of a read is
decrypted as a whole. The protocol itself is the standard library's ``ssl.SSLObject``.
"""

from __future__ import annotations

import contextlib
import ssl

import trio

TEXT_BYTES = 64 * 1024  # asked of the TLS object at a time; it returns one record's text
CLOSE_S_MAX = 1.0  # for our close_notify; nobody waits for the peer's


class TlsStream(trio.abc.Stream):
    """A client's TLS over a transport stream; ``do_handshake`` comes first.

    One task may receive while another sends. Raises trio.BrokenResourceError where the peer breaks
    the protocol or the transport.
    """

    def __init__(self, transport: trio.abc.Stream, context: ssl.SSLContext, host: str) -> None:
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._sending = trio.Lock()

    async def do_handshake(self) -> None:
        """Agree on keys and check the certificate. Raises ssl.SSLError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._transport.receive_some()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                await self._flush()  # the alert says why
                raise
            else:
                await self._flush()
                return

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """All text that has arrived, b"" at the end. ``max_bytes`` bounds the ciphertext read."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            text, is_end = self._decrypt()
            if self._outgoing.pending:  # a key update wants an answer
                # A broken way back shows when something is sent; what was read is handed on.
                with contextlib.suppress(trio.BrokenResourceError):
                    await self._flush()
            if text or is_end:
                await trio.lowlevel.cancel_shielded_checkpoint()
                return text
            data = await self._transport.receive_some(max_bytes)
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _decrypt(self) -> tuple[bytes, bool]:
        """(text, whether nothing will follow)."""
        parts = []
        try:
            while part := self._tls.read(TEXT_BYTES):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts), False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass  # WebSocket says itself where it ends: a missing close_notify cuts nothing unseen
        except ssl.SSLError as error:
            raise trio.BrokenResourceError(f"TLS: {error.reason or error}") from error
        # What came before the end is handed out first; the next call finds the end again.
        return b"".join(parts), not parts

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        with memoryview(data) as left:
            at = 0
            while at < len(left):
                try:
                    at += self._tls.write(left[at:])
                except ssl.SSLError as error:
                    raise trio.BrokenResourceError(f"TLS: {error.reason or error}") from error
        await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            while self._outgoing.pending:
                await self._transport.send_all(self._outgoing.read())

    async def wait_send_all_might_not_block(self) -> None:
        """Pass on to the transport."""
        await self._transport.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Say that we end, as far as the transport takes it, and close it."""
        try:
            with trio.move_on_after(CLOSE_S_MAX):
                # It is an error that the peer has not said it yet; ours is in the buffer then.
                with contextlib.suppress(ssl.SSLError):
                    self._tls.unwrap()
                await self._flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it is gone already
        finally:
            await self._transport.aclose()
