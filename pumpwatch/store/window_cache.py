"""Complete answers, for who asks again; bounded by rows, the longest unasked goes first."""

from __future__ import annotations

from collections import OrderedDict

from pumpwatch.store.window_model import WindowAnswer, WindowQuestion

ROWS_MAX = 300_000  # about 30 MiB
ANSWERS_MAX = 256
ANY_SYMBOL = "*"


class WindowCache:
    """Only whole answers go in; what a new hole or a correction touches goes out."""

    def __init__(self, rows_max: int = ROWS_MAX, answers_max: int = ANSWERS_MAX) -> None:
        self.hits = 0
        self.misses = 0
        self.rows = 0
        self._rows_max = rows_max
        self._answers_max = answers_max
        self._answers: OrderedDict[WindowQuestion, WindowAnswer] = OrderedDict()

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, question: WindowQuestion) -> WindowAnswer | None:
        """The answer, if it is kept."""
        answer = self._answers.get(question)
        if answer is None:
            self.misses += 1
            return None
        self.hits += 1
        self._answers.move_to_end(question)
        return answer

    def put(self, answer: WindowAnswer) -> None:
        """Keep a complete answer; one that is not is a fault of the caller."""
        assert answer.is_complete
        if len(answer) > self._rows_max:
            return
        self._pop(answer.question)
        self._answers[answer.question] = answer
        self.rows += len(answer)
        while self.rows > self._rows_max or len(self._answers) > self._answers_max:
            self._pop(next(iter(self._answers)))

    def drop(self, feed: str, symbol: str, from_ns: int, to_ns: int) -> None:
        """What is known of this span changed: a hole, or rows that came late. "*": any symbol."""
        for question, answer in list(self._answers.items()):
            if question.from_ns >= to_ns or from_ns >= question.to_ns:
                continue
            if any(one.feed == feed for one in answer.feeds) and (
                symbol == ANY_SYMBOL or symbol in answer.labelled
            ):
                self._pop(question)

    def _pop(self, question: WindowQuestion) -> None:
        answer = self._answers.pop(question, None)
        if answer is not None:
            self.rows -= len(answer)
