"""The whole report of a bundle: its figures, its bytes, its page in a real browser."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import polars as pl
import pytest

from pumpwatch.config import FEED_NAMES
from pumpwatch.listing.bundle import KEPT, files_below
from pumpwatch.report.document import Report, encode
from pumpwatch.report.material import Material, read_material
from pumpwatch.report.study import study
from pumpwatch.report.write import REPORT_HTML, REPORT_JSON, write_report
from tests.dashboard.browser import keep, open_browser, open_page
from tests.listing.bundles import AT_NS, NS, WINDOW, make_bundle, market
from tests.report.pumping import ABSENT, BEHIND_MS, FIRST, LIFT_S, pumped_bundle


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle, _ = pumped_bundle(tmp_path_factory.mktemp("pumped"))
    write_report(bundle)
    return bundle


@pytest.fixture(scope="module")
def report(place: Path) -> Report:
    return msgspec.json.decode((place / REPORT_JSON).read_bytes(), type=Report)


def test_it_tells_what_happened(report: Report) -> None:
    assert report.proof[0] == (
        "It is proven that every trade of POD from 20 s before to 20 s after the announcement is"
        " here on 5 of the 9 feeds that trade it; on the other 4 nothing says that one is missing."
    )
    by_venue = report.rankings[0]
    assert by_venue.movers[0].feed == FIRST
    # The rise takes its first 3 % in less than a second, and starts later on the others.
    assert LIFT_S * 1000 < by_venue.movers[0].relative_ms < LIFT_S * 1000 + 700
    behind = [BEHIND_MS[one.feed] for one in by_venue.movers]
    assert {one.feed for one in by_venue.movers} == set(FEED_NAMES) - set(ABSENT)
    assert behind[-1] - behind[0] > 150
    assert all(one.error_ms and one.error_ms >= 18 for one in by_venue.movers)
    assert report.leak.is_judged
    assert not report.leak.is_named
    assert report.past_s == 86_400
    assert [one.span_s for one in report.before] == [3600, 600, 60, 10]
    assert all(one.is_btc_adjusted for one in report.before)
    assert report.before[1].coins.percentile is not None


def test_every_feed_has_its_figures_or_a_reason(report: Report) -> None:
    assert [one.feed for one in report.feeds] == list(FEED_NAMES)
    for one in report.feeds:
        if one.feed in ABSENT:
            assert one.reasons == ["not listed against USDT"]
            assert one.trades == 0
        else:
            assert one.trades == sum(one.seconds.trades)
            assert one.rise_percent is not None
            assert one.rise_percent > 20
    assert report.trades == sum(one.trades for one in report.feeds)
    assert sum(part.trades for part in report.buckets) == report.trades


def test_prices_paid_lie_between_those_of_the_window(report: Report) -> None:
    anchors = {one.anchor for one in report.purchases}
    assert anchors == {"announcement", "detection", "first_mover"}
    filled = [one for one in report.purchases if one.price is not None]
    assert filled
    assert all(1.2 < one.price < 1.7 for one in filled if one.price)
    early = {one.size_quote: one for one in filled
             if (one.anchor, one.delay_s, one.feed) == ("announcement", 0.5, "all")}  # fmt: skip
    paid = [one.price for _, one in sorted(early.items())]
    assert paid == sorted(paid, key=lambda price: price or 0)  # more of it costs more
    assert early[1000.0].mark_10_s_percent is not None
    assert early[1000.0].mark_10_s_percent > 10


def test_same_rows_same_bytes_however_they_were_written(tmp_path: Path) -> None:
    one, _ = make_bundle(tmp_path / "a", market(2))
    two, _ = make_bundle(tmp_path / "b", market(2), pieces=5)
    for folder in (one, two):
        write_report(folder)
        write_report(folder)  # and again over the first
    names = files_below(one)
    assert {REPORT_HTML, REPORT_JSON, "refined/pump_analysis.json"} <= set(names)
    assert [name for name in names if name != "manifest.json"
            and (one / name).read_bytes() != (two / name).read_bytes()] == []  # fmt: skip


@pytest.mark.parametrize("seed", [3, 4])
def test_figures_do_not_hang_on_the_order_of_sums(tmp_path: Path, seed: int) -> None:
    """Rows of different feeds in another order: the same document."""
    print(f"seed {seed}")
    folder, _ = make_bundle(tmp_path, market(seed))
    material = read_material(folder)
    feeds = [material.trades.filter(pl.col("feed") == feed) for feed in FEED_NAMES]
    random.Random(seed).shuffle(feeds)
    facts = {name: getattr(material, name) for name in Material.__struct_fields__}
    other = Material(**{**facts, "trades": pl.concat(feeds)})
    assert encode(study(other)) == encode(study(material))


def test_another_coin_of_this_name_is_in_no_figure_of_several_feeds(tmp_path: Path) -> None:
    rows = market(5, ["okx_spot", "gate_spot", "bybit_spot"])
    other = [{**one, "price": one["price"] * 40} for one in market(6, ["kucoin_spot"])]
    folder, _ = make_bundle(tmp_path, [*rows, *other])
    report = study(read_material(folder))
    found = {one.feed: one for one in report.feeds}
    assert found["kucoin_spot"].is_suspect_identity
    assert found["kucoin_spot"].trades > 0
    assert report.trades == sum(one.trades for one in report.feeds if not one.is_suspect_identity)
    assert "kucoin_spot" not in {one.feed for one in report.pumps}
    assert "kucoin_spot" not in {one.feed for one in report.purchases}
    assert any("another coin of this name" in one for one in report.proof)


def test_a_window_without_a_trade_has_a_report(tmp_path: Path) -> None:
    folder, _ = make_bundle(tmp_path, [])
    write_report(folder)
    report = msgspec.json.decode((folder / REPORT_JSON).read_bytes(), type=Report)
    assert (report.trades, report.pumps, report.taker_buy_percent) == (0, [], None)


def test_the_refined_files_are_the_originals_but_for_users(place: Path, report: Report) -> None:
    refined = place / "refined"
    names = {path.name for path in refined.iterdir()}
    assert names == {
        "pump_analysis.json", "pump_events.json", "summary.json", "top_sweeps.json",
        *(f"{feed}_pumps.json" for feed in FEED_NAMES),
    }  # fmt: skip
    analysis = json.loads((refined / "pump_analysis.json").read_bytes())
    assert analysis["metadata"]["total_pump_events"] == len(report.pumps)
    assert analysis["summary"]["first_pump_exchange"] == FIRST
    event = analysis["pump_events"][0]
    assert {"exchange", "market_type", "symbol", "start_time", "end_time", "duration_ms",
            "start_price", "peak_price", "price_change_percent", "volume", "trade_count",
            "trigger_time", "relative_time_ms"} <= set(event)  # fmt: skip
    assert isinstance(event["start_price"], str)
    assert json.loads((refined / f"{ABSENT[0]}_pumps.json").read_bytes()) == []


def test_what_others_wrote_stays_text(tmp_path: Path) -> None:
    nasty = "</script><script>alert(1)</script>"
    folder, _ = make_bundle(tmp_path, market(7, ["okx_spot"]))
    event = json.loads((folder / "event.json").read_bytes())
    event["event"] |= {"title": nasty, "url": "javascript:alert(1)"}
    (folder / "event.json").write_text(json.dumps(event))
    write_report(folder)
    text = (folder / REPORT_HTML).read_text("utf-8")
    assert nasty not in text
    assert 'href="javascript' not in text


def test_units_make_prices_of_one_coin(tmp_path: Path) -> None:
    folder, _ = make_bundle(tmp_path, market(8, ["okx_spot"]))
    kept = pl.read_parquet(folder / KEPT)
    kept.with_columns(price=pl.col("price") * 1000, quantity=pl.col("quantity") / 1000,
                      unit=pl.lit(1000, dtype=pl.Int64)).write_parquet(folder / KEPT)  # fmt: skip
    certificate = read_material(folder).certificate
    assert certificate.feeds[4].instruments[0].unit == 1
    # The certificate's unit is what counts, the rows carry it along.
    thousand = study(read_material(folder)).feeds[4]
    assert thousand.first_price is not None
    assert 1.1 < thousand.first_price < 1.4


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_renders_without_errors_or_network(place: Path, scheme: str) -> None:
    url = (place / REPORT_HTML).as_uri()
    with (
        open_browser() as browser,
        open_page(browser, url, width=1240, scheme=scheme) as (page, errors),
    ):
        page.wait_for_selector('body[data-state="drawn"]')
        assert page.locator("#chart-price .scatterlayer .trace").count() == 9
        assert page.locator("#chart-volume .bars .point").count() > 20
        assert page.locator("#chart-movers .scatterlayer .trace").count() == 2
        assert "It is proven that every trade" in page.inner_text(".opening .first")
        assert page.get_attribute("html", "data-theme") == scheme
        keep(page, f"report-{scheme}")
        page.click("#theme")
        other = {"light": "dark", "dark": "light"}[scheme]
        assert page.get_attribute("html", "data-theme") == other
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0
        assert errors == []


def test_the_window_is_the_bundles(place: Path) -> None:
    inside = read_material(place).inside
    assert inside["at_ns"].min() >= WINDOW.from_ns  # type: ignore[operator]
    assert inside["at_ns"].max() < AT_NS + 20 * NS  # type: ignore[operator]
