"""What the check costs: its share of the time in which a worker makes a block's form."""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from shared.content import classify
from shared.headroom import TextCrusherEngine
from shared.jobs import Block, Job, Options, ToolCall
from workers.block_form import Engines, faithful_form

from .sample import Sample

_module = importlib.import_module("workers.fidelity.choose_form")


class Share(NamedTuple):
    """Milliseconds of processor time, the check's in and the whole's without it."""

    check: float
    engines: float

    @property
    def percent(self) -> float:
        """The check's part of what the engines themselves take."""
        return 100 * self.check / self.engines if self.engines else 0.0


def measure(samples: Sequence[Sample]) -> dict[str, Share]:
    """Return the check's share by family; each sample is done once to warm up, and then counted."""
    spent = 0.0
    real: Any = _module.check

    def timed(*given: Any, **named: Any) -> Any:
        nonlocal spent
        started = time.process_time()
        try:
            return real(*given, **named)
        finally:
            spent += time.process_time() - started

    engines = {"cpu": Engines("cpu", None), "gpu": Engines("gpu", TextCrusherEngine())}
    found: dict[str, Share] = {}
    vars(_module)["check"] = timed
    try:
        for sample in samples:
            call = ToolCall("Bash", sample.command, sample.command)
            block = Block("k", sample.text, "tool_result", "user", call)
            job = Job("u", "r", Options(), "what", "id", [block])
            pool = classify(sample.text, call).pool
            faithful_form(job, block, engines[pool])
            spent = 0.0
            started = time.process_time()
            faithful_form(job, block, engines[pool])
            whole = time.process_time() - started
            before = found.get(sample.family, Share(0.0, 0.0))
            found[sample.family] = Share(
                before.check + spent * 1000, before.engines + (whole - spent) * 1000
            )
    finally:
        vars(_module)["check"] = real
    return found
