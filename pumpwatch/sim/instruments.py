"""What is traded: the coins, and what one feed's instrument looks like."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from pumpwatch.sim.digits import plain

Status = Literal["trading", "prelaunch", "halted", "ended", "unlisted"]

# Dollars, roughly as of the recordings; what a recording prices differently starts there.
COINS: dict[str, float] = {
    "BTC": 77606.8, "ETH": 2680.5, "SOL": 143.21, "XRP": 0.6131, "DOGE": 0.086245, "BNB": 628.9,
    "PEPE": 0.0000085, "SHIB": 0.0000137, "LTC": 94.53, "ETC": 18.52, "BSV": 42.52, "GRT": 0.67522,
    "OL": 0.012287, "BOME": 0.015439, "FITFI": 0.007173, "DIS": 121.58, "MOB": 0.836,
    "BTTC": 0.00000085, "ADA": 0.3521, "TRX": 0.1614, "LINK": 13.27, "AVAX": 27.61, "DOT": 5.412,
    "BONK": 0.0000171, "SATS": 0.00000027, "MOG": 0.0000012, "NEAR": 4.331, "UNI": 7.12,
    "ATOM": 4.915, "FIL": 3.852, "APT": 8.97, "ARB": 0.6123, "OP": 1.614, "SUI": 2.107,
    "SEI": 0.4152, "TIA": 5.341, "INJ": 20.41, "FLOKI": 0.000131, "NEO": 11.2, "TON": 5.56,
    "WIF": 1.94, "JUP": 0.812, "ENA": 0.337, "STRK": 0.413, "PYTH": 0.331, "ALT": 0.121,
    "AXS": 5.11, "SAND": 0.262, "MANA": 0.297, "GALA": 0.0211, "APE": 0.771, "CRV": 0.277,
    "AAVE": 152.3, "MKR": 1611.0, "SNX": 1.51, "COMP": 45.2, "LDO": 1.13, "IMX": 1.52,
    "XLM": 0.0951, "ALGO": 0.129, "VET": 0.0231, "HBAR": 0.0521, "ICP": 8.11, "EOS": 0.481,
    "XTZ": 0.672, "FLOW": 0.551, "CHZ": 0.0691, "ZRX": 0.3386, "TLOS": 0.0831, "RUNE": 5.17,
}  # fmt: skip
CJK_COIN, CJK_PRICE = "币安人生", 0.1234
BASE_DECIMALS_MAX = 8
PRICE_DIGITS = 6


class Entry(NamedTuple):
    """One combination of side, price and quantity (venue's unit), exact; trades point to it."""

    is_sell: bool
    price: int  # / 10**price_decimals
    price_decimals: int
    quantity: int  # / 10**quantity_decimals
    quantity_decimals: int
    style: int = 0  # which variant of the message it is written in; 0: the usual one
    trade_id: str = ""  # of a recorded trade whose id no number gives

    @property
    def side(self) -> str:
        """As the database has it."""
        return "sell" if self.is_sell else "buy"

    @property
    def price_text(self) -> str:
        """The price without trailing zeros."""
        return plain(self.price, self.price_decimals)

    @property
    def quantity_text(self) -> str:
        """The quantity in the venue's unit, without trailing zeros."""
        return plain(self.quantity, self.quantity_decimals)


def sum_of(entries: list[Entry]) -> Entry:
    """Several fills in one: all their quantity at the last one's price and side."""
    places = max(entry.quantity_decimals for entry in entries)
    quantity = sum(entry.quantity * 10 ** (places - entry.quantity_decimals) for entry in entries)
    return entries[-1]._replace(quantity=quantity, quantity_decimals=places)


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """One line of a venue's instrument list."""

    index: int
    venue_symbol: str
    base: str  # as the daemon stores it: KuCoin's XBT is BTC
    quote: str
    coin: str  # PEPE for 1000PEPE
    price: float
    price_decimals: int
    quantity_decimals: int  # of the venue's quantities
    contract_mantissa: int = 1  # base coins per unit of quantity: mantissa / 10**decimals
    contract_decimals: int = 0
    status: Status = "trading"
    number_offset: int = 0  # id = number + offset (Gate spot)
    listed: dict[str, str] = field(default_factory=dict)  # what else its list entry says

    @property
    def symbol(self) -> str:
        """BASE+QUOTE, the name in the database."""
        return self.base + self.quote

    @property
    def has_contracts(self) -> bool:
        """Quantities count contracts."""
        return bool(self.listed.get("contracts"))

    @property
    def contract_value(self) -> str:
        """Base coins per contract, exact."""
        return plain(self.contract_mantissa, self.contract_decimals)

    def base_quantity(self, entry: Entry) -> str:
        """The quantity in coins of the base, exact and without trailing zeros."""
        return plain(
            entry.quantity * self.contract_mantissa,
            entry.quantity_decimals + self.contract_decimals,
        )


def coin_names(count: int, first: tuple[str, ...] = ()) -> list[str]:
    """``count`` coins: the big two, then ``first``, then the rest; made-up ones if need be."""
    names = list(dict.fromkeys(("BTC", "ETH", *first, *COINS)))
    names += [f"C{number:04d}" for number in range(1, max(0, count - len(names)) + 1)]
    return names[:count]


def coin_price(coin: str) -> float:
    """Dollars."""
    if coin == CJK_COIN:
        return CJK_PRICE
    return COINS.get(coin) or 10 ** (random.Random(coin).random() * 5 - 3)


def price_decimals(price: float, most: int = 12, least: int = 1) -> int:
    """So many that a price has about six digits."""
    decimals = PRICE_DIGITS - 1
    while decimals < most and price * 10**decimals < 10 ** (PRICE_DIGITS - 1):
        decimals += 1
    while decimals > least and price * 10**decimals > 10**PRICE_DIGITS:
        decimals -= 1
    return min(most, max(least, decimals))


def quantity_decimals(price: float) -> int:
    """So many that the smallest quantity is worth some cents."""
    decimals = 0
    while decimals < BASE_DECIMALS_MAX and price / 10**decimals > 0.05:
        decimals += 1
    return decimals


def unborn(instruments: list[Instrument], count: int) -> list[Instrument]:
    """Instruments that are yet to be announced, each like one that trades against USDT."""
    model = next(
        one
        for one in instruments
        if one.status == "trading" and one.quote == "USDT" and one.base == one.coin == "ETH"
    )
    found = []
    for number in range(1, count + 1):
        coin = f"NEW{number:03d}"
        found.append(replace(
            model, index=len(instruments) + number - 1, base=coin, coin=coin, status="unlisted",
            venue_symbol=model.venue_symbol.replace("ETH", coin), listed=dict(model.listed),
        ))  # fmt: skip
    return found


def contract_exponent(price: float) -> int:
    """The power of ten that makes a contract worth about a dollar to ten."""
    exponent = 0
    while price * 10**exponent < 1:
        exponent += 1
    while price * 10**exponent >= 10:
        exponent -= 1
    return exponent


def contract_parts(exponent: int) -> tuple[int, int]:
    """A contract of ``10**exponent`` coins as (mantissa, decimals)."""
    return (10**exponent, 0) if exponent >= 0 else (1, -exponent)


class PriceWalk:
    """A symbol's price over time, and entries around it."""

    def __init__(self, instrument: Instrument, rng: random.Random, long_decimals_max: int) -> None:
        self._instrument = instrument
        self._rng = rng
        self._long_decimals_max = long_decimals_max  # 0: the venue has no such numbers
        self.price = instrument.price

    def step(self, drift: float = 0.0) -> None:
        """Move on; never far from where it began, so that its digits stay as many."""
        pull = (self._instrument.price / self.price - 1) * 0.05
        self.price *= 1 + self._rng.gauss(drift + pull, 0.002)
        self.price = min(max(self.price, self._instrument.price * 0.5), self._instrument.price * 2)

    def lift(self, change: float) -> None:
        """Move by so much at once."""
        self.price *= 1 + change

    def entries(self, count: int, styles: int, buy_share: float = 0.5) -> list[Entry]:
        """New entries near the price; one in fifty in another style, few with many digits."""
        rng = self._rng
        decimals = self._instrument.price_decimals
        middle = max(2, round(self.price * 10**decimals))
        spread = max(1, middle // 2000)
        found = []
        for _ in range(count):
            price = middle + rng.randint(-spread, spread)
            if price > 1000 and rng.random() < 0.3:
                price -= price % 100
            quantity, quantity_places = self._quantity()
            style = rng.randrange(styles) if styles > 1 and rng.random() < 0.02 else 0
            found.append(
                Entry(
                    rng.random() < buy_share,
                    max(1, price),
                    decimals,
                    quantity,
                    quantity_places,
                    style,
                )
            )
        if self._long_decimals_max and rng.random() < 0.1:
            found[0] = self._long(found[0])
        return found

    def _quantity(self) -> tuple[int, int]:
        instrument, rng = self._instrument, self._rng
        unit = instrument.contract_mantissa / 10**instrument.contract_decimals
        dollars = 10 ** rng.uniform(0.5, 4.0)
        places = instrument.quantity_decimals
        quantity = max(1, round(dollars / (self.price * unit) * 10**places))
        if quantity > 1000 and rng.random() < 0.3:
            quantity -= quantity % 100
        return quantity, places

    def _long(self, entry: Entry) -> Entry:
        """The same with a quantity of 17 to 18 digits (R15)."""
        digits = self._rng.randint(17, 18)
        quantity = self._rng.randrange(10 ** (digits - 1), 10**digits)
        decimals = min(self._long_decimals_max, 8)
        return entry._replace(quantity=quantity, quantity_decimals=decimals)
