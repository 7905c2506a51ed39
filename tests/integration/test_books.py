"""Usage reports equal those of the system that the farm replaces."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from api.accounting.ledger import Ledger
from api.accounting.usage_record import UsageRecord
from api.accounting.write_ahead_log import Line
from shared.settings import Settings

from ..farm import Farm, Process, post, request, until, user
from ..texts import conversation, events, openai_ran, ran, rows

KEY, PASSWORD_LIKE = "sk-planted-9f2c7e", "hunter2-planted-41bd"


def _spend(farm: Farm, name: str, model: str, seed: str) -> Any:
    return farm.post({**conversation(ran(rows(seed))), "model": model}, name).json


def _metrics(farm: Farm) -> dict[str, float]:
    text = farm.get("/metrics").body.decode()
    return {
        sample.name + "".join(f",{k}={v}" for k, v in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


LIST_PRICES = {"claude-x": 15, "gpt-4o": 2.5, "m2": 15}
"""USD per million tokens: from the price map for the model that it has, else the fallback."""


def _at_list_price(answers: dict[tuple[str, str], list[Any]]) -> float:
    """Return the answers' saved tokens at list price, in USD."""
    return sum(
        answer["tokens_saved"] * LIST_PRICES[model] / 1e6
        for (_, model), group in answers.items()
        for answer in group
    )


