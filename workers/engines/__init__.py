"""The text engines that a pool can run, and the choice among them at start.

A new engine needs one module that implements :class:`shared.headroom.TextEngine`, and one line in
:data:`TEXT_ENGINES`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import structlog

from shared.errors import ModelError
from shared.headroom import KompressEngine, TextCrusherEngine, TextEngine
from shared.jobs import EngineStatus
from shared.model_files import in_cache, in_directory, verify
from shared.settings import PoolName, Settings

_log = structlog.get_logger(__name__)


class Chosen(NamedTuple):
    """A text engine, ready to use, and its status."""

    engine: TextEngine
    status: EngineStatus


def kompress(settings: Settings) -> Chosen:
    """Open Kompress on the fastest provider that runs it correctly.

    Raises:
        ModelError: There is no model, it is broken, or nothing here can run it.
    """
    model = in_directory(settings.model_dir) if settings.model_dir else in_cache()
    try:
        from .choose_device import choose
        from .tokenizer import Tokenizer
    except ImportError as error:
        raise ModelError(f"{error.name} is not installed (extras: cpu or gpu)") from None
    verify(model.tokenizer)
    tokenizer = Tokenizer(model.tokenizer)
    session, reason = choose(model, threads=threads(settings), batch_tokens=settings.batch_tokens)
    provider = session.provider.removesuffix("ExecutionProvider").lower()
    engine = KompressEngine(session, tokenizer)
    return Chosen(engine, EngineStatus("kompress", provider, session.path.name, reason))


def text_crusher(settings: Settings) -> Chosen:
    """Return headroom's TextCrusher, which needs no model."""
    return Chosen(TextCrusherEngine(), EngineStatus("text_crusher", "native", "", ""))


TEXT_ENGINES: dict[str, Callable[[Settings], Chosen]] = {
    "kompress": kompress,
    "text_crusher": text_crusher,
}


def text_engine(pool: PoolName, settings: Settings) -> Chosen | None:
    """Return the engine that compresses free text in ``pool``; the cpu pool has none.

    If the configured engine cannot run, TextCrusher is used and the status gives the reason.
    """
    if pool != "gpu":
        return None
    try:
        chosen = TEXT_ENGINES[settings.text_engine](settings)
    except ModelError as error:
        crusher = text_crusher(settings)
        chosen = Chosen(crusher.engine, crusher.status._replace(reason=str(error)))
    _log.info("text_engine", pool=pool, **chosen.status._asdict())
    return chosen


def threads(settings: Settings) -> int:
    """Return how many threads a session uses: the setting, or its share of the cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return settings.engine_threads or max(1, (cores or 1) // max(1, settings.gpu_workers))
