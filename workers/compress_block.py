"""Processes each block of a job with an engine. A block that fails does not affect the others."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

import msgspec
import structlog

from shared.jobs import Block, Form, Job, Options, Original
from shared.tracing import trace_id

from .block_form import Engines, faithful_form
from .runtime.limits import Limit

_log = structlog.get_logger(__name__)


class Done(NamedTuple):
    """A processed block: its form and the originals that its markers refer to."""

    block: Block
    form: Form
    originals: list[Original]


def warm_up(engines: Engines) -> tuple[int, float]:
    """Run each engine once, because its first text takes up to half a second of loading.

    Returns the number of characters of typical texts for this pool, and the seconds that they
    took after loading.
    """
    texts = warm_up_texts()
    for text in texts:
        _try(text, engines)
    usual = texts[:-1] if engines.text_engine is None else texts[-1:]
    started = time.perf_counter()
    for text in usual:
        _try(text, engines)
    return sum(map(len, usual)), time.perf_counter() - started


def _try(text: str, engines: Engines) -> None:
    block = Block("warm-up", text, "tool_result", "user")
    faithful_form(Job("warm-up", "", Options(), "warm up", "warm-up", [block]), block, engines)


def warm_up_texts() -> list[str]:
    """Return one text for each kind of content that has an engine; the last is free text."""
    numbers = range(80)
    log = "\n".join(f"2026-01-01 00:00:{i % 60:02d} INFO warm-up line {i}" for i in numbers)
    rows = json.dumps([{"id": i, "name": f"row {i}", "ok": i % 7 > 0} for i in numbers])
    grep = "\n".join(f"src/module_{i % 5}.py:{i}:def function_{i}():" for i in numbers)
    lines = "\n".join(f" line {i}\n-old {i}\n+new {i}" for i in numbers)
    diff = f"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,160 +1,160 @@\n{lines}"
    letters = "abcdefgh"  # no numbers: sentences with numbers are always kept
    prose = " ".join(
        f"Sentence {a}{b}{c} says what everybody in town knew." for a in letters for b in letters
        for c in "xyz"
    )  # fmt: skip
    page = f"<!DOCTYPE html><html><body><article><p>{prose}</p></article></body></html>"
    return [log, rows, grep, diff, page, prose]


def compress_block(
    job: Job, block: Block, engines: Engines, limit: Limit, share_ms: float = 0.0
) -> Done:
    """Compress one block of ``job``; if its engine fails, the original text stays.

    ``share_ms`` is the block's share of the engine time already spent on its batch.
    """
    started = time.perf_counter()
    try:
        made = limit(lambda: faithful_form(job, block, engines))
    except Exception as error:
        _log.warning(
            "engine_failed",
            error=type(error).__name__,
            request_id=job.request_id,
            trace_id=trace_id(job.trace),
            pool=engines.pool,
            chars=len(block.text),
        )
        spent = (time.perf_counter() - started) * 1000
        return Done(block, Form(None, outcome="failed", engine_ms=spent), [])
    milliseconds = (time.perf_counter() - started) * 1000 + share_ms
    return Done(block, msgspec.structs.replace(made.form, engine_ms=milliseconds), made.originals)
