"""Headroom's router up to the engines: every rule, no compression."""

from __future__ import annotations

from typing import Any, NamedTuple

from shared.jobs import ToolCall

from . import environment  # noqa: F401 - before headroom
from headroom.transforms import content_router as _router
from headroom.transforms.content_router import CompressionStrategy, RouterCompressionResult

from .counting import NO_COUNT, Counter
from .routers import NOOP, FarmRouter, router_config

INLINE_FOLD_CHARS = 2048
"""Excluded tools' outputs below this size are folded on the front end: a fold of 2 KB
takes about 0.1 ms, a trip through the queue several."""

_CODE_PROTECTED = frozenset({"router:protected:recent_code", "router:protected:analysis_context"})


class Planned(NamedTuple):
    """What headroom's rules say of one message (with at most one content block).

    ``message`` is the message after what was done on the spot; ``texts`` are the texts
    that reach an engine; ``fold`` says that a lossless fold is all they may get or get
    first; ``code`` that the verdict hangs on whether the message is recent or code is
    being analysed.
    """

    message: dict[str, Any]
    transforms: tuple[str, ...]
    texts: tuple[str, ...]
    fold: bool
    code: bool


class Planner(FarmRouter):
    """Headroom's router up to the engines: every rule, no compression."""

    def __init__(self, *, marker_mode: str, code_aware: bool) -> None:
        super().__init__(router_config(marker_mode=marker_mode, code_aware=code_aware))
        self._analysis = False
        self._texts: list[str] = []
        self._fold = False
        self._code = False

    def plan(
        self,
        message: dict[str, Any],
        *,
        calls: dict[str, ToolCall],
        counter: Counter,
        recent: bool,
        analysis: bool,
        min_tokens: int,
        min_chars: int = 500,
        compress_user_messages: bool,
        protect_analysis: bool = True,
        compress_system_messages: bool = False,
    ) -> Planned:
        """Apply headroom's rules to one message.

        ``calls`` are the tool calls its results answer, by id; ``recent`` says that it is
        among the messages whose code is protected; ``analysis`` that the user's last
        message asks about code, which ``protect_analysis`` then keeps as it is.
        """
        self._calls = calls
        self._analysis = analysis
        self._texts = []
        self._fold = False
        self._code = False
        result = self.apply(
            [message],
            # The router sums up str(content) and decides nothing by it where that is a list.
            counter if isinstance(message.get("content"), str) else NO_COUNT,
            model_limit=0,
            context="",
            protect_recent=1 if recent else 0,
            protect_analysis_context=protect_analysis,
            min_tokens_to_compress=min_tokens,
            min_chars_for_block_compression=min_chars,
            compress_user_messages=compress_user_messages,
            compress_system_messages=compress_system_messages,
        )
        transforms = tuple(t for t in result.transforms_applied if t != NOOP)
        code = self._code or not _CODE_PROTECTED.isdisjoint(transforms)
        return Planned(result.messages[0], transforms, tuple(self._texts), self._fold, code)

    def compress(
        self,
        content: str,
        context: str = "",
        question: str | None = None,
        bias: float = 1.0,
        precomputed_detection: Any = None,
    ) -> RouterCompressionResult:
        """Note the text instead of compressing it."""
        self._texts.append(content)
        if precomputed_detection is not None:
            self._code = precomputed_detection.content_type == _router.ContentType.SOURCE_CODE
        return RouterCompressionResult(
            compressed=content, original=content, strategy_used=CompressionStrategy.PASSTHROUGH
        )

    def _detect_analysis_intent(self, messages: list[dict[str, Any]]) -> bool:
        return self._analysis

    def _lossless_compact_excluded(self, content: Any) -> tuple[str, str] | None:
        if isinstance(content, str) and len(content) >= INLINE_FOLD_CHARS:
            self._texts.append(content)
            self._fold = True
            return None
        folded: tuple[str, str] | None = super()._lossless_compact_excluded(content)
        return folded

    def _bash_search_fold(self, tool_name: str, tool_id: str, content: Any) -> str | None:
        if not isinstance(content, str) or len(content) < INLINE_FOLD_CHARS:
            folded: str | None = super()._bash_search_fold(tool_name, tool_id, content)
            return folded
        command = self._tool_call_commands.get(tool_id, "")
        if (
            command
            and tool_name.lower() in self.config.bash_tool_names
            and _router._bash_command_is_search(command, self.config.bash_search_commands)
        ):
            self._texts.append(content)
            self._fold = True
        return None
