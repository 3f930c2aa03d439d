"""The frame scanner, for C modules; Python sees what its errors are called."""

ERROR_TEXTS: dict[int, str]
CLOSE_CODES: dict[int, int]

def count_frames(data: bytes) -> tuple[int, int, int]: ...
