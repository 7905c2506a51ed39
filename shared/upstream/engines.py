"""Headroom's router with its engines, for one text at a time."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from shared.jobs import Block, Options, Original, is_tool_output

from . import environment  # noqa: F401 - before headroom
from headroom.cache.compression_store import (
    get_compression_store,
    set_request_compression_store,
)
from headroom.transforms import content_router as _router
from headroom.transforms.content_router import CompressionStrategy, RouterCompressionResult

from .counting import Counter
from .detection import remember_detection
from .original_collector import JobStore
from .routers import NOOP, FarmRouter, router_config


_DIFF_FOLD = ["lossless_diff"]
_FULL_DIFF = "Retrieve full diff: hash="


class TextEngine(Protocol):
    """An engine that compresses free text. A new one is a file in ``workers/engines``.

    ``marks`` says that the engine stores originals and leaves markers itself.
    """

    name: str
    marks: bool

    def compress(
        self, text: str, context: str, target_ratio: float | None, original: str | None = None
    ) -> str:
        """Return ``text`` shortened, or unchanged; ``context`` is the user's question.

        ``original`` is ``text`` before its tags were replaced by placeholders.
        """
        ...

    def kept(self, text: str, context: str, target_ratio: float | None) -> list[tuple[int, int]]:
        """Return the start and end of each part of ``text`` to keep: whole sentences, in order."""
        ...


class _EngineAsCrusher:
    """Gives a :class:`TextEngine` the interface of headroom's TextCrusher."""

    def __init__(self, engine: TextEngine, router: EngineRouter) -> None:
        self._engine = engine
        self._router = router

    def compress(self, content: str, context: str = "") -> Any:
        router = self._router
        ratio = router._runtime_target_ratio
        try:
            compressed = self._engine.compress(content, context, ratio, router._engine_input)
        except Exception as error:  # headroom ignores it; EngineRouter.run raises it
            router._engine_error = error
            raise
        return RouterCompressionResult(
            compressed=compressed, original=content, strategy_used=CompressionStrategy.TEXT
        )


class Engined(NamedTuple):
    """The engines' result for a text; its text is None if the original stays."""

    text: str | None
    transforms: tuple[str, ...]
    originals: list[Original]


