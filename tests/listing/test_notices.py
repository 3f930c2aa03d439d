"""Answers of the boards: every field of the recorded ones, broken entries, garbage."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumpwatch.errors import VenueError
from pumpwatch.listing.notices import (
    NS,
    Notice,
    kst_ns,
    read_bithumb_list,
    read_krw_markets,
    read_upbit_body,
    read_upbit_list,
    read_upbit_message,
)
from tests.listing.titles import SAMPLES

UPBIT = (SAMPLES / "upbit_announcements.json").read_bytes()
BITHUMB = (SAMPLES / "bithumb_notices.json").read_bytes()
MESSAGE = (SAMPLES / "upbit_announcement_ws.jsonl").read_bytes().splitlines()[0]


def utc_ns(*parts: int) -> int:
    return int(datetime(*parts, tzinfo=UTC).timestamp()) * NS  # type: ignore[misc,arg-type]


def test_every_notice_of_upbits_recorded_page() -> None:
    page = read_upbit_list(UPBIT)
    rows = json.loads(UPBIT)["data"]["notices"]
    assert page.refused == ()
    assert len(page.notices) == len(rows) == 30
    for notice, row in zip(page.notices, rows, strict=True):
        assert notice.source == "upbit"
        assert notice.channel == "upbit_web"
        assert notice.notice_id == str(row["id"])
        assert notice.aliases == (f"id:{row['id']}", f"uuid:{row['uuid']}")
        assert notice.title == row["title"]
        assert notice.categories == (row["category"],)
        assert notice.url == f"https://upbit.com/service_center/notice?id={row['uuid']}"
        first, listed = (
            int(datetime.fromisoformat(row[key]).timestamp()) * NS
            for key in ("first_listed_at", "listed_at")
        )
        assert (notice.first_published_ns, notice.edited_ns) == (first, listed)
        assert notice.sort_ns == listed
        assert notice.is_edited == (first != listed)
    assert sum(notice.is_edited for notice in page.notices) == 11  # LISTINGS 1.1
    assert page.notices[0].first_published_ns == utc_ns(2026, 8, 21, 10, 19, 25)
    listings = [n.read_title().symbols for n in page.notices if n.read_title().symbols]
    assert listings == [("CRV",)]


def test_what_is_pinned_is_not_read() -> None:
    document = json.loads(UPBIT)
    pinned = document["data"]["fixed_notices"]
    assert pinned
    document["data"]["notices"] = []
    assert read_upbit_list(json.dumps(document).encode()).notices == ()


def test_every_notice_of_bithumbs_recorded_answer() -> None:
    page = read_bithumb_list(BITHUMB)
    rows = json.loads(BITHUMB)
    assert len(page.notices) == len(rows) == 5
    for notice, row in zip(page.notices, rows, strict=True):
        assert notice.source == "bithumb"
        assert f"/{notice.notice_id}" == row["pc_url"][-8:]
        assert notice.title == row["title"]
        assert notice.categories == tuple(row["categories"])
        assert notice.url == row["pc_url"]
        korean = datetime.fromisoformat(row["published_at"] + "+09:00")
        assert notice.first_published_ns == int(korean.timestamp()) * NS == notice.sort_ns
        assert not notice.is_edited  # modified before it was published, or a second after
    assert page.notices[0].first_published_ns == utc_ns(2026, 8, 21, 10, 0, 0)


def test_the_recorded_message_of_the_socket() -> None:
    news = read_upbit_message(MESSAGE)
    assert news.is_created
    assert news.error == ""
    assert news.notice == Notice(
        source="upbit",
        channel="upbit_socket",
        notice_id="562593104",
        aliases=("uuid:562593104",),
        title="[거래] 오덜리(ORDER) KRW 마켓 디지털 자산 추가",
        categories=("trade",),
        url="https://www.upbit.com/service_center/notice?id=562593104&view=share",
        first_published_ns=utc_ns(2026, 8, 31, 5, 0, 0),
        edited_ns=utc_ns(2026, 8, 31, 5, 0, 0),
        sort_ns=utc_ns(2026, 8, 31, 5, 0, 0),
        is_edited=False,
    )
    assert news.notice.read_title().symbols == ("ORDER",)


def test_other_messages_of_the_socket() -> None:
    updated = MESSAGE.replace(b"CREATED", b"UPDATED")
    assert not read_upbit_message(updated).is_created
    assert read_upbit_message('{"status":"UP"}') == read_upbit_message(b'{"type":"trade"}')
    error = read_upbit_message('{"error":{"name":"INVALID_AUTH","message":"no key"}}')
    assert error.error == "INVALID_AUTH: no key"
    for broken in (b"[]", b"{", b"\xff", MESSAGE.replace(b"uuid", b"uid"), b""):
        with pytest.raises(VenueError):
            read_upbit_message(broken)


def test_a_broken_entry_is_named_and_the_others_are_read() -> None:
    document = json.loads(UPBIT)
    rows = document["data"]["notices"]
    del rows[0]["id"]
    rows[1]["first_listed_at"] = "yesterday"
    rows[2]["title"] = None
    rows[3] = "?"
    rows[4]["first_listed_at"] = "0001-01-01T00:00:00"
    page = read_upbit_list(json.dumps(document).encode())
    assert len(page.refused) == 5
    assert len(page.notices) == 25
    assert "'id'" in page.refused[0]
    assert "yesterday" in page.refused[1]
    rows_of_bithumb = json.loads(BITHUMB)
    rows_of_bithumb[0]["pc_url"] = "https://feed.bithumb.com/notice/"
    page = read_bithumb_list(json.dumps(rows_of_bithumb).encode())
    assert (len(page.notices), len(page.refused)) == (4, 1)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"{}", b'{"success":false,"data":{"notices":[]}}',
             b'{"data":{"notices":[{}]}}', b"[" * 100_000]
)  # fmt: skip
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(VenueError):
        read_upbit_list(body)
    with pytest.raises(VenueError):
        read_upbit_body(body)
    with pytest.raises(VenueError):
        read_krw_markets(body)
    if body != b"[]":
        with pytest.raises(VenueError):
            read_bithumb_list(body)


def test_market_lists() -> None:
    rows = [{"market": name} for name in ("KRW-BTC", "KRW-1INCH", "BTC-ETH", "USDT-BTC", "KRW-", 7)]
    assert read_krw_markets(json.dumps([*rows, "x"]).encode()) == {"BTC", "1INCH"}
    with pytest.raises(VenueError, match="no KRW market"):
        read_krw_markets(b'[{"market":"BTC-ETH"}]')


@given(st.integers(1_400_000_000, 4_000_000_000))
def test_times_without_a_zone_are_korean(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    text = moment.isoformat(sep=" ")
    as_utc = moment.replace(tzinfo=UTC)
    assert kst_ns(text) == int(as_utc.timestamp()) * NS - 9 * 3600 * NS
    assert kst_ns(text + "+09:00") == kst_ns(text)
    assert kst_ns(text + "Z") == int(as_utc.timestamp()) * NS
    assert kst_ns(text + ".123456") == kst_ns(text) + 123_456_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
FIELDS = ("id", "uuid", "title", "category", "listed_at", "first_listed_at", "pc_url", "categories",
          "published_at", "modified_at", "market", "type", "error", "url")  # fmt: skip
ENTRIES = st.dictionaries(st.sampled_from(FIELDS), JSON | st.sampled_from(
    ["announcement", "2026-08-21T21:50:05+09:00", "https://x/1", "6496", "KRW-A"]))  # fmt: skip


@given(st.lists(ENTRIES | JSON, max_size=4))
def test_any_json_is_read_or_refused(entries: list[Any]) -> None:
    bodies = {
        read_upbit_list: {"data": {"notices": entries}},
        read_bithumb_list: entries,
        read_krw_markets: entries,
        read_upbit_message: entries[0] if entries else {},
    }
    for reader, document in bodies.items():
        with contextlib.suppress(VenueError):
            reader(msgspec.json.encode(document))
