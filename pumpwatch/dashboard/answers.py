"""What every caller is given alike: built and encoded once per look, however many ask.

A look is a second; between two looks the same bytes go out, with an ETag by which a caller that
has them already is told so. Nothing is built that nobody asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from pumpwatch.dashboard.view import SeatView
from pumpwatch.standing import Standing

JSON = "application/json"

Build = Callable[[Standing], "Shared"]


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """One finished answer."""

    body: bytes
    status: int = 200
    media_type: str = JSON


def as_json(document: object, status: int = 200) -> Shared:
    """A document as every caller gets it."""
    return Shared(body=msgspec.json.encode(document), status=status)


class SharedAnswers:
    """The answers of one look, by path."""

    def __init__(self, seat: SeatView, builders: Mapping[str, Build]) -> None:
        self.built = 0  # since the start; shows that sharing works
        self._seat = seat
        self._builders = builders
        self._of: Standing | None = None
        self._answers: dict[str, Shared] = {}
        self._looks = 0

    def of(self, path: str) -> tuple[Shared, str] | None:
        """The answer of the present look and its ETag; None: this path is not shared."""
        build = self._builders.get(path)
        if build is None:
            return None
        standing = self._seat.standing
        if standing is not self._of:
            self._of, self._answers = standing, {}
            self._looks += 1
        answer = self._answers.get(path)
        if answer is None:
            answer = self._answers[path] = build(standing)
            self.built += 1
        return answer, f'"{standing.process.pid}-{self._looks}"'
