"""The dashboard in a real browser, against a farm with real traffic."""

from __future__ import annotations

import csv
import http.client
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from ..farm import post, request, until
from ..proxy.scripted import Said, whole
from ..texts import conversation, ran, rows
from .conftest import ALL, EVIL, TOKEN, Dashboard

Open = Callable[..., Page]
VIEWS = ("savings", "farm", "policy", "playground")
PRESETS = {
    "kubernetes": "Rows", "build": "Log", "source": None, "api": "Rows", "prose": "Text",
    "errors": "Rows", "diff": "Diff", "grep": "Search", "html": "HTML",
}  # fmt: skip
SERIOUS = ("serious", "critical")


def shown(page: Page, view: str = "[data-shown]") -> Page:
    """Wait until the open view shows numbers."""
    page.wait_for_selector(f".view:not([hidden]){view}")
    return page


def again(page: Page) -> None:
    """Make the page read its numbers now, as when its tab becomes visible."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def value(page: Page, name: str) -> float:
    """Return the number shown by a figure of the open view."""
    found = page.locator(f".view:not([hidden]) [data-value-of={name}]").get_attribute("data-value")
    return float(found or "nan")


def text(page: Page, name: str) -> str:
    return page.locator(f".view:not([hidden]) [data-value-of={name}]").inner_text()


def table(page: Page, title: str) -> Any:
    return page.locator(
        "section.table-card", has=page.get_by_role("heading", name=title, exact=True)
    )


def lines(page: Page, title: str) -> list[list[str]]:
    return [
        row.locator("th, td").all_inner_texts()
        for row in table(page, title).locator("tbody tr").all()
    ]


def answer(dashboard: Dashboard, path: str) -> Any:
    return dashboard.farm.get(path).json


def test_every_view_loads_at_both_addresses(visit: Open, dashboard: Dashboard) -> None:
    page = visit()
    for path in ("/", "/dashboard"):
        for view in VIEWS:
            page.goto(f"{dashboard.url}{path}#{view}")
            expect(page.locator(f"nav [data-view={view}]")).to_have_attribute(
                "aria-current", "page"
            )
            if view != "playground":
                shown(page)
            assert "Headroom Compression Dashboard" in page.title()
            expect(page.locator("#notice")).to_be_hidden()


def test_page_has_etag_and_no_inline_code(dashboard: Dashboard) -> None:
    for path in ("/", "/dashboard", "/static/app.js", "/static/style.css"):
        first = dashboard.farm.get(path)
        again = request(dashboard.url, "GET", path, None, {"if-none-match": first.headers["etag"]})
        assert (first.status, again.status, again.body) == (200, 304, b"")
    policy = dashboard.farm.get("/dashboard").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert f"frame-ancestors {dashboard.portal}" in policy
    assert f"connect-src 'self' {dashboard.other}" in policy
    for path in ("/static/index.html", "/static/../app.py", "/static/%2e%2e/app.py", "/static/"):
        assert dashboard.farm.get(path).status == 404


@pytest.mark.parametrize("asked", ["hour", "day", "month", "all"])
def test_every_number_equals_the_api(visit: Open, dashboard: Dashboard, asked: str) -> None:
    page = shown(visit(f"savings?range={asked}"), f"[data-shown='range={asked}']")
    summary = answer(dashboard, f"/stats?range={asked}")["summary"]
    insights = answer(dashboard, f"/stats/insights?range={asked}")
    compression, cost = summary["compression"], summary["cost"]
    assert value(page, "requests") == summary["api_requests"] == 49
    assert value(page, "compressed") == compression["requests_compressed"] == 9
    assert value(page, "saved") == compression["total_tokens_removed"] > 0
    assert value(page, "rate") == compression["avg_compression_pct"]
    assert value(page, "best") == compression["best_compression_pct"]
    assert text(page, "best-detail") == compression["best_detail"]
    assert value(page, "money") == cost["total_saved_usd"]
    assert value(page, "without") == cost["without_headroom_usd"]
    assert value(page, "with") == cost["with_headroom_usd"]
    assert value(page, "list") == cost["list_price_saved_usd"]
    assert text(page, "saved") == f"{compression['total_tokens_removed']:,}"
    assert text(page, "compressed-detail") == f"{round(900 / 49, 2):g} % of requests"

    table(page, "By user").get_by_role("button", name="Show all").click()
    users = {line[0]: line for line in lines(page, "By user")}
    assert set(users) == {row["user"] for row in insights["by_user"]}
    for row in insights["by_user"]:
        counted = [
            f"{row['requests']:,}",
            f"{row['tokens_saved']:,}",
            f"{row['avg_compression_pct']:g} %",
        ]
        assert users[row["user"]][1:4] == counted
    assert [line[0] for line in lines(page, "By model")] == [
        row["model"] for row in insights["by_model"]
    ]
    assert sum(int(line[2].replace(",", "")) for line in lines(page, "By engine")) == sum(
        row["tokens_saved"] for row in insights["engines"].values()
    )
    assert [line[1] for line in lines(page, "Why nothing was saved")] == ["40"]


def test_filters_sorting_search_and_export(visit: Open, dashboard: Dashboard) -> None:
    page = shown(visit("savings?range=day"))
    table(page, "By user").get_by_role("button", name="user-1", exact=True).click()
    shown(page, "[data-shown='range=day&user=user-1']")
    row = answer(dashboard, "/stats?range=day&user=user-1")["summary"]
    assert value(page, "requests") == row["api_requests"] == 2
    assert {line[1] for line in lines(page, "Recent activity")} == {"user-1"}
    page.get_by_role("link", name="Show all users").click()
    shown(page, "[data-shown='range=day']")
    assert value(page, "requests") == 49

    head = table(page, "Recent activity").get_by_role("button", name="Before", exact=True)
    for direction in ("descending", "ascending"):
        head.click()
        column = table(page, "Recent activity").locator("th", has=page.locator("button"))
        expect(column.nth(3)).to_have_attribute("aria-sort", direction)
        counts = [int(line[3].replace(",", "")) for line in lines(page, "Recent activity")]
        assert counts == sorted(counts, reverse=direction == "descending")

    search = page.get_by_placeholder("Find user, model, reason")
    search.fill("idle-7")
    assert [line[1] for line in lines(page, "Recent activity")] == ["idle-7"]
    search.fill("nobody of that name")
    expect(table(page, "Recent activity").locator(".empty")).to_contain_text("Nothing matches")
    search.fill("")

    with page.expect_download() as started:
        page.get_by_role("button", name="Download Recent activity as CSV").click()
    with started.value.path().open(newline="", encoding="utf-8") as file:
        written = list(csv.reader(file))
    recent = answer(dashboard, "/stats")["recent_requests"]
    assert {line[-1] for line in written[1:]} == {one["request_id"] for one in recent}
    assert sum(int(line[5]) for line in written[1:]) == sum(one["tokens_saved"] for one in recent)
    assert EVIL in {line[1] for line in written}


def test_user_name_is_shown_as_text(visit: Open) -> None:
    page = shown(visit("savings?range=day"))
    expect(table(page, "By user").get_by_role("button", name=EVIL, exact=True)).to_be_visible()
    assert page.locator("main img").count() == 0
    table(page, "By user").get_by_role("button", name=EVIL, exact=True).click()
    expect(page.locator(".filter-name")).to_have_text(f"Only user “{EVIL}”")
    assert page.title() == "Headroom Compression Dashboard"


def test_numbers_change_in_place(visit: Open, dashboard: Dashboard) -> None:
    page = shown(visit("savings?range=day"))
    table(page, "By user").get_by_role("button", name="Show all").click()
    page.evaluate(
        """() => {
          window.first = document.querySelector('[data-value-of=requests]');
          window.line = document.querySelector('.table-card tbody tr');
          window.canvas = document.querySelector('canvas');
          window.added = 0;
          const count = (all) => all.forEach((one) => { window.added += one.addedNodes.length; });
          const body = document.querySelector('.table-card tbody');
          new MutationObserver(count).observe(body, { childList: true });
        }"""
    )
    before = int(value(page, "requests"))
    again(page)
    dashboard.farm.post(conversation(ran(rows("in place"))), "user-0")
    again(page)
    expect(page.locator("[data-value-of=requests]")).to_have_attribute(
        "data-value", str(before + 1)
    )
    kept = "[window.first, window.line, window.canvas].every((one) => one.isConnected)"
    assert page.evaluate(kept)
    assert page.evaluate("window.added") == 0


def test_chart_is_readable_by_keyboard(visit: Open) -> None:
    page = shown(visit("savings?range=day"))
    chart = page.get_by_role("img", name=re.compile("Over time"))
    assert "Highest" in (chart.get_attribute("aria-label") or "")
    chart.focus()
    page.keyboard.press("End")
    expect(page.locator(".chart [aria-live]").first).to_contain_text("Bill saved")
    expect(page.locator(".tip").first).to_be_visible()


def test_farm_view_equals_the_api(visit: Open, dashboard: Dashboard) -> None:
    page = shown(visit("farm"))
    farm = answer(dashboard, "/stats/farm?range=hour")
    for pool in ("cpu", "gpu"):
        found = farm["pools"][pool]
        assert value(page, f"{pool}-workers") == found["workers"] == 1
        assert value(page, f"{pool}-depth") == found["queue"]["depth"] == 0
        assert value(page, f"{pool}-jobs") == found["jobs"]["done"] > 0
        assert value(page, f"{pool}-p95") == found["engine"]["p95_ms"] > 0
        expect(page.locator(f"[data-pool={pool}] .verdict")).to_contain_text("keeps up")
    assert value(page, "requests") == farm["requests"]["total"]
    assert value(page, "p99") == farm["requests"]["latency"]["p99_ms"]
    assert value(page, "hit") == farm["requests"]["cache"]["hit_pct"] > 0
    assert text(page, "gpu-on") == "CPU"
    assert "text crusher" in text(page, "gpu-provider")
    assert text(page, "redis") == "answers"
    assert text(page, "postgres").startswith("not set up")


def test_farm_report_equals_metrics(dashboard: Dashboard) -> None:
    farm = answer(dashboard, "/stats/farm")
    metrics = dashboard.farm.get("/metrics").body.decode()
    for pool, found in farm["pools"].items():
        assert f'headroom_workers_alive{{pool="{pool}"}} {found["workers"]:.1f}' in metrics
        for outcome, count in found["blocks"].items():
            assert (
                f'headroom_blocks_total{{outcome="{outcome}",pool="{pool}"}} {count:.1f}' in metrics
            )
        buckets = found["engine"]["buckets"]
        assert sum(one["count"] for one in buckets) == sum(found["blocks"].values())
    assert f"headroom_requests_total {farm['requests']['total']:.1f}" in metrics


def test_proxy_card_shows_latency_errors_and_streams(visit: Open, dashboard: Dashboard) -> None:
    over = threading.Event()
    event = b'data: {"type": "ping"}\n\n'
    dashboard.provider.will_say(
        whole({"ok": True}),
        whole({}, 529),
        Said([event], cut=True),
        Said([event, over.wait, event]),
    )
    body = {"model": "claude-x", "messages": [{"role": "user", "content": "Hello"}]}
    statuses = [post(dashboard.url, body, path="/v1/messages").status for _ in range(2)]
    assert statuses == [200, 529]
    with pytest.raises(http.client.IncompleteRead):
        post(dashboard.url, body, path="/v1/messages")
    reader = threading.Thread(target=post, args=(dashboard.url, body, None, "/v1/messages"))
    reader.start()
    try:
        until("a stream is open", lambda: _proxied(dashboard)["open_streams"] == 1)
        page = shown(visit("farm"))
        card = page.get_by_role("region", name="Proxy")
        expect(card).to_be_visible()
        found = _proxied(dashboard)
        assert value(page, "proxy-answers") == sum(found["answers"].values()) == 4
        assert value(page, "proxy-refused") == found["answers"]["anthropic:5xx"] == 1
        assert value(page, "proxy-failed") == found["failures"]["anthropic:upstream_cut"] == 1
        assert value(page, "proxy-streams") == 1
        assert value(page, "proxy-added") == found["added"]["p50_ms"] > 0
        assert value(page, "proxy-added-p99") == found["added"]["p99_ms"] > 0
        assert value(page, "proxy-upstream") == found["upstream"]["p50_ms"] > 0
    finally:
        over.set()
        reader.join()
    until("no stream is open", lambda: _proxied(dashboard)["open_streams"] == 0)
    again(page)
    expect(card.locator("[data-value-of=proxy-streams]")).to_have_attribute("data-value", "0")


def _proxied(dashboard: Dashboard) -> Any:
    return answer(dashboard, "/stats/farm")["proxy"]


@pytest.fixture(scope="module")
def played(browser: Browser, dashboard: Dashboard) -> Any:
    """Run every preset once in one page; return the page, and what it showed."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(f"{dashboard.url}/dashboard#playground")
    before = answer(dashboard, "/stats")["summary"]
    results = {}
    for number, preset in enumerate(PRESETS, 1):
        page.click(f"[data-preset={preset}]")
        page.wait_for_selector(f".result[data-run='{number}']")
        facts = {
            one.get_attribute("data-fact"): one.inner_text()
            for one in page.locator(".result [data-fact]").all()
        }
        results[preset] = {
            **facts,
            "stages": page.locator("[data-stage]").count(),
            "why": page.locator(".why").all_inner_texts(),
            "gone": page.locator("[data-pane=input] del").count(),
            "input": page.locator("[data-pane=input]").inner_text(),
            "output": page.locator("[data-pane=output]").inner_text(),
        }
    yield results, before, page
    context.close()


