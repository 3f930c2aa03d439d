"""The public market lists of Upbit and Bithumb: which coins already have a won market."""

from __future__ import annotations

from pumpwatch.sim.venue import NOT_FOUND, Answer, Request, json_answer

BOARDS = ("upbit", "bithumb")
WON_COINS = {
    "upbit": ("BTC", "ETH", "XRP", "SOL", "DOGE", "ADA", "TRX", "LINK", "AVAX", "DOT"),
    "bithumb": ("BTC", "ETH", "XRP", "SOL", "DOGE", "BNB", "SHIB", "LTC", "GRT"),
}
OTHER_MARKETS = {"upbit": ("BTC-ETH", "USDT-BTC", "USDT-PEPE"), "bithumb": ("BTC-ETH",)}


def answer_board(board: str, request: Request) -> Answer:
    """GET /v1/market/all; ``isDetails=true`` adds the warnings."""
    if request.path != "/v1/market/all" or request.method != "GET":
        return NOT_FOUND
    names = [f"KRW-{coin}" for coin in WON_COINS[board]] + list(OTHER_MARKETS[board])
    rows: list[dict[str, object]] = [
        {"market": name, "korean_name": name.split("-")[1], "english_name": name.split("-")[1]}
        for name in names
    ]
    if request.query.get("isDetails") == "true" or request.query.get("is_details") == "true":
        for row in rows:
            row["market_event"] = {"warning": False}
    return json_answer(rows)
