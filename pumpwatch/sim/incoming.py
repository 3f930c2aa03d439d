"""What a client sends, seen from beside trio-websocket: opcodes, and control frames' payloads."""

from __future__ import annotations

CONTROL = 0x8  # this bit of an opcode
MASKED = 0x80
MASK_BYTES = 4
SIZE_BYTES = {126: 2, 127: 8}  # that follow the second byte


class FrameScanner:
    """Finds the frames in a client's byte stream, cut anywhere."""

    def __init__(self) -> None:
        self._head = bytearray()  # of a frame that has begun; of a control frame all of it
        self._skip = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Opcode and payload of control frames that end in ``data``.

        Other frames are told with an empty payload when their head has come.
        """
        found: list[tuple[int, bytes]] = []
        at = 0
        while at < len(data):
            step = min(self._skip or self._missing(), len(data) - at)
            if self._skip:
                self._skip -= step
            else:
                self._head += data[at : at + step]
                if not self._missing():
                    found.append(self._take())
            at += step
        return found

    def _missing(self) -> int:
        """How many bytes of the head (of a control frame: of all) have not come."""
        head = self._head
        if len(head) < 2:
            return 2 - len(head)
        size = self._head_bytes()
        if head[0] & CONTROL:
            size += head[1] & 0x7F
        return size - len(head)

    def _head_bytes(self) -> int:
        second = self._head[1]
        mask_bytes = MASK_BYTES if second & MASKED else 0
        return 2 + SIZE_BYTES.get(second & 0x7F, 0) + mask_bytes

    def _take(self) -> tuple[int, bytes]:
        start = self._head_bytes()
        head, self._head = bytes(self._head), bytearray()
        opcode, short = head[0] & 0x0F, head[1] & 0x7F
        if not opcode & CONTROL:
            size_bytes = SIZE_BYTES.get(short, 0)
            self._skip = int.from_bytes(head[2 : 2 + size_bytes], "big") if size_bytes else short
            return opcode, b""
        payload = head[start:]
        if head[1] & MASKED:
            mask = head[start - MASK_BYTES : start]
            payload = bytes(byte ^ mask[at % MASK_BYTES] for at, byte in enumerate(payload))
        return opcode, payload