def test_playground_compresses_each_preset(played: Any, dashboard: Dashboard) -> None:
    results, before, _ = played
    for preset, engine in PRESETS.items():
        found = results[preset]
        if engine is None:
            assert found["stages"] == 4, preset  # nothing to look up
            assert found["saved"] == "0", preset
            assert found["why"], preset
            assert found["input"] == found["output"], preset
            assert found["gone"] == 0, preset
        else:
            assert found["stages"] == 5, preset
            assert int(found["saved"].replace(",", "")) > 0, preset
            assert engine.lower() in found["engine"].lower(), preset
            assert found["cache"] == "miss: computed by an engine", preset
            assert found["gone"] > 0, preset
    trace = results["errors"]["input"].splitlines()[30:39]
    assert trace[1].startswith("Traceback")
    assert all(line in results["errors"]["output"] for line in trace[1:])
    # The playground adds no usage records.
    assert answer(dashboard, "/stats")["summary"] == before


def test_second_run_uses_cache(visit: Open) -> None:
    page = visit("playground")
    for number in (1, 2):
        page.click("[data-preset=grep]")
        page.wait_for_selector(f".result[data-run='{number}']")
    assert page.locator("[data-fact=cache]").inner_text() == "hit: memory of this front end"


def test_marker_shows_original_and_removed_parts(
    played: Any, visit: Open, dashboard: Dashboard
) -> None:
    page = visit("playground")
    page.click("[data-preset=build]")
    page.wait_for_selector(".result[data-run]")
    retrieved = answer(dashboard, "/stats/farm")["requests"]["retrievals"]
    whole = page.locator("#play-text").input_value()
    kept = [
        line
        for line in page.locator("[data-pane=output]").inner_text().splitlines()
        if line in whole
    ]
    page.locator(".marker").first.click()
    dialog = page.locator("#original-dialog")
    expect(dialog).to_contain_text("text was removed")
    assert dialog.locator("pre").inner_text() == whole
    gone = "".join(dialog.locator("del").all_inner_texts())
    assert len(kept) > 5
    for line in whole.splitlines():
        assert (line in kept) != (line.strip() in gone), line
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    # No other user gets it, and the usage records do not count it.
    marker = page.locator(".marker").first.get_attribute("data-hash")
    assert dashboard.farm.get(f"/v1/retrieve/{marker}").status == 404
    assert answer(dashboard, "/stats/farm")["requests"]["retrievals"] == retrieved


