"""The simulated notice boards: what they answer, and what their script may say."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jwt
import pytest
import trio
from trio.testing import MockClock

from pumpwatch.clock import SystemClock
from pumpwatch.errors import UsageError
from pumpwatch.sim.board_script import read_script
from pumpwatch.sim.board_socket import ACCESS_KEY, PATH, SECRET_KEY, BoardSockets
from pumpwatch.sim.boards import Boards
from pumpwatch.sim.main import main
from pumpwatch.sim.venue import Answer, Request, Upgrade

ANNOUNCEMENTS = "/api/v1/announcements"
LISTING = {
    "board": "upbit",
    "do": "publish",
    "title": "에이(A) KRW 마켓 디지털 자산 추가",
    "key": "a",
}


@pytest.fixture
def boards() -> Boards:
    """Both boards, with limits, and nothing scripted."""
    return Boards(SystemClock(), random.Random(5))


def ask(boards: Boards, board: str, path: str, query: str = "", **headers: str) -> Answer:
    pairs = dict(part.split("=") for part in query.split("&") if part)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return boards.answer(board, Request("GET", path, pairs, named))


def titles(answer: Answer) -> list[str]:
    return [one["title"] for one in json.loads(answer.body)["data"]["notices"]]


async def play(boards: Boards, *actions: dict[str, Any], wait_s: float = 0.1) -> None:
    boards.play(read_script(json.dumps(actions).encode()))
    with trio.move_on_after(wait_s):
        await boards.run()


async def test_pages_categories_and_etags(boards: Boards) -> None:
    first = ask(boards, "upbit", ANNOUNCEMENTS, "page=1&per_page=20&category=trade")
    second = ask(boards, "upbit", ANNOUNCEMENTS, "page=2&per_page=20&category=trade")
    assert len(titles(first)) == len(titles(second)) == 20
    assert json.loads(first.body)["data"]["fixed_notices"]
    etag = dict(first.headers)["etag"]
    again = ask(boards, "upbit", ANNOUNCEMENTS, "category=trade", if_none_match=etag)
    assert (again.status, again.body) == (304, b"")
    assert ask(boards, "upbit", ANNOUNCEMENTS, "page=x").status == 400
    assert ask(boards, "upbit", ANNOUNCEMENTS + "/7").status == 404
    assert ask(boards, "upbit", "/nope").status == 404


async def test_an_edit_lifts_on_upbit_only(boards: Boards, autojump_clock: MockClock) -> None:
    await play(boards, LISTING, {"board": "upbit", "do": "edit", "key": "old", "title": "고침"})
    assert set(titles(ask(boards, "upbit", ANNOUNCEMENTS))[:2]) == {LISTING["title"], "고침"}
    await play(boards, {"board": "upbit", "do": "withdraw", "key": "a"})
    assert LISTING["title"] not in titles(ask(boards, "upbit", ANNOUNCEMENTS))
    before = json.loads(ask(boards, "bithumb", "/v1/notices", "count=20").body)
    await play(boards, {"board": "bithumb", "do": "edit", "key": "old", "title": "고침"})
    assert json.loads(ask(boards, "bithumb", "/v1/notices", "count=20").body) == before


async def test_late_and_lagging_notices(boards: Boards, autojump_clock: MockClock) -> None:
    title = LISTING["title"]
    await play(boards, LISTING | {"late_s": 960, "channels": ["socket"]})
    assert title not in titles(ask(boards, "upbit", ANNOUNCEMENTS))
    posted = boards.stats()["notices"][0]
    age_ns = SystemClock().wall_ns() - posted["first_published_ns"]
    assert 960e9 <= age_ns < 970e9


async def test_refusals_by_script(boards: Boards, autojump_clock: MockClock) -> None:
    await play(
        boards,
        {"board": "upbit", "do": "refuse", "status": 429, "count": 2, "retry_after_s": 30},
        {"board": "bithumb", "do": "refuse", "status": 302, "for_s": 5, "path": "/v1/notices"},
    )
    assert dict(ask(boards, "upbit", ANNOUNCEMENTS).headers)["retry-after"] == "30"
    statuses = [ask(boards, "upbit", ANNOUNCEMENTS).status for _ in range(2)]
    assert statuses == [429, 200]
    assert ask(boards, "bithumb", "/v1/notices").status == 302
    assert ask(boards, "bithumb", "/v1/market/all").status == 200
    await trio.sleep(6)
    assert ask(boards, "bithumb", "/v1/notices").status == 200


async def test_bithumb_redirects_bursts(boards: Boards, autojump_clock: MockClock) -> None:
    statuses = [ask(boards, "bithumb", "/v1/notices").status for _ in range(3)]
    assert statuses == [200, 200, 302]
    await trio.sleep(1.1)
    assert ask(boards, "bithumb", "/v1/notices").status == 200


async def test_the_boards_clock_may_differ(boards: Boards, autojump_clock: MockClock) -> None:
    from email.utils import parsedate_to_datetime

    await play(boards, {"board": "upbit", "do": "clock", "skew_s": 7200})
    said = parsedate_to_datetime(dict(ask(boards, "upbit", ANNOUNCEMENTS).headers)["date"])
    assert 7190 < said.timestamp() - SystemClock().wall_ns() / 1e9 < 7210


async def test_control_takes_scripts_and_refuses_nonsense(boards: Boards) -> None:
    def post(document: object) -> Answer:
        body = json.dumps(document).encode()
        return boards.control(Request("POST", "/boards", {}, {}, body))

    assert post([LISTING]).status == 200
    assert boards.stats()["waiting"] == 1
    for nonsense in ({}, [{"board": "upbit"}], [LISTING | {"at": 1}],
                     [{"board": "upbit", "do": "edit", "key": "nobody"}]):  # fmt: skip
        answer = post(nonsense)
        assert answer.status == 400
        assert b"boards' script" in answer.body
    assert boards.control(Request("GET", "/boards", {}, {})).status == 200
    assert boards.control(Request("PUT", "/boards", {}, {})).status == 404
    with pytest.raises(UsageError):
        read_script(b"\xff")


async def test_the_socket_wants_a_fresh_token() -> None:
    sockets = BoardSockets()

    def is_let_in(claims: dict[str, str], secret: str = SECRET_KEY) -> bool:
        token = jwt.encode(claims, secret, algorithm="HS256")
        upgrade = Upgrade(PATH, {}, {"authorization": f"Bearer {token}"})
        return sockets._is_authorised(upgrade)

    good = {"access_key": ACCESS_KEY, "nonce": "1"}
    assert is_let_in(good)
    assert not is_let_in(good)  # the same nonce once more
    assert is_let_in(good | {"nonce": "2"})
    assert not is_let_in(good | {"nonce": "3"}, "another-secret-of-the-same-length-0123456")
    assert not is_let_in({"access_key": ACCESS_KEY})
    assert not is_let_in({"access_key": "x", "nonce": "4"})


def test_a_script_that_cannot_be_read_ends_the_simulator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script.json").write_text("[{}]")
    assert main(["--boards", str(tmp_path / "script.json")]) == 64
    assert main(["--boards", str(tmp_path / "none.json")]) == 64
    assert capsys.readouterr().err.count("sim: --boards") == 2
