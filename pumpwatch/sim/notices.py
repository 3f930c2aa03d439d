"""The notices of one simulated board, and how each exchange's own answer shows them."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec

from pumpwatch.sim.venue import NOT_FOUND, Answer, Request, json_answer

KST = timezone(timedelta(hours=9))
NS = 1_000_000_000
MINUTE_NS = 60 * NS
NEVER_NS = 2**63
UPBIT_FIRST_NUMBER, BITHUMB_FIRST_NUMBER = 6400, 1_654_000
UPBIT_PATH = "/api/v1/announcements"
UPBIT_PER_PAGE_MAX = 20
BITHUMB_COUNT_MAX, BITHUMB_COUNT_DEFAULT = 20, 5

# What stands on the boards before a run; every trap of a first page, and no listing of today.
UPBIT_OLD = (
    ("커브(CRV) KRW, USDT 마켓 디지털 자산 추가", "거래"),
    ("썬더코어(TT) 거래지원 종료 안내 (9/14 15:00)", "거래"),
    ("하이퍼레인(HYPER), 레드스톤(RED) 신규 거래지원 안내 (BTC, USDT 마켓)", "거래"),
    ("만트라(MANTRA) 거래 유의 종목 지정 안내", "거래"),
    ("메가이더(MEGA) 입출금 일시 중단 안내 (08/25 09:00 ~)", "입출금"),
    ("헤미(HEMI) 거래지원 취소 안내", "거래"),
    ("엑스알피(리플)(XRP) 거래하고, 총 상금 1 BTC 받아가세요! 트레이딩 이벤트!", "이벤트"),
    ("딥북(DEEP) KRW 마켓 디지털 자산 추가", "거래"),
)
BITHUMB_OLD = (
    ("스테이더(SD) 원화 마켓 추가", "마켓 추가"),
    ("소닉(S) 입출금 일시 중지 안내 (09/21 오후 8시~)", "입출금"),
    ("페치(FET), 멀티버스엑스(EGLD) 거래유의종목 지정", "거래유의"),
    ("[이벤트] 총 3억원 상당, 젠신(AI) 원화마켓 추가 기념 이벤트", "이벤트"),
    ("재산상 이익 제공 공시", "공시"),
)
OLD_NOTICES = 60  # so that there is a second and a third page
OLD_EVERY_NS = 97 * MINUTE_NS


@dataclass
class Posted:
    """One notice. ``symbols``: what a detector must make of it, empty for traps."""

    number: int
    uuid: str
    title: str
    category: str
    first_ns: int
    listed_ns: int
    body: str = ""
    symbols: tuple[str, ...] = ()
    web_from_ns: int = 0  # the web page shows it from then on, by our clock


class NoticeBoard:
    """Notices in no order; the answers sort them."""

    def __init__(self, name: str, now_ns: int, rng: random.Random) -> None:
        self.name = name
        self.notices: list[Posted] = []
        self._rng = rng
        self._next = UPBIT_FIRST_NUMBER if name == "upbit" else BITHUMB_FIRST_NUMBER
        old = UPBIT_OLD if name == "upbit" else BITHUMB_OLD
        for age in range(OLD_NOTICES, 0, -1):
            title, category = old[age % len(old)]
            self.publish(title, category, now_ns - age * OLD_EVERY_NS)
        self.pinned = self.notices.pop(0)

    def publish(self, title: str, category: str, first_ns: int, **more: Any) -> Posted:
        """A new notice, published at ``first_ns`` (to the second, as the boards say it)."""
        first_ns -= first_ns % NS
        posted = Posted(
            self._next, str(self._rng.randrange(10**8, 2 * 10**9)), title, category,
            first_ns, first_ns, **more,
        )  # fmt: skip
        self._next += self._rng.randint(1, 3)
        self.notices.append(posted)
        return posted

    def edit(self, posted: Posted, now_ns: int, title: str = "", body: str = "") -> None:
        """Change a notice; on Upbit that lifts it to the top of the list."""
        posted.listed_ns = now_ns - now_ns % NS
        posted.title = title or posted.title
        posted.body = body or posted.body

    def answer(self, request: Request, now_ns: int) -> Answer:
        """The board's own REST interface. Raises ValueError for a number that is none."""
        if request.method != "GET":
            return NOT_FOUND
        shown = [one for one in self.notices if one.web_from_ns <= now_ns]
        if self.name == "bithumb":
            return _bithumb(shown, request) if request.path == "/v1/notices" else NOT_FOUND
        head, _, number = request.path.rpartition("/")
        if request.path == UPBIT_PATH:
            return _upbit(shown, self.pinned, request)
        return _upbit_body(shown, int(number)) if head == UPBIT_PATH else NOT_FOUND