def test_page_explains_why_user_text_stays(visit: Open) -> None:
    page = visit("playground")
    page.fill("#play-text", "please read this\n" * 400)
    page.select_option("#play-as", "user")
    page.get_by_role("button", name="Compress").click()
    expect(page.locator(".why")).to_contain_text("A user’s own text is never changed")
    page.fill("#play-text", "")
    page.get_by_role("button", name="Compress").click()
    expect(page.locator(".play .problem")).to_have_text("There is no text to compress.")


def test_page_asks_for_required_token(visit: Open, dashboard: Dashboard) -> None:
    page = visit(url=dashboard.guarded, quiet=False)
    dialog = page.locator("#token-dialog")
    expect(dialog).to_be_visible()
    expect(page.locator("#notice")).to_contain_text("requires a token")
    page.fill("#token-input", "wrong-token-0123456789")
    page.get_by_role("button", name="Open the reports").click()
    expect(page.locator("#token-problem")).to_contain_text("does not know this token")
    page.fill("#token-input", TOKEN)
    page.get_by_role("button", name="Open the reports").click()
    expect(dialog).to_be_hidden()
    shown(page)
    assert value(page, "requests") >= 49
    assert page.evaluate("Object.entries(localStorage).length") == 0
    page.reload()
    shown(page)
    page.goto(f"{dashboard.guarded}/dashboard#playground")
    page.click("[data-preset=build]")
    expect(page.locator(".play .problem")).to_contain_text("scopes compress and retrieve")
    page.get_by_role("button", name="Token").click()
    page.fill("#token-input", ALL)
    page.get_by_role("button", name="Open the reports").click()
    page.click("[data-preset=build]")
    page.locator(".marker").first.click()
    expect(page.locator("#original-dialog")).to_contain_text("text was removed")


