"""Trade ids that are text, read plainly."""

from __future__ import annotations

import re
from typing import Any

from tests._fast.plain_json import MalformedError, Number, text_of

PLAIN = re.compile("[0-9A-Za-z_-]{1,64}")
DIGITS = re.compile("[0-9]{1,64}")


def id_of(value: Any) -> str:
    """An id in quotes, or digits without."""
    if isinstance(value, Number):
        if DIGITS.fullmatch(value):
            return str(value)
    elif PLAIN.fullmatch(text_of(value)):
        return str(value)
    raise MalformedError(f"{value!r} is no id")
