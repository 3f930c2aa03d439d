"""Titles of Upbit's and Bithumb's notices: which coins get a KRW market, or a doubt.

Nothing is guessed: a title that looks like a listing and cannot be read as a whole is a doubt,
for a person to decide. The 73 titles in tests/samples/listing_titles.tsv are the contract.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator

import msgspec

TITLE_CHARACTERS_MAX = 500  # the longest seen has 90; nothing longer is read, only looked at
LOOKED_AT_CHARACTERS_MAX = 2_000
BITHUMB_CATEGORY = "마켓 추가"
EVENT_CATEGORY = "이벤트"

WON = frozenset({"KRW", "원화"})
MARKET = r"(?:KRW|원화|BTC|USDT|USDC|ETH)"
MARKETS = rf"(?<![A-Za-z0-9]){MARKET}(?:\s*[,/·&]\s*{MARKET})*"
MARKET_NAME = re.compile(MARKET)
MARKET_BRACKET = re.compile(rf"\s*{MARKETS}\s*(?:마켓|[Mm]arkets?)\s*")
MARKET_WORD = re.compile(r"마켓|[Mm]arket")
SYMBOL = re.compile(r"[A-Z0-9]{1,15}")
BRACKET = re.compile(r"\(([^()]*)\)")

PREFIX = re.compile(r"\s*\[([^\]]*)\]\s*")  # "[거래] ": on Telegram and in the socket's titles
REMARK = re.compile(r"\s*\(([^()]*안내)\s*\)\s*$")  # what an edit adds at the end
PHRASE = re.compile(
    r"(신규\s*거래\s*지원)"
    r"|마켓\s*\)?\s*(디지털\s*자산\s*추가|신규\s*상장)"
    r"|(Market\s+Support\s+for)\b"
)
# The market list outside of brackets: KRW need not stand last in it.
OUTSIDE = re.compile(
    rf"(?P<markets>{MARKETS})\s*마켓\s*(?:신규\s*거래\s*지원|디지털\s*자산\s*추가|신규\s*상장)"
)
BITHUMB_FORM = re.compile(
    rf"(?P<coins>.*?)\s*(?P<markets>{MARKETS})\s*마켓\s*추가\s*(?:\((?P<remark>[^()]*)\))?\s*"
)
ADDS_A_MARKET = re.compile(r"마켓.*(?:추가|상장|지원)|(?:추가|상장|지원).*마켓")
# End, caution, called off, deposits, withdrawals, fees: no listing (LISTINGS 3, step 2).
OTHER_NEWS = re.compile(r"종료|유의|취소|입출금|출금\s*중단|수수료")
CALLED_OFF = re.compile(r"취소|철회")


class TitleReading(msgspec.Struct, frozen=True):
    """What a title says. With a ``doubt`` there are no symbols; without both it is other news."""

    symbols: tuple[str, ...] = ()  # coins that get a KRW market, in the title's order
    doubt: str = ""  # why a person must look

    @property
    def is_krw_listing(self) -> bool:
        """Whether it announces at least one KRW market."""
        return bool(self.symbols)


OTHER = TitleReading()


class _DoubtError(Exception):
    """The title cannot be read as a whole."""


class _Coin(msgspec.Struct, frozen=True):
    """A coin of a title; ``markets`` is the list in its own brackets, empty where it has none."""

    symbol: str
    markets: frozenset[str] = frozenset()
    is_detached: bool = False  # a blank stands before the list: it may be meant for all coins


def read_upbit_title(title: str, category: str = "") -> TitleReading:
    """Read a title of Upbit's board; ``category`` as the board files it, empty: not known."""
    text, prefix = _without_prefix(_plain(title))
    if len(text) > TITLE_CHARACTERS_MAX:
        return _too_long(text)
    text, remarks = _without_remarks(text)
    has_won = any(name in text for name in WON)
    phrase = PHRASE.search(text)
    other = OTHER_NEWS.search(text)
    if phrase is None:
        is_near = has_won and ADDS_A_MARKET.search(text) and not other and "이벤트" not in text
        return _doubt("adds a KRW market, in no known form") if is_near else OTHER
    if "이벤트!" in text or EVENT_CATEGORY in prefix:
        return OTHER
    if other is not None:
        return _doubt(f"a listing's words together with {other[0]}") if has_won else OTHER
    try:
        symbols = _read_forms(text, phrase)
    except _DoubtError as doubt:
        return _doubt(str(doubt))
    if symbols and any(CALLED_OFF.search(remark) for remark in remarks):
        return _doubt("a listing whose remark calls it off")
    if symbols and category.strip() == EVENT_CATEGORY:
        return _doubt(f"reads like a listing, and is filed under {EVENT_CATEGORY}")
    return TitleReading(symbols)


