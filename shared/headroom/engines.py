"""Headroom's engines: those that select lines of one kind of text, and the text engine's protocol.

The farm calls an engine by the kind of a text, which :mod:`shared.content` decides. Headroom's
own router is not asked again: it cut half of the logs into hundreds of sections for other engines.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from . import environment  # noqa: F401 - before headroom
from headroom.transforms import content_router as _router
from headroom.transforms.code_compressor import CodeAwareCompressor, CodeCompressorConfig
from headroom.transforms.diff_compressor import DiffCompressor, DiffCompressorConfig
from headroom.transforms.log_compressor import LogCompressor, LogCompressorConfig
from headroom.transforms.search_compressor import SearchCompressor, SearchCompressorConfig


class TextEngine(Protocol):
    """An engine that selects parts of free text. A new one is a file in ``workers/engines``."""

    name: str

    def kept(self, text: str, context: str, target_ratio: float | None) -> list[tuple[int, int]]:
        """Return the start and end of each part of ``text`` to keep: whole sentences, in order.

        ``context`` is the user's question; ``target_ratio`` is the share to keep, None for the
        engine's own choice.
        """
        ...


class LineEngines:
    """Headroom's engines that select lines, by name. They leave no markers and store nothing."""

    NAMES: Final = ("log", "search", "diff", "code_aware")

    def __init__(self) -> None:
        self._engines: dict[str, Any] = {
            "log": LogCompressor(LogCompressorConfig(enable_ccr=False)),
            "search": SearchCompressor(SearchCompressorConfig(enable_ccr=False)),
            "diff": DiffCompressor(DiffCompressorConfig(enable_ccr=False)),
            "code_aware": CodeAwareCompressor(CodeCompressorConfig(enable_ccr=False)),
        }

    def run(self, name: str, text: str, context: str) -> str:
        """Return what engine ``name`` makes of ``text``; ``context`` is the user's question.

        It may have notes of the engine's own among the selected lines. Exceptions of the engine
        propagate.
        """
        made: str = self._engines[name].compress(text, context=context).compressed
        return made


def is_excluded(tool: str) -> bool:
    """Return whether headroom's rules exclude the outputs of ``tool`` from any loss."""
    return bool(_router.is_tool_excluded(tool, _router.DEFAULT_EXCLUDE_TOOLS))