@pytest.fixture(scope="module")
def spent(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A farm of two front-end processes after some traffic, and its answers by user."""
    farm = Farm(tmp_path_factory.mktemp("books"), api_processes=2)
    try:
        farm.start()
        answers: dict[tuple[str, str], list[Any]] = {}
        for name, model, count in (("ada", "claude-x", 5), ("bob", "gpt-4o", 3), ("ada", "m2", 1)):
            for i in range(count):
                answer = _spend(farm, name, model, f"{name}{model}{i}")
                answers.setdefault((name, model), []).append(answer)
        answers["bob", "gpt-4o"].append(farm.post(conversation(), "bob", **{}).json)
        farm.post(conversation(ran(rows("by"))), "ada", x_headroom_bypass="true")
        farm.post({"messages": []}, "ada")
        farm.post(b"nonsense", "ada")
        total = sum(map(len, answers.values())) + 2
        until(
            "both processes have written their entries",
            lambda: (
                farm.get("/stats").json["summary"]["api_requests"] == total
                and _metrics(farm)["headroom_errors_total"] == 1
            ),
        )
        yield farm, answers
    finally:
        farm.stop()


def test_stats_has_every_field_and_adds_up(spent: Any) -> None:
    farm, answers = spent
    every = [a for group in answers.values() for a in group]
    saved = sum(a["tokens_saved"] for a in every)
    compressed = [a for a in every if a["tokens_saved"]]
    for _ in range(6):  # whichever of the two processes answers
        body = farm.get("/stats").json
        summary = body["summary"]
        assert summary["api_requests"] == len(every) + 2
        before = sum(a["tokens_before"] for a in compressed)
        assert summary["compression"]["requests_compressed"] == len(compressed)
        assert summary["compression"]["total_tokens_removed"] == saved
        assert summary["compression"]["avg_compression_pct"] == round(100 * saved / before, 2)
        best = max(a["compression_ratio"] for a in every)
        assert summary["compression"]["best_compression_pct"] == pytest.approx(100 * best, abs=0.01)
        assert "tokens" in summary["compression"]["best_detail"]
        reasons = summary["uncompressed_requests"]["reasons"]
        assert reasons["bypass"] == reasons["empty"] == 1
        assert sum(reasons.values()) == summary["uncompressed_requests"]["total"] == 3
        cost = summary["cost"]
        assert cost["list_price_saved_usd"] == pytest.approx(_at_list_price(answers))
        assert cost["without_headroom_usd"] > cost["total_saved_usd"] > 0
        assert cost["requests_that_cost_more"] == cost["cost_more_usd"] == 0
        assert (cost["measured_requests"], cost["measured_usd"]) == (0, 0)
        difference = cost["without_headroom_usd"] - cost["with_headroom_usd"]
        assert difference == pytest.approx(cost["total_saved_usd"])


def test_recent_requests_have_contract_fields_oldest_first(spent: Any) -> None:
    farm, _ = spent
    recent = farm.get("/stats").json["recent_requests"]
    stamps = [line["timestamp"] for line in recent]
    assert stamps == sorted(stamps)
    fields = (
        "request_id timestamp provider model input_tokens_original input_tokens_optimized "
        "tokens_saved savings_percent cost_saved_usd cost_per_mtok tags total_latency_ms"
    )
    for line in recent:
        assert set(fields.split()) <= set(line)
        assert (
            line["input_tokens_original"] - line["input_tokens_optimized"] == line["tokens_saved"]
        )
        assert line["list_price_saved_usd"] == pytest.approx(
            line["tokens_saved"] * line["cost_per_mtok"] / 1e6
        )
        assert line["cost_saved_usd"] == pytest.approx(
            line["cost_without_usd"] - line["cost_with_usd"]
        )
    assert {line["tags"]["user-id"] for line in recent} == {"ada", "bob"}
    assert {line["provider"] for line in recent} == {"anthropic", "openai", "unknown"}


def test_insights_split_by_model_user_engine_and_hour(spent: Any) -> None:
    farm, answers = spent
    body = farm.get("/stats/insights").json
    by_user = {line["user"]: line for line in body["by_user"]}
    by_model = {line["model"]: line for line in body["by_model"]}
    for name in ("ada", "bob"):
        mine = [a for (n, _), group in answers.items() if n == name for a in group]
        assert by_user[name]["tokens_saved"] == sum(a["tokens_saved"] for a in mine)
    assert by_user["ada"]["requests"] == 8
    assert by_user["bob"]["total_input"] == sum(
        a["tokens_before"] for a in answers["bob", "gpt-4o"]
    )
    assert by_model["gpt-4o"]["requests"] == 3
    total = sum(line["tokens_saved"] for line in body["by_user"])
    assert total == sum(line["tokens_saved"] for line in body["by_model"])
    assert total == sum(engine["tokens_saved"] for engine in body["engines"].values())
    assert total == sum(hour["tokens_saved"] for hour in body["hourly"])
    assert body["total_requests"] == sum(hour["requests"] for hour in body["hourly"])
    assert "router:tool_result:farm_records" in body["transforms_detail"]


def test_filters_by_user_model_and_time(spent: Any) -> None:
    farm, answers = spent
    mine = sum(a["tokens_saved"] for a in answers["ada", "m2"])
    for query in ("model=m2", "model=m2&range=hour", "model=m2&range=month", "model=m2&since=0"):
        summary = farm.get(f"/stats?{query}").json["summary"]
        assert summary["api_requests"] == 1
        assert summary["compression"]["total_tokens_removed"] == mine
    user_only = farm.get("/stats?user=bob&range=day").json
    assert user_only["summary"]["api_requests"] == 4
    assert {line["tags"]["user-id"] for line in user_only["recent_requests"]} == {"bob"}
    assert farm.get("/stats?until=2001-01-01").json["summary"]["api_requests"] == 0
    bad = ["range=x", "since=yesterday", "since=2&until=1", "user=a&model=b", "since=9e99"]
    bad += ["until=0001-01-02", "since=9999-12-31&until=9999-12-31T23:30:00"]
    for query in bad:
        answer = farm.get(f"/stats?{query}")
        assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_field")
    answer = farm.get("/stats?daily=perhaps")
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_parameter")


@pytest.mark.parametrize("query", ["user=bob", "model=gpt-4o", "user=ada", "model=claude-x"])
@pytest.mark.parametrize("window", ["", "&range=day", "&range=week"])
def test_filtered_stats_show_own_best_request(spent: Any, query: str, window: str) -> None:
    farm, answers = spent
    asked = query.partition("=")[2]
    mine = [a for names, group in answers.items() if asked in names for a in group]
    best = max(mine, key=lambda a: a["compression_ratio"])
    compression = farm.get(f"/stats?{query}{window}").json["summary"]["compression"]
    assert compression["best_compression_pct"] == round(100 * best["compression_ratio"], 2)
    said = f"{best['tokens_before']} to {best['tokens_after']} tokens"
    assert compression["best_detail"].startswith(said)
    body = farm.get(f"/stats/insights?{query}{window}").json
    saved = sum(a["tokens_saved"] for a in mine)
    assert sum(engine["tokens_saved"] for engine in body["engines"].values()) == saved
    assert set(body["engines"]) == {"farm_records"}
    assert body["cache"] == {"hits": 0, "misses": sum(a["tokens_saved"] > 0 for a in mine)}
    assert body["degraded"] == {}
    assert body["transforms_detail"] is None  # counted only in total


def test_expired_details_are_null_not_zero(spent: Any) -> None:
    farm, _ = spent
    long_ago = int(time.time()) - 90 * 86_400
    body = farm.get(f"/stats/insights?user=bob&since={long_ago}").json
    assert body["total_requests"] == 4
    assert body["engines"] is body["cache"] is body["degraded"] is None
    # Users' hours are kept for two days: an older window is of days, and a user's hours end.
    old = farm.get(f"/stats/insights?since={long_ago}&until={long_ago + 3600}").json
    assert old["window"]["resolution"] == "day"
    hours = farm.get("/stats/insights?user=bob&range=month").json["hourly"]
    assert 48 <= len(hours) <= 50
    assert sum(hour["requests"] for hour in hours) == 4


def test_history_lists_saving_requests_with_totals(spent: Any) -> None:
    farm, answers = spent
    body = farm.get("/stats-history").json
    every = [a for group in answers.values() for a in group]
    saved = [a["tokens_saved"] for a in every if a["tokens_saved"]]
    assert len(body["history"]) == len(saved)
    assert body["history"][-1]["total_tokens_saved"] == sum(saved)
    assert {"timestamp", "model", "cost_per_mtok"} <= set(body["history"][0])
    lifetime = body["lifetime"]
    assert lifetime["tokens_saved"] == sum(saved)
    assert lifetime["requests"] == len(every) + 2
    assert lifetime["list_price_saved_usd"] == pytest.approx(_at_list_price(answers))
    assert body["history"][-1]["compression_savings_usd"] == lifetime["compression_savings_usd"]
    assert lifetime["total_input_cost_usd"] > 0
    assert body["series"]["hourly"][-1]["tokens_saved"] <= sum(saved)


def test_metrics_parse_and_agree_with_stats(spent: Any) -> None:
    farm, _ = spent
    found = _metrics(farm)
    stats = farm.get("/stats").json["summary"]
    assert found["headroom_requests_total"] == stats["api_requests"]
    assert found["headroom_tokens_saved_total"] == stats["compression"]["total_tokens_removed"]
    before, after = found["headroom_tokens_before_total"], found["headroom_tokens_after_total"]
    assert before - after == found["headroom_tokens_saved_total"]
    assert found["headroom_errors_total"] == 1
    assert found["headroom_request_seconds_count"] == stats["api_requests"]
    assert found["headroom_request_seconds_bucket,le=+Inf"] == stats["api_requests"]
    assert found["headroom_workers_alive,pool=cpu"] == 1
    assert found["headroom_blocks_total,outcome=compressed,pool=cpu"] >= 9
    assert found["headroom_engine_seconds_count,pool=cpu"] >= 9
    assert found["headroom_queue_depth,pool=gpu"] == 0
    assert found["headroom_uptime_seconds"] > 0
    assert found["headroom_engine_provider,engine=text_crusher,pool=gpu,provider=native"] == 1
    assert not any("ada" in name for name in found)
    assert not any("no model" in name for name in found)  # /readyz has the reason


_MOVING = (
    "headroom_uptime_seconds",
    "headroom_prices_age_seconds",
    "headroom_pool_pace_bytes",
    "headroom_event_loop_tasks",
)
"""Metrics that change even between two scrapes of one process; all others must be equal."""


def test_scrapes_of_two_processes_agree(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(api_processes=2, books_buffer_bytes=65536).start(cpu=0, gpu=0)
    # With Redis down the buffer fills, one process drops more than the other, and breakers trip.
    _redis(farm).stop()

    def dropped() -> float:
        for _ in range(50):
            farm.post({"messages": [{"role": "user", "content": "x"}], "model": "m" * 256}, "ada")
        return _metrics(farm)["headroom_ledger_dropped_total"]

    until("entries are dropped", dropped)
    pids = set(map(_pid, _figures(farm)))
    assert len(pids) == 2

    def scrapes() -> list[dict[str, float]]:
        found = [_metrics(farm) for _ in range(24)]
        return [{n: v for n, v in one.items() if not n.startswith(_MOVING)} for one in found]

    def agree() -> bool:
        first, *more = scrapes()
        return all(one == first for one in more)

    until("every scrape says the same", agree)
    before = _metrics(farm)
    assert before["headroom_redis_up"] == 0
    # When a process ends, the counters keep its last figures.
    os.kill(min(pids), signal.SIGKILL)

    def taken_over() -> bool:
        _metrics(farm)
        return min(pids) not in map(_pid, _figures(farm))

    until("it is taken over", taken_over)
    until("its successor is there", lambda: len(_figures(farm)) == 2)
    for one in scrapes():
        for name, value in before.items():
            if name.endswith("_total"):
                assert one[name] >= value, name


def _figures(farm: Farm) -> list[Path]:
    return list((farm.directory / "data" / "processes").glob("*.json"))


def _pid(path: Path) -> int:
    return int(path.name.split(".")[-2].split("-")[0])


@pytest.mark.parametrize(
    "name",
    [
        "requests_total",
        "compressed_total",
        "tokens_before_total",
        "tokens_after_total",
        "tokens_saved_total",
        "errors_total",
        "uptime_seconds",
        "queue_depth,pool=cpu",
        "queue_oldest_seconds,pool=gpu",
        "workers_alive,pool=gpu",
        "pool_pace_bytes,pool=cpu",
        "jobs_total,outcome=done,pool=cpu",
        "cache_hits_total",
        "cache_misses_total",
        "request_seconds_bucket,le=8.0",
        "engine_seconds_bucket,le=10.0,pool=cpu",
        "uncompressed_total,reason=bypass",
        "refused_total,type=malformed_json",
        "ledger_backlog_entries",
        "ledger_buffer_bytes",
        "ledger_dropped_total",
    ],
)
def test_promised_metrics_are_exposed(spent: Any, name: str) -> None:
    assert f"headroom_{name}" in _metrics(spent[0])


@pytest.fixture(scope="module")
def _open(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm whose ledger is shared by several tests."""
    with Farm(tmp_path_factory.mktemp("open"), log_level="debug", redis_retry_seconds=0.1) as farm:
        yield farm.start(gpu=0)


@pytest.fixture
def opened(_open: Farm) -> Iterator[Farm]:
    """That farm; afterwards Redis runs again and has all entries from the meantime."""
    yield _open
    if not _ping(_open):
        _open.start_redis()
        until("it is ready again", lambda: _open.get("/readyz").status == 200)
    # After a failure, reports do not wait for the ledger until it has caught up.
    until("it is written", lambda: _metrics(_open)["headroom_ledger_backlog_entries"] == 0)


def _ping(farm: Farm) -> bool:
    try:
        return bool(farm.redis.ping())
    except redis.RedisError:
        return False


def _redis(farm: Farm) -> Process:
    return next(p for p in farm.parts if p.alive and p.log.name.startswith("valkey"))


def test_sessions_report_cache_use(opened: Farm) -> None:
    farm, name = opened, user()
    before = farm.get("/sessions").json["active_sessions"]
    body = conversation(ran(rows("s")))
    saved = [farm.post(body, name).json["tokens_saved"] for _ in range(3)]

    def mine() -> list[Any]:
        found = farm.get("/sessions").json["sessions"]
        return [s for s in found if s["user_id"] == name and s["cache_hits"] == 2]

    (session,) = until("it is written down", mine)
    found = farm.get("/sessions").json
    assert found["active_sessions"] == before + 1
    assert found["max_sessions"] == 10_000
    assert found["session_ttl_seconds"] == 7200
    assert 0 <= session["last_active_seconds_ago"] < 30
    assert (session["cache_entries"], session["cache_hits"], session["cache_misses"]) == (1, 2, 1)
    assert session["tokens_saved_from_cache"] == sum(saved[1:])
    assert farm.get("/sessions?limit=0").status == 400


def test_repeated_request_counts_once_with_last_answer(
    opened: Farm,
) -> None:
    farm, before, ada = opened, _count(opened), user()
    first = farm.post(conversation(ran(rows("a"))), ada, x_request_id="one").json
    for _ in range(3):
        farm.post(conversation(ran(rows("a"))), ada, x_request_id="one")
    last = farm.post(conversation(openai_ran(rows("b", 60))), ada, x_request_id="one").json
    assert last["tokens_saved"] != first["tokens_saved"]
    farm.post(conversation(ran(rows("a"))), user(), x_request_id="one")
    stats = farm.get(f"/stats?user={ada}").json
    assert stats["summary"]["api_requests"] == 1
    assert stats["summary"]["compression"]["total_tokens_removed"] == last["tokens_saved"]
    assert len(stats["recent_requests"]) == 1
    engines = farm.get(f"/stats/insights?user={ada}").json["engines"]
    assert sum(engine["tokens_saved"] for engine in engines.values()) == last["tokens_saved"]
    assert _count(farm) == before + 2


def test_users_and_models_beyond_limit_become_other(own_farm: Callable[..., Farm]) -> None:
    farm = own_farm(books_max_users=2, books_max_models=1).start(cpu=0, gpu=0)
    for name in ("a", "b", "c", "d", "a"):
        farm.post({**conversation(), "model": f"model-{name}"}, name)
    body = farm.get("/stats/insights").json
    assert {r["user"]: r["requests"] for r in body["by_user"]} == {"a": 2, "b": 1, "other": 2}
    assert {r["model"]: r["requests"] for r in body["by_model"]} == {"model-a": 2, "other": 3}


def test_counts_retrieval(opened: Farm) -> None:
    farm = opened
    before = _metrics(farm)["headroom_retrievals_total"]
    digest = farm.post(conversation(ran(events("r"))), "ada").json["ccr_hashes"][0]
    post(farm.url, {"hash": digest}, {"x-maas-username": "ada"}, "/v1/retrieve")
    request(farm.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": "bob"})
    assert _metrics(farm)["headroom_retrievals_total"] == before + 1


def test_records_survive_while_redis_is_down(opened: Farm) -> None:
    farm, before = opened, _count(opened)
    until("all is on disk", lambda: _metrics(farm)["headroom_ledger_buffer_bytes"] == 0)
    farm.post(conversation(), "ada")
    _redis(farm).stop()
    for _ in range(5):
        assert farm.post(conversation(), "ada").status == 200
    for path in ("/stats", "/stats/insights", "/stats-history", "/sessions"):
        answer = farm.get(path)
        assert answer.status == 503
        assert answer.json["error"]["type"] == "unavailable"
    found = _metrics(farm)
    assert found["headroom_redis_up"] == 0
    # Five, or six if Redis had not yet confirmed that the first one is on disk.
    assert found["headroom_ledger_backlog_entries"] in (5, 6)
    assert found["headroom_ledger_buffer_bytes"] > 0
    farm.start_redis()
    until("it is read", lambda: farm.get("/stats").status == 200)
    until("written later", lambda: _count(farm) == before + 6)
    until("journal emptied", lambda: _metrics(farm)["headroom_ledger_buffer_bytes"] == 0)
    assert _count(farm) == before + 6


def test_export_restores_only_into_empty_redis(opened: Farm, own_farm: Callable[..., Farm]) -> None:
    farm, other = opened, own_farm()
    other.start_redis()
    for i in range(3):
        _spend(farm, "ada \u00e9".encode().decode("latin-1"), "claude-x", str(i))
    count, saved = _count(farm), len(farm.get("/stats-history").json["history"])
    compressed = farm.get("/stats").json["summary"]["compression"]["requests_compressed"]
    made = farm.command("export").stdout
    assert json.loads(made)["lifetime"]["requests"] == count >= 3
    assert len(json.loads(made)["history"]) == saved >= 3
    table = farm.command("export", "--format", "csv").stdout.splitlines()
    assert table[0].startswith("bucket,requests,compressed")
    assert table[-1].startswith(f"lifetime,{count},{compressed},")
    restored = other.command("import", "-", stdin=made).stdout
    assert restored == f"restored {count} requests\n"
    other.start_api()
    for path in ("/stats", "/stats-history", "/stats/insights"):
        mine, theirs = farm.get(path).json, other.get(path).json
        assert {**mine, "hourly": 0, "series": 0} == {**theirs, "hourly": 0, "series": 0}
    again = farm.command("import", "-", stdin=made)
    assert again.returncode != 0
    assert "has usage records already" in again.stderr
    assert "not an export" in other.command("import", "-", stdin="{}").stderr
    assert _count(farm) == count


def test_logs_contain_no_secret(opened: Farm) -> None:
    farm = opened
    planted = f"password={PASSWORD_LIKE} {events(PASSWORD_LIKE)}"
    headers = {"authorization": f"Bearer {KEY}", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    farm.post(conversation(ran(planted)), "ada", **headers)
    farm.post(planted.encode(), "ada", **headers)
    _redis(farm).stop()
    farm.post(conversation(ran(planted)), "eve", **headers)
    logs = "".join(path.read_text("utf-8", "replace") for path in farm.directory.glob("*.log"))
    assert PASSWORD_LIKE not in logs
    assert KEY not in logs
    assert farm.redis_url.split("@")[0].rpartition(":")[2] not in logs
    assert f'"trace_id": "{"a" * 32}"' in logs


def _count(farm: Farm) -> int:
    return int(farm.get("/stats").json["summary"]["api_requests"])


def test_odd_user_names_stay_distinct(opened: Farm) -> None:
    farm = opened

    def users() -> set[str]:
        return {line["user"] for line in farm.get("/stats/insights").json["by_user"]}

    before, odd = users(), {"<img src=x onerror=alert(1)>", "other", user(), "a|b:c"}
    for name in odd:
        farm.post(conversation(), name)
    assert users() == before | odd
    assert before.isdisjoint(odd)


def test_late_older_answer_does_not_replace_newer(
    opened: Farm,
) -> None:
    farm = opened
    before, errors = farm.get("/stats").json["summary"], _metrics(farm)["headroom_errors_total"]

    async def write() -> None:
        settings = Settings(redis_url=farm.redis_url, data_dir=farm.directory / "other")
        first, second = Ledger(settings), Ledger(settings)
        row = [("requests", "1"), ("saved", "5")]
        now = time.time()
        old = UsageRecord(at=now - 2, row=row, more=[], answer="a", user="ada", model="m")
        new = UsageRecord(at=now - 1, row=[("requests", "1"), ("saved", "7")], more=[], answer="a",
                    user="ada", model="m")  # fmt: skip
        await first.send("w1", [Line(1, new)])
        await second.send("w2", [Line(1, old)])
        await second.send("w2", [Line(1, old)])
        await first.send("w1", [Line(1, new)])
        error = UsageRecord(at=now, row=[], more=[("errors", "1")])
        assert await first.send("w1", [Line(2, error)])
        assert await first.send("w1", [Line(2, error)])
        # A Redis that lost line 3 rejects line 4, unless line 3 cannot be sent again.
        assert not await first.send("w1", [Line(4, error)])
        assert await first.send("w1", [Line(4, error)], anyway=True)
        await first.stop()
        await second.stop()

    asyncio.run(write())
    summary = farm.get("/stats").json["summary"]
    assert summary["api_requests"] == before["api_requests"] + 1
    removed = summary["compression"]["total_tokens_removed"]
    assert removed == before["compression"]["total_tokens_removed"] + 7
    assert _metrics(farm)["headroom_errors_total"] == errors + 2