def read_bithumb_title(title: str, categories: tuple[str, ...] | None = None) -> TitleReading:
    """Read a title of Bithumb's board; ``categories`` None: not known."""
    text, prefix = _without_prefix(_plain(title))
    if len(text) > TITLE_CHARACTERS_MAX:
        return _too_long(text)
    if prefix:
        categories = (*(categories or ()), prefix)
    is_filed = categories is None or BITHUMB_CATEGORY in categories
    form = BITHUMB_FORM.fullmatch(text)
    if form is None:
        return _read_odd_bithumb(text, categories)
    if not WON & _markets(form["markets"]):
        return OTHER
    if categories is not None and EVENT_CATEGORY in categories and not is_filed:
        return OTHER
    try:
        symbols = _unique(coin.symbol for coin in _coins(form["coins"], own_lists=False))
    except _DoubtError as doubt:
        return _doubt(str(doubt))
    if CALLED_OFF.search(form["remark"] or ""):
        return _doubt("a listing whose remark calls it off")
    if not is_filed:
        return _doubt(f"reads like a listing, and is filed under {', '.join(categories or ())}")
    return TitleReading(symbols)


def _read_odd_bithumb(text: str, categories: tuple[str, ...] | None) -> TitleReading:
    if "이벤트" in text or (categories is not None and EVENT_CATEGORY in categories):
        return OTHER
    is_filed = categories is not None and BITHUMB_CATEGORY in categories
    has_won = any(name in text for name in WON)
    if has_won and re.search(r"마켓\s*추가", text) and (is_filed or not OTHER_NEWS.search(text)):
        return _doubt("adds a KRW market, in no known form")
    if is_filed and not OTHER_NEWS.search(text):
        return _doubt(f"filed under {BITHUMB_CATEGORY}, in no known form")
    return OTHER


# --- Upbit's forms --------------------------------------------------------------------------------


def _read_forms(text: str, phrase: re.Match[str]) -> tuple[str, ...]:
    outside = OUTSIDE.search(text)
    if outside is not None:
        return _read_outside(text, outside)
    group = phrase.lastindex or 0
    start, end = phrase.span(group)
    if group == 3:  # English: the coins stand behind the phrase
        return _with_won(_coins(text[end:]), may_share=True)
    coins, tail = _coins(text[:start]), _market_brackets(text[end:])
    if len(tail) > 1 or (tail and any(coin.markets for coin in coins)):
        raise _DoubtError("more than one market list for the same coins")
    if tail:
        return _unique(coin.symbol for coin in coins) if WON & tail[0] else ()
    return _with_won(coins, may_share=False)


def _read_outside(text: str, outside: re.Match[str]) -> tuple[str, ...]:
    """``이름(SYM) KRW, USDT 마켓 …``, or no coin before and ``… (ALT, PYTH)`` after."""
    if not WON & _markets(outside["markets"]):
        return ()
    head = text[: outside.start()].strip()
    if head.endswith((",", "/", "·", "&")):
        raise _DoubtError("the market list has a name that is no known market")
    after = BRACKET.search(text, outside.end())
    listed = _listed_symbols(after[1]) if after else ()
    if head:
        symbols = _unique(coin.symbol for coin in _coins(head, own_lists=False))
        if listed and not set(listed) <= set(symbols):
            raise _DoubtError("coins before the market list and other ones after it")
        return symbols
    if not listed:
        raise _DoubtError("no coin in brackets")
    return _unique(listed)


def _listed_symbols(content: str) -> tuple[str, ...]:
    """``ALT, PYTH`` or ``휴먼스케이프 HUM``; empty where one of them is no symbol."""
    words = [item.split() for item in content.split(",")]
    found = [item[-1] for item in words if item and SYMBOL.fullmatch(item[-1])]
    return tuple(found) if len(found) == len(words) else ()


