"""How fast each symbol of a feed trades, remembered through the silence of a hole."""

from __future__ import annotations

from pumpwatch._fast.instruments import InstrumentTable

SAMPLE_S = 5.0
FORGET_SHARE = 0.02  # of a rate, with each slower sample: half of it is gone in 3 minutes


class RowRates:
    """Rows a second by venue symbol; ``sample`` is called every few seconds."""

    def __init__(self, table: InstrumentTable) -> None:
        self._table = table
        self._rows: list[int] = []
        self._rates: list[float] = []
        self._sampled_s = 0.0

    def sample(self, now_s: float) -> None:
        """Count what came since the last sample; sooner than SAMPLE_S after it: nothing."""
        if self._rows and now_s - self._sampled_s < SAMPLE_S:
            return
        span_s, self._sampled_s = now_s - self._sampled_s, now_s
        for number in range(self._table.count):
            rows = self._table.rows(number)
            if number == len(self._rows):
                self._rows.append(rows)
                self._rates.append(0.0)
                continue
            rate = (rows - self._rows[number]) / span_s
            self._rows[number] = rows
            self._rates[number] = max(rate, self._rates[number] * (1 - FORGET_SHARE))

    def __call__(self, venue_symbol: str) -> float:
        """Rows a second; 0.0: none came, or nothing is known yet."""
        number = self._table.number(venue_symbol)
        return 0.0 if number is None or number >= len(self._rates) else self._rates[number]
