"""``python -m tests.browser.screenshots docs/images``: takes the docs' pictures of the dashboard.

Starts a farm, lets it compress real tool output of this machine, and writes the answers to its
ledger again, spread over the last 30 days, so that the charts show a month. The picture of the
farm view is taken under load.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import tempfile
import threading
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Browser, Page, sync_playwright

from api.accounting.ledger import Ledger
from api.accounting.token_prices import Price
from api.accounting.usage_record import AnsweredRequest, UsageRecord, answered
from api.accounting.write_ahead_log import Line
from api.pipeline.compression_result import CompressionResult
from loadtest.material import collect
from shared.jobs import engines_of
from shared.settings import Settings

from ..farm import Farm, post
from ..texts import conversation, ran
from .chromium import ARGUMENTS, chromium

_MODELS = {
    "claude-sonnet-4-20250514": "3",
    "claude-opus-4-6": "15",
    "gpt-4o": "2.5",
    "claude-haiku-4-5-20251001": "0.8",
    "gpt-4.1": "2",
}
_USERS = (
    "ada", "grace", "linus", "margaret", "ken", "barbara", "dennis", "radia", "guido", "frances",
    "edsger", "hedy", "alan", "joan", "donald", "annie", "tim", "katherine", "bjarne", "mary",
    "niklaus", "evelyn", "john", "sophie", "leslie", "karen", "robert", "adele", "vint", "lynn",
)  # fmt: skip
_DAYS = 30
_REQUESTS = 4000
_BATCH = 200
_CHARS = 24_000
_LOAD = 6


def take(into: Path) -> None:
    """Take every picture."""
    program, missing = chromium()
    if not program:
        raise SystemExit(missing)
    with tempfile.TemporaryDirectory(prefix="screenshots-") as scratch:
        farm = Farm(Path(scratch))
        try:
            farm.start(cpu=2, gpu=1)
            asyncio.run(_month(farm, _answers(farm)))
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
                _pictures(browser, farm, into)
                browser.close()
        finally:
            farm.stop()


def _pictures(browser: Browser, farm: Farm, into: Path) -> None:
    for scheme in ("light", "dark"):
        page = _open(browser, farm, "savings?range=month", scheme, 1280, 1130)
        page.screenshot(path=into / f"dashboard-{scheme}.png")
    phone = _open(browser, farm, "savings?range=month", "light", 390, 844)
    phone.screenshot(path=into / "dashboard-phone.png")
    play = _open(browser, farm, "playground", "light", 1440, 1400)
    play.click("[data-preset=build]")
    play.wait_for_selector(".result[data-run]")
    play.screenshot(path=into / "playground.png")
    play.locator(".marker").first.click()
    play.wait_for_selector("#original-dialog del")
    play.set_viewport_size({"width": 1440, "height": 800})
    play.screenshot(path=into / "original.png")
    stop = threading.Event()
    load = [threading.Thread(target=_post, args=(farm, number, stop)) for number in range(_LOAD)]
    for thread in load:
        thread.start()
    page = _open(browser, farm, "farm", "dark", 1280, 1060)
    page.wait_for_timeout(40_000)
    page.screenshot(path=into / "farm-dark.png")
    stop.set()
    for thread in load:
        thread.join()


def _open(
    browser: Browser, farm: Farm, fragment: str, scheme: Any, width: int, height: int
) -> Page:
    size: Any = {"width": width, "height": height}
    context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
    page = context.new_page()
    page.goto(f"{farm.url}/dashboard#{fragment}")
    if not fragment.startswith("playground"):
        page.wait_for_selector(".view[data-shown]")
    page.wait_for_timeout(500)
    return page


def _body(text: str) -> dict[str, Any]:
    return {**conversation(ran(text)), "model": next(iter(_MODELS))}


def _post(farm: Farm, seed: int, stop: threading.Event) -> None:
    """Post new tool output until stopped."""
    samples = collect(limit_chars=_CHARS)
    number = seed
    while not stop.is_set():
        text = f"{samples[number % len(samples)].text}\nrun {number}"
        farm.post(_body(text), f"load-{seed}")
        number += _LOAD


def _answers(farm: Farm) -> list[tuple[CompressionResult, float]]:
    """Compress real tool output without usage records; return answers and seconds."""
    found = []
    for sample in collect(limit_chars=_CHARS)[:150]:
        page = {"x-headroom-playground": "screenshots"}
        answer = post(farm.url, _body(sample.text), page, "/v1/playground").json
        spent = answer["trace"]["total_ms"] / 1000
        saved = answer["tokens_saved"]
        names = engines_of(answer["transforms_applied"])
        engine = names[0] if len(names) == 1 else "several"
        found.append(
            (
                CompressionResult(
                    pieces=[],
                    messages=len(answer["messages"]),
                    changed=1 if saved else 0,
                    tokens_before=answer["tokens_before"],
                    tokens_after=answer["tokens_after"],
                    transforms=answer["transforms_applied"],
                    hashes=answer["ccr_hashes"],
                    model="",
                    degraded=answer["degraded"],
                    cache_misses=1,
                    reason="" if saved else "protected",
                    engines={engine: (1, saved)} if saved else {},
                ),
                spent,
            )
        )
    return found


async def _month(farm: Farm, answers: list[tuple[CompressionResult, float]]) -> None:
    """Write the answers to an empty ledger, distributed like a month of working days."""
    settings = Settings(redis_url=farm.redis_url, data_dir=farm.directory / "filler")  # type: ignore[call-arg]
    ledger, chance, now = Ledger(settings), random.Random(7), time.time()
    times = sorted(_moment(chance, now) for _ in range(_REQUESTS))
    for start in range(0, _REQUESTS, _BATCH):
        lines = [
            Line(start + n + 1, _entry(chance, start + n, at, *chance.choice(answers)))
            for n, at in enumerate(times[start : start + _BATCH])
        ]
        await ledger.send("screenshots", lines)


def _moment(chance: random.Random, now: float) -> float:
    """Return a time within the last month, most likely in working hours."""
    while True:
        at = now - chance.random() * _DAYS * 86_400
        when = datetime.fromtimestamp(at, UTC)
        hours = math.exp(-(((when.hour - 13) / 4) ** 2)) + 0.06
        if chance.random() < hours * (0.15 if when.weekday() > 4 else 1):
            return at


def _entry(
    chance: random.Random, number: int, at: float, answer: CompressionResult, spent: float
) -> UsageRecord:
    model = chance.choices(list(_MODELS), weights=(9, 3, 4, 5, 2))[0]
    user = _USERS[min(int(chance.expovariate(0.13)), len(_USERS) - 1)]
    answer.model = model
    request = AnsweredRequest(f"{number:08x}", user, spent)
    entry = answered(request, answer, Price(Decimal(_MODELS[model]), False))
    now = msgspec.json.decode(entry.recent)["timestamp"]
    then = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return msgspec.structs.replace(
        entry,
        at=at,
        answer="",
        recent=entry.recent.replace(now, then),
        history=entry.history.replace(now, then),
    )


def main() -> None:
    """Read the destination, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("into", type=Path)
    into = parser.parse_args().into
    into.mkdir(parents=True, exist_ok=True)
    take(into)


if __name__ == "__main__":
    main()