def test_page_reads_only_listed_farms(visit: Open, dashboard: Dashboard) -> None:
    page = shown(visit(query=f"?url={dashboard.other}"))
    expect(page.locator("#source")).to_have_text(f"Numbers from {dashboard.other}/")
    assert value(page, "requests") >= 49
    # The visit fails if the page sends a request to any other origin.
    for refused in ("https://evil.test", f"{dashboard.other}.evil.test", "javascript:alert(1)"):
        page.goto(f"{dashboard.url}/dashboard?url={refused}#savings")
        expect(page.locator("#source")).to_contain_text("is not on this farm's list")
        shown(page)


def test_only_listed_origins_may_frame_page(browser: Browser, dashboard: Dashboard) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(dashboard.portal)
    frame = page.frame_locator("iframe")
    expect(frame.locator("[data-value-of=requests]").first).not_to_have_text("–")
    page.goto(dashboard.portal.replace("127.0.0.1", "localhost"))
    page.wait_for_function("window.frames.length === 1")
    assert frame.locator("[data-value-of=requests]").count() == 0
    context.close()


def loaded(visit: Open, view: str, preset: str, **context: Any) -> Page:
    """Open a view and wait until it shows numbers, or in the playground a preset's result."""
    page = visit(view, **context)
    if view != "playground":
        return shown(page)
    page.click(f"[data-preset={preset}]")
    page.wait_for_selector(".result[data-run]")
    return page


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious(visit: Open, view: str) -> None:
    page = loaded(visit, view, "build", reduced_motion="reduce")
    found = _serious(page)
    if view == "playground":
        page.locator(".marker").first.click()
        expect(page.locator("#original-dialog")).to_contain_text("text was removed")
        found += _serious(page)
    assert found == []