def _with_won(coins: list[_Coin], *, may_share: bool) -> tuple[str, ...]:
    """Those whose own list has KRW; every coin must have a list, or all share the last one's."""
    without = [coin.symbol for coin in coins if not coin.markets]
    if without and may_share and len(without) == len(coins) - 1 and coins[-1].is_detached:
        return _unique(coin.symbol for coin in coins) if WON & coins[-1].markets else ()
    if without:
        raise _DoubtError(f"no market list for {', '.join(without)}")
    return _unique(coin.symbol for coin in coins if WON & coin.markets)


def _market_brackets(text: str) -> list[frozenset[str]]:
    """The market lists in brackets; a bracket that speaks of markets and is no list is a doubt."""
    found = []
    for bracket in BRACKET.finditer(text):
        if MARKET_BRACKET.fullmatch(bracket[1]):
            found.append(_markets(bracket[1]))
        elif MARKET_WORD.search(bracket[1]):
            raise _DoubtError(f"({bracket[1]}) is no known market list")
    return found


# --- coins ----------------------------------------------------------------------------------------


def _coins(text: str, *, own_lists: bool = True) -> list[_Coin]:
    """``이름(SYM), 이름(다른)(SYM)(KRW 마켓)``: every item must be a coin with its symbol."""
    coins = [_coin(item) for item in _items(text)]
    if not own_lists and any(coin.markets for coin in coins):
        raise _DoubtError("more than one market list for the same coins")
    return coins


def _items(text: str) -> Iterator[str]:
    """Split at separators outside of brackets."""
    depth = 0
    start = 0
    for match in re.finditer(r"[()]|,|·|/|&|\s및\s", text):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
        elif depth == 0:
            yield text[start : match.start()]
            start = match.end()
        if depth not in (0, 1):
            raise _DoubtError("brackets that do not match")
    if depth:
        raise _DoubtError("brackets that do not match")
    yield text[start:]


def _coin(item: str) -> _Coin:
    """A name, brackets side by side of which the last holds the symbol, and maybe a market list."""
    brackets = list(BRACKET.finditer(item))
    markets: frozenset[str] = frozenset()
    is_detached = False
    if brackets and MARKET_WORD.search(brackets[-1][1]):
        last = brackets.pop()
        (markets,) = _market_brackets(last[0])
        is_detached = item[: last.start()].endswith(" ")
        if item[last.end() :].strip():
            raise _DoubtError("words behind a market list")
        item = item[: last.start()]
    if not brackets:
        raise _DoubtError(f"no symbol in brackets: {item.strip()[:40]!r}")
    for one, following in itertools.pairwise(brackets):
        if item[one.end() : following.start()].strip():
            raise _DoubtError(f"two coins without a comma: {item.strip()[:40]!r}")
    if item[brackets[-1].end() :].strip():
        raise _DoubtError(f"words behind a coin: {item.strip()[:40]!r}")
    symbol = brackets[-1][1].strip()
    if SYMBOL.fullmatch(symbol) is None or symbol == "KRW":
        raise _DoubtError(f"({symbol[:40]}) is no symbol")
    return _Coin(symbol, markets, is_detached)


def _markets(text: str) -> frozenset[str]:
    return frozenset(MARKET_NAME.findall(text))


# --- text -----------------------------------------------------------------------------------------


def _plain(title: str) -> str:
    """Composed Hangul, half-width brackets and letters, single blanks."""
    return " ".join(unicodedata.normalize("NFKC", title[:LOOKED_AT_CHARACTERS_MAX]).split())


def _too_long(text: str) -> TitleReading:
    is_near = any(name in text for name in WON) and ADDS_A_MARKET.search(text)
    return _doubt(f"longer than {TITLE_CHARACTERS_MAX} characters") if is_near else OTHER


def _without_prefix(text: str) -> tuple[str, str]:
    match = PREFIX.match(text)
    return (text[match.end() :], match[1].strip()) if match else (text, "")


def _without_remarks(text: str) -> tuple[str, list[str]]:
    remarks = []
    while (match := REMARK.search(text)) is not None:
        remarks.append(match[1])
        text = text[: match.start()]
    return text, remarks


def _unique(symbols: Iterator[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(symbols))


def _doubt(why: str) -> TitleReading:
    return TitleReading(doubt=why)