class EngineRouter(FarmRouter):
    """Headroom's router with its engines, for one text at a time.

    It compresses more than headroom, but only in tool outputs, because their original is stored
    and a marker leads to it: free text (if a ``text_engine`` is given) and HTML, which upstream
    leaves verbatim for lack of that marker; and it trims diffs instead of only folding them.
    """

    def __init__(
        self, *, marker_mode: str, code_aware: bool, text_engine: TextEngine | None
    ) -> None:
        super().__init__(router_config(marker_mode=marker_mode, code_aware=code_aware))
        self._text_engine = text_engine
        self._crusher = _EngineAsCrusher(text_engine, self) if text_engine else None
        self._tool_output = False
        self._strategies: list[CompressionStrategy] = []
        self._engine_input: str | None = None
        self._engine_error: Exception | None = None
        self._engine_used = False
        if text_engine is not None:
            self._kompress_max_tokens = 1  # every text passes the size check to the engine
            self._lossless_then_lossy = True  # continue after folding blank lines

    def run(self, block: Block, context: str, options: Options, counter: Counter) -> Engined:
        """Compress one block's text; ``context`` is the user's question.

        Raises any exception of the text engine.
        """
        if block.detection is not None:
            remember_detection(block.text, block.detection)
        self._calls = {"call": block.call} if block.call else {}
        self._tool_output = is_tool_output(block.shape, block.role)
        self._engine_error, self._engine_used = None, False
        store = JobStore()
        set_request_compression_store(store)
        try:
            result = self.apply(
                [_message_around(block)],
                counter,
                model_limit=0,
                context=context,
                protect_recent=0,
                protect_analysis_context=False,
                min_tokens_to_compress=1,
                min_chars_for_block_compression=0,
                compress_user_messages=True,
                compress_system_messages=True,
                compress_assistant_text_blocks=True,
                target_ratio=options.target_ratio,
                # Only the text engine may run a model. Otherwise headroom imports
                # transformers to look for one, runs what it finds in a cache, and posts texts
                # to HEADROOM_KOMPRESS_ENDPOINT.
                kompress_model="disabled",
            )
        finally:
            set_request_compression_store(None)
        if self._engine_error is not None:
            raise self._engine_error
        transforms = tuple(t for t in result.transforms_applied if t != NOOP)
        text = _text_inside(block, result.messages[0])
        if text == block.text:
            return Engined(None, transforms, [])
        if self._engine_used and self._text_engine is not None:
            transforms += (f"farm:text:{self._text_engine.name}",)
        return Engined(text, transforms, store.originals())

    def excludes(self, block: Block) -> bool:
        """Return whether headroom's rules exclude outputs of the block's tool from any loss."""
        return block.call is not None and bool(
            _router.is_tool_excluded(block.call.name, _router.DEFAULT_EXCLUDE_TOOLS)
        )

    def kept(self, text: str, context: str, target_ratio: float | None) -> list[tuple[int, int]]:
        """Return the start and end of each part of free ``text`` that the text engine keeps."""
        if self._text_engine is None:
            return [(0, len(text))]
        set_request_compression_store(JobStore())
        try:
            return self._text_engine.kept(text, context, target_ratio)
        finally:
            set_request_compression_store(None)

    def _apply_strategy_to_content(
        self, content: str, strategy: CompressionStrategy, context: str, *args: Any, **kwargs: Any
    ) -> tuple[str, int, list[str]]:
        self._strategies.append(strategy)
        try:
            compressed, tokens, chain = super()._apply_strategy_to_content(
                content, strategy, context, *args, **kwargs
            )
        finally:
            self._strategies.pop()
        if self._tool_output and strategy is CompressionStrategy.DIFF and chain == _DIFF_FOLD:
            return self._trimmed_diff(content, compressed, context)
        by_extractor = chain[:1] == ["html"] and "embedded_json" not in chain
        if self._tool_output and by_extractor and compressed != content:
            compressed = self._with_marker(content, compressed, "HTML page reduced to its text.")
            tokens = _router._estimate_tokens(compressed)
        return compressed, tokens, chain

    def _trimmed_diff(self, content: str, folded: str, context: str) -> tuple[str, int, list[str]]:
        """Return the result of headroom's DiffCompressor for a diff, if it is below the fold's.

        Headroom's router stops after the fold (it drops the ``index`` lines, 1-3 %) and so never
        runs its own compressor on the output of ``git diff``.
        """
        tokens = _router._estimate_tokens(folded)
        compressor = self._get_diff_compressor()
        if self.config.ccr_inject_marker and compressor is not None:
            trimmed = compressor.compress(content, context=context).compressed
            if _FULL_DIFF not in trimmed and trimmed != content:
                trimmed = self._with_marker(content, trimmed, "Diff trimmed to its changes.")
            fewer = _router._estimate_tokens(trimmed)
            # Headroom's token estimate drops above a certain size, so compare lengths too.
            shorter = len(trimmed) < len(folded)
            if shorter and fewer <= tokens * (1 - self._lossy_min_extra_savings):
                return trimmed, fewer, [CompressionStrategy.DIFF.value]
        return folded, tokens, list(_DIFF_FOLD)

    def _get_html_extractor(self) -> Any:
        """Return headroom's extractor without the search for metadata, which is not used.

        The search for a page's date takes seconds if no simple pattern matches, because
        dateparser then compiles the patterns of every language.
        """
        extractor = super()._get_html_extractor()
        if extractor is not None:  # trafilatura is installed
            extractor.config.extract_metadata = False
        return extractor

    def _get_text_crusher(self) -> Any:
        return self._crusher

    def _try_ml_compressor(
        self,
        content: str,
        context: str,
        question: str | None = None,
        target_ratio: float | None = None,
    ) -> tuple[str, int]:
        strategy = self._strategies[-1] if self._strategies else None
        is_text = strategy in (CompressionStrategy.TEXT, CompressionStrategy.KOMPRESS)
        if self._crusher is None:
            kept: tuple[str, int] = super()._try_ml_compressor(
                content, context, question, target_ratio
            )
            return kept
        if not (self._tool_output and is_text):
            return content, _router._estimate_tokens(content)
        if not self.config.ccr_inject_marker:
            return content, _router._estimate_tokens(content)
        self._engine_input = content
        compressed, _ = super()._try_ml_compressor(content, context, question, target_ratio)
        if compressed == content:
            return content, _router._estimate_tokens(content)
        self._engine_used = True
        if not (self._text_engine and self._text_engine.marks):
            compressed = self._with_marker(content, compressed, "Text shortened to its key lines.")
        return compressed, _router._estimate_tokens(compressed)

    def _with_marker(self, original: str, compressed: str, what: str) -> str:
        """Store ``original`` and add its marker; return ``original`` if that is not shorter."""
        if not self.config.ccr_inject_marker:
            return original
        key = get_compression_store().store(
            original,
            compressed,
            original_tokens=_router._estimate_tokens(original),
            compressed_tokens=_router._estimate_tokens(compressed),
            compression_strategy=what,
        )
        marked = f"{compressed}\n[{what} Retrieve original: hash={key}]"
        smaller = _router._estimate_tokens(marked) < _router._estimate_tokens(original)
        return marked if smaller and len(marked) < len(original) else original


def _message_around(block: Block) -> dict[str, Any]:
    """Return the smallest message of the block's shape that headroom's router accepts."""
    if block.shape == "string":
        return {"role": block.role, "content": block.text, "tool_call_id": "call"}
    if block.shape == "text":
        inner = {"type": "text", "text": block.text}
        return {"role": block.role, "content": [inner], "tool_call_id": "call"}
    result = {"type": "tool_result", "tool_use_id": "call", "content": block.text}
    return {"role": block.role, "content": [result]}


def _text_inside(block: Block, message: dict[str, Any]) -> str:
    content = message["content"]
    if block.shape == "string":
        return str(content)
    return str(content[0]["text" if block.shape == "text" else "content"])