def _serious(page: Page) -> list[str]:
    """Return the rules with serious failures in both colour schemes, and the elements.

    In dark mode only the contrast rules are run, because only colours differ.
    """
    found = []
    for scheme, rules in (("light", {}), ("dark", {"runOnly": ["color-contrast"]})):
        page.emulate_media(color_scheme=scheme)
        result = Axe().run(page, options={**rules, "resultTypes": ["violations"]})
        found += [
            f"{one['id']}, {scheme}: {[node['target'] for node in one['nodes']][:4]}"
            for one in result.response["violations"]
            if one["impact"] in SERIOUS
        ]
    return found


@pytest.mark.parametrize("view", VIEWS)
def test_page_does_not_scroll_sideways(visit: Open, view: str) -> None:
    page = loaded(visit, view, "kubernetes")
    for width in (360, 3840):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_policy_view_shows_groups_feedback_and_faults(visit: Open, dashboard: Dashboard) -> None:
    page = shown(visit("policy?range=day"), "[data-shown='range=day']")
    found = answer(dashboard, "/stats/policy?range=day")
    group = found["rules"][0]["groups"]["on"]
    ((rule, name, sessions, requests, *spreads),) = lines(page, "Groups")
    assert (rule, name) == ("everybody", "compressed")
    assert (sessions, requests) == (f"{group['sessions']}", f"{group['requests']}")
    saved = group["saved_share_of_tokens"]
    low, high = (f"{round(100 * saved[end], 2):g} %" for end in ("low", "high"))
    assert f"{low} to {high}" in spreads[2]
    assert (
        "share below 100"
        in table(page, "Compressed sessions against the control group").inner_text()
    )
    observed = found["feedback"]["observed"]
    assert len(lines(page, "Shortened outputs that were asked back")) == len(observed) > 0
    assert "None" in table(page, "Engines that pause for a tool").inner_text()
    expect(page.locator("#notice")).to_be_hidden()
    path = dashboard.farm.directory / "policy.toml"
    good = path.read_text()
    path.write_text("[[rule]]\nmode = 'nonsense'\n")
    until("the fault is known", lambda: answer(dashboard, "/readyz")["policy"]["fault"])
    again(page)
    expect(page.locator("#notice")).to_contain_text("The policy is not in force")
    path.write_text(good)
    until("it is mended", lambda: not answer(dashboard, "/readyz")["policy"]["fault"])
    again(page)
    expect(page.locator("#notice")).to_be_hidden()