# --- answers --------------------------------------------------------------------------------------


def _upbit(notices: list[Posted], pinned: Posted, request: Request) -> Answer:
    per_page = min(max(request.number("per_page", 20), 1), UPBIT_PER_PAGE_MAX)
    first = (max(request.number("page", 1), 1) - 1) * per_page
    category = request.query.get("category", "all")
    shown = [one for one in notices if category == "all" or one.category == "거래"]
    shown.sort(key=lambda one: (one.listed_ns, one.number), reverse=True)
    data = {
        "total_pages": -(-len(shown) // per_page),
        "total_count": len(shown),
        "notices": [_upbit_row(one) for one in shown[first : first + per_page]],
        "fixed_notices": [_upbit_row(pinned)],
    }
    answer = json_answer({"success": True, "data": data})
    etag = f'W/"{hashlib.sha256(answer.body).hexdigest()[:20]}"'
    if request.headers.get("if-none-match") == etag:
        return Answer(304, b"", (("etag", etag),))
    return Answer(answer.status, answer.body, (("etag", etag),))


def _upbit_body(notices: list[Posted], number: int) -> Answer:
    for one in notices:
        if one.number == number:
            return json_answer({"success": True, "data": {**_upbit_row(one), "body": one.body}})
    return json_answer({"success": False, "data": None}, 404)


def _bithumb(notices: list[Posted], request: Request) -> Answer:
    count = min(max(request.number("count", BITHUMB_COUNT_DEFAULT), 1), BITHUMB_COUNT_MAX)
    shown = sorted(notices, key=lambda one: (one.first_ns, one.number), reverse=True)
    return json_answer([_bithumb_row(one) for one in shown[:count]])


def socket_text(posted: Posted, now_ns: int, *, is_created: bool) -> str:
    """The message of Upbit's announcement socket."""
    document = {
        "type": "announcement",
        "event_type": "CREATED" if is_created else "UPDATED",
        "uuid": posted.uuid,
        "title": f"[{posted.category}] {posted.title}",
        "category": "trade" if posted.category == "거래" else "notice",
        "url": f"https://www.upbit.com/service_center/notice?id={posted.uuid}&view=share",
        "first_listed_at": kst_text(posted.first_ns),
        "listed_at": kst_text(posted.listed_ns),
        "timestamp": now_ns // 1_000_000,
        "stream_type": "REALTIME",
    }
    return msgspec.json.encode(document).decode()


def opening_body(symbols: tuple[str, ...], opening_ns: int) -> str:
    """A notice's HTML with a table of when trading opens."""
    at = _korean(opening_ns).strftime("%Y-%m-%d %H:%M")
    rows = "".join(f"<tr><td>이름({one})</td><td>KRW</td><td>{at} KST</td></tr>" for one in symbols)
    return (
        "<p>안녕하세요.</p><table><tr><th>디지털 자산</th><th>마켓</th>"
        f"<th>거래지원 개시 시점</th></tr>{rows}</table><p>입금은 지금부터 가능합니다.</p>"
    )


def kst_text(moment_ns: int) -> str:
    """As Upbit writes a time."""
    return _korean(moment_ns).strftime("%Y-%m-%dT%H:%M:%S+09:00")


def _upbit_row(posted: Posted) -> dict[str, Any]:
    return {
        "listed_at": kst_text(posted.listed_ns),
        "first_listed_at": kst_text(posted.first_ns),
        "id": posted.number,
        "uuid": posted.uuid,
        "title": posted.title,
        "category": posted.category,
        "need_new_badge": posted.listed_ns == posted.first_ns,
        "need_update_badge": posted.listed_ns != posted.first_ns,
    }


def _bithumb_row(posted: Posted) -> dict[str, Any]:
    edited = posted.listed_ns != posted.first_ns
    modified_ns = posted.listed_ns if edited else posted.first_ns - 33 * MINUTE_NS
    return {
        "categories": [posted.category],
        "title": posted.title,
        "pc_url": f"https://feed.bithumb.com/notice/{posted.number}",
        "published_at": _korean(posted.first_ns).strftime("%Y-%m-%d %H:%M:%S"),
        "modified_at": _korean(modified_ns).strftime("%Y-%m-%d %H:%M:%S"),
    }


def _korean(moment_ns: int) -> datetime:
    return datetime.fromtimestamp(moment_ns // NS, UTC).astimezone(KST)
