"""The benchmark reports what it could not measure, and evaluates what it could."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest

from loadtest.bench import charts, pages, proxied, proxied_page
from loadtest.bench.memory import Memory
from loadtest.bench.proxied import FIRST
from loadtest.bench.servers import Service, StartError
from loadtest.bench.suite import BY_TURN, GROWING, NOTHING_NEW, QUICK, Scenario, play
from loadtest.bench.targets import verdicts
from loadtest.first_byte import FRESH, KINDS
from loadtest.open_streams import Seen, watch
from loadtest.results import Results
from loadtest.stand_in import StandIn, listening
from loadtest.target import Target

INLINE, FARM = Target("inline", "http://127.0.0.1:1"), Target("farm", "http://127.0.0.1:2")


def _results(farm60: float, growing: float) -> Results:
    results = Results()
    for shift in (0.9, 1.0, 1.1):
        results.add(BY_TURN, "inline", {"turn 60 p50 ms": 24.0 * shift})
        results.add(BY_TURN, "farm", {"turn 60 p50 ms": farm60 * shift})
        results.add(GROWING, "inline", {"req/s": 50 * shift})
        results.add(GROWING, "farm", {"req/s": growing * shift, "cpu ms/req": 9.0})
    return results


def test_failed_service_start_gives_reason(tmp_path: Path) -> None:
    service = Service("peer", ["/bin/sh", "-c", "echo no such extra; exit 3"], tmp_path)
    with pytest.raises(StartError, match=r"peer ended: no such extra"):
        service.until(lambda: False)


def test_failing_target_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    def one(target: Target, prefix: str, seed: int) -> dict[str, float]:
        asked.append(target.name)
        if target is INLINE:
            raise ConnectionRefusedError("gone")
        return {"req/s": 1.0}

    results = Results()
    size = dataclasses.replace(QUICK, repetitions=3)
    play([Scenario(GROWING, [INLINE, FARM], one)], size, 1, results)
    assert asked.count("inline") == 1
    assert results.values(GROWING, "req/s", "farm") == [1.0] * 3
    (failure,) = results.failures
    assert "inline" in failure
    assert "!!! NOT MEASURED" in capsys.readouterr().err


def test_targets_are_met_missed_or_not_measured() -> None:
    savings = {"json": {"farm": 40.0, "headroom": 40.0}, "log": {"farm": 3.0, "headroom": 9.0}}
    grown = Memory(100.0, [101.0, 120.0, 121.0, 121.0, 122.0, 122.0], 1e6)
    good = {v.what: v.met for v in verdicts(_results(3.0, 250), savings, grown, 16)}
    assert good["turn 60 again (650 KB, 240 messages), p50"] is True
    assert good["turn 60 again, faster than inline, over inline"] is True
    assert good["8 users, growing sessions, over inline"] is True
    assert good["8 users, nothing new, over inline"] is None
    assert (good["saved of json"], good["saved of log"]) == (True, False)
    assert good["a front end's memory, HEADROOM_MEMO_BYTES=16 MiB"] is True
    leaking = Memory(100.0, [100.0 + 5 * n for n in range(30)], 1e6)
    bad = {v.what: v.met for v in verdicts(_results(4.5, 190), {}, leaking, 16)}
    assert bad["turn 60 again (650 KB, 240 messages), p50"] is False
    assert bad["turn 60 again, faster than inline, over inline"] is False
    assert bad["8 users, growing sessions, over inline"] is False
    assert bad["a front end's memory, HEADROOM_MEMO_BYTES=16 MiB"] is False


def test_run_is_written_only_between_markers(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text("before\n<!-- bench: begin -->\nold\n<!-- bench: end -->\nafter\n")
    results = _results(3.0, 250)
    results.add(NOTHING_NEW, "farm", {"redis commands/req": 28.0})
    results.failures.append("upstream: it wants more")
    run = pages.Run("bench", 7, 60.0, 3, results, verdicts(results, {}, None, 16), {}, None)
    pages.publish(run, page, ["turn-again.svg"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "**Not measured:** upstream: it wants more" in text
    assert "(performance/turn-again.svg)" in text
    assert "| 5.00 (5.00-5.00) |" in text
    assert json.loads(run.as_json())["repetitions"] == 3
    page.write_text("no markers")
    with pytest.raises(ValueError, match="has no"):
        pages.publish(run, page, [])


def test_plots_show_measured_values(tmp_path: Path) -> None:
    results = _results(3.0, 250)
    assert charts.draw(Results(), None, 16, tmp_path) == []
    for turn in (1, 30, 60):
        results.add(BY_TURN, "farm", {f"turn {turn} again ms": turn / 20, f"turn {turn} KB": turn})
    grown = Memory(100.0, [101.0, 120.0, 121.0], 1e6)
    names = charts.draw(results, grown, 16, tmp_path)
    assert names == ["turn-again.svg", "throughput.svg", "memory.svg"]
    for name in names:
        assert "farm" in (tmp_path / name).read_text() or name == "memory.svg"
        assert (tmp_path / name).read_text().startswith("<?xml")


def _proxied(over: float, whole: float, same: float) -> Results:
    results = Results()
    for kind in KINDS:
        results.add(FIRST[kind], proxied.FARM, {"p50 ms": 4.5, "over direct p50 ms": over})
    results.add(FIRST[FRESH], proxied.FARM, {"over direct and engines p50 ms": over})
    held = {"MiB before": 90.0, "MiB open": 100.0, "MiB after": 101.0}
    results.add(proxied.OPEN, proxied.FARM, {"whole": whole, **held})
    results.add(proxied.SAME, proxied.FARM, {"the same": same, "of": 6.0})
    return results


def test_proxy_is_judged_and_written_beside_the_rest(tmp_path: Path) -> None:
    judged = proxied_page.verdicts(_proxied(4.0, 200, 6), 200)
    assert [verdict.met for verdict in judged] == [True] * 5
    bad = proxied_page.verdicts(_proxied(6.0, 199, 5), 200)
    assert [verdict.met for verdict in bad] == [False] * 5
    assert proxied_page.verdicts(_results(3.0, 250), 200) == []
    page = tmp_path / "performance.md"
    page.write_text("<!-- bench-proxy: begin -->\nold\n<!-- bench-proxy: end -->\nafter\n")
    run = pages.Run("bench", 7, 60.0, 1, _proxied(4.0, 200, 6), [], {}, None, judged)
    pages.fill(page, proxied_page.block(run), "bench-proxy")
    text = page.read_text()
    assert "old" not in text
    assert text.endswith("\nafter\n")
    assert "| first byte, nothing new: p50 ms | - | - | 4.50 | - |" in text
    assert "90 MiB before the streams, 100 MiB while they were open, 101 MiB after" in text


def test_streams_are_read_whole_from_the_stand_in() -> None:
    opened: list[bool] = []

    async def read() -> Seen:
        async with listening(StandIn()) as url:
            return await watch(url, 5, 3, 1, lambda: opened.append(True))

    seen = asyncio.run(read())
    assert (seen.whole, len(seen.delays)) == (5, 15)
    assert len(seen.gaps) <= 10  # fewer where two pieces came together
    assert opened == [True]