def test_page_reports_farm_that_stops_answering(visit: Open, dashboard: Dashboard) -> None:
    page = shown(visit("savings?range=day", quiet=False))
    saved = text(page, "saved")
    page.route("**/stats**", lambda route: route.abort())
    again(page)
    expect(page.locator("#notice")).to_contain_text("The farm does not answer")
    expect(page.locator("#live")).to_have_attribute("data-state", "stale")
    assert text(page, "saved") == saved
    page.unroute_all()
    again(page)
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def test_page_reports_redis_outage_and_recovery(visit: Open, dashboard: Dashboard) -> None:
    """Runs last, because it stops the farm's Redis for a moment."""
    savings, farm = shown(visit("savings", quiet=False)), shown(visit("farm", quiet=False))
    requests = value(savings, "requests")
    dashboard.farm.parts[0].stop()
    for page in (savings, farm):
        again(page)
        expect(page.locator("#notice")).to_contain_text("Redis is unavailable")
    expect(savings.locator("#live")).to_have_attribute("data-state", "stale")
    assert value(savings, "requests") == requests
    expect(farm.locator("[data-value-of=redis]")).to_have_text("does not answer")
    expect(farm.locator("[data-pool=cpu] .verdict")).to_contain_text("Redis is unavailable")
    assert dashboard.farm.post(conversation(ran(rows("away"))), "user-0").json["degraded"] == [
        "redis"
    ]

    dashboard.farm.start_redis()
    dashboard.farm.until_ready()
    for page in (savings, farm):
        again(page)
        expect(page.locator("#notice")).to_be_hidden()
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(farm.locator("[data-value-of=redis]")).to_have_text("answers")
    expect(farm.locator("[data-reason=redis]")).to_contain_text("1")
