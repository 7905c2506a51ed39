"""Headroom 0.42, and the only module of this project that touches it.

The farm calls headroom's rules and engines instead of writing them again. Where the
public surface is not enough, a private name is used *here*, and
``tests/unit/test_upstream_seams.py`` fails with the name when an upgrade moves it.

Two routers come out of it, both headroom's own ``ContentRouter`` with a few methods
replaced: :class:`Planner` runs every rule that decides *whether* a text may shrink and
notes the texts that reach an engine; :class:`EngineRouter` runs the engines on one text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

_PINNED = {
    # One detector in every process: a farm whose processes disagree misroutes blocks.
    "HEADROOM_DETECT_BACKEND": "python",
    # Nothing on disk, nothing learnt across users, nothing sent anywhere.
    "HEADROOM_CCR_BACKEND": "memory",
    "HEADROOM_TOIN_BACKEND": "none",
    "HEADROOM_BEACON": "off",
    "HEADROOM_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    # A worker runs one block at a time under its own timeout.
    "HEADROOM_COMPRESSION_DEADLINE_MS": "0",
    "HEADROOM_COMPRESS_WORKERS": "1",
}
_CLEARED = (
    "HEADROOM_DEDUPE",
    "HEADROOM_DIAGNOSTICS",
    "HEADROOM_EXPERIMENTAL_READ_KEEP_RATIO",
    "HEADROOM_FREEZE_BLOCK_DECISION",
    "HEADROOM_LOSSLESS_THEN_LOSSY",
    "HEADROOM_NET_COST_POLICY",
    "HEADROOM_PROTECT_READS",
    "HEADROOM_TEXT_CRUSHER",
)
os.environ.update(_PINNED)
for _name in _CLEARED:
    os.environ.pop(_name, None)

# ruff: noqa: E402 - headroom reads its environment while it is imported.
import logging

import tiktoken.load
from headroom import __version__ as HEADROOM_VERSION
from headroom.cache.compression_store import CompressionStore, set_request_compression_store
from headroom.config import ReadLifecycleConfig, RelevanceScorerConfig
from headroom.tokenizers import TokenizerRegistry, get_tokenizer
from headroom.tokenizers.estimator import EstimatingTokenCounter
from headroom.tokenizers.tiktoken_counter import TiktokenLoadError
from headroom.transforms import content_router as _router
from headroom.transforms.content_router import (
    CompressionCache,
    CompressionStrategy,
    ContentRouter,
    ContentRouterConfig,
    RouterCompressionResult,
)
from headroom.transforms.read_lifecycle import ReadClassification, ReadLifecycleManager
from headroom.transforms.text_crusher import TextCrusher
from headroom.utils import extract_user_query

from .jobs import Block, Detection, Options, Original, ToolCall

for _logger in ("headroom", "LiteLLM"):
    logging.getLogger(_logger).setLevel(logging.CRITICAL + 1)  # they quote content

ENGINE_REVISION = 1
"""Raised whenever this module changes what an engine makes of a text."""
ENGINE_VERSION = f"headroom-{HEADROOM_VERSION}+farm-{ENGINE_REVISION}"

INLINE_FOLD_CHARS = 2048
"""Excluded tools' outputs below this size are folded on the front end: a fold of 2 KB
takes about 0.1 ms, a trip through the queue several."""

ML_STRATEGIES = frozenset(
    {CompressionStrategy.TEXT, CompressionStrategy.KOMPRESS, CompressionStrategy.MIXED}
)
_CODE_PROTECTED = frozenset({"router:protected:recent_code", "router:protected:analysis_context"})
_NOOP = "router:noop"


# ── Token counts ────────────────────────────────────────────────────────────────────


def _refuse_download(blobpath: str) -> bytes:
    """Stand in for tiktoken's downloader: a vocabulary that is not on disk is not fetched."""
    raise TiktokenLoadError("tiktoken vocabularies are used from disk, never downloaded")


tiktoken.load.read_file = _refuse_download


class Counter:
    """A model family's token counter. ``id`` is equal where the counts are."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        self.id = name
        self._tokenizer = tokenizer

    def message(self, message: dict[str, Any]) -> int:
        """Tokens of one message; the sum over messages plus :attr:`overhead` is headroom's."""
        count: int = self._tokenizer.count_messages([message]) - self.overhead
        return count

    @property
    def overhead(self) -> int:
        """Tokens headroom adds once per conversation."""
        overhead: int = self._tokenizer.REPLY_OVERHEAD
        return overhead

    def count_text(self, text: str) -> int:
        """Tokens of one text (the surface headroom's router asks for)."""
        count: int = self._tokenizer.count_text(text)
        return count


class _NoCount:
    """Counts nothing, for calls whose counts nobody reads."""

    def count_text(self, text: str) -> int:
        return 0


_NO_COUNT = _NoCount()
_counters: dict[str, Counter] = {}


@lru_cache(maxsize=1024)
def counter_for(model: str) -> Counter:
    """Return the counter headroom chooses for ``model``; families share one.

    Where that counter needs what is not installed or not on disk, headroom finds out when it
    first counts and gives the conversation up; here its estimator counts instead.
    """
    tokenizer = get_tokenizer(model)
    try:
        tokenizer.count_text("a probe")
    except Exception:
        tokenizer = EstimatingTokenCounter()
    TokenizerRegistry.clear_cache()  # unbounded upstream; ours is not
    parts = (getattr(tokenizer, "_fixed_ratio", None), getattr(tokenizer, "encoding_name", None))
    name = f"{type(tokenizer).__name__}:{parts[0]}:{parts[1]}"
    return _counters.setdefault(name, Counter(name, tokenizer))


# ── Detection, once per text ────────────────────────────────────────────────────────

_detections: dict[str, Detection] = {}
_DETECTIONS_KEPT = 16
_upstream_detect = _router._detect_content
_upstream_mixed = _router.is_mixed_content


def detect(text: str) -> Detection:
    """Return headroom's detection of ``text``, computed once while the text is at hand."""
    known = _detections.get(text)
    if known is None:
        found = _upstream_detect(text)
        known = Detection(
            found.content_type.value, found.confidence, found.metadata, _upstream_mixed(text)
        )
        remember_detection(text, known)
    return known


def remember_detection(text: str, detection: Detection) -> None:
    """Let :func:`detect` answer ``detection`` for ``text`` without looking again."""
    if len(_detections) >= _DETECTIONS_KEPT:
        _detections.pop(next(iter(_detections)))
    _detections[text] = detection


def _detect_once(content: str) -> Any:
    found = detect(content)
    return _router.DetectionResult(
        _router.ContentType(found.content_type), found.confidence, found.metadata
    )


def _mixed_once(content: str) -> bool:
    known = _detections.get(content)
    return known.mixed if known is not None else bool(_upstream_mixed(content))


_router._detect_content = _detect_once
_router.is_mixed_content = _mixed_once


# ── Routers ─────────────────────────────────────────────────────────────────────────


class _NoCache(CompressionCache):
    """Headroom's process-wide result cache, switched off: results belong to one user."""

    def get(self, key: str) -> None:
        return None

    def is_skipped(self, key: str) -> bool:
        return False

    def put(self, key: str, compressed: str, ratio: float, strategy: str) -> None:
        return None

    def mark_skip(self, key: str) -> None:
        return None

    def move_to_skip(self, key: str) -> None:
        return None


def _config(*, marker_mode: str, code_aware: bool) -> ContentRouterConfig:
    return ContentRouterConfig(
        lossless=marker_mode == "marker-free",
        enable_code_aware=code_aware,
        # Run by the farm over the whole conversation (Lifecycle below).
        read_lifecycle=ReadLifecycleConfig(enabled=False),
        # The hybrid scorer downloads a model; without it headroom stays on BM25 anyway.
        relevance=RelevanceScorerConfig(tier="bm25"),
    )


class _FarmRouter(ContentRouter):
    """Headroom's router, told the tool calls instead of reading them from messages."""

    def __init__(self, config: ContentRouterConfig) -> None:
        super().__init__(config)
        self._cache = _NoCache()
        self._calls: dict[str, ToolCall] = {}

    def _build_tool_name_map(self, messages: list[dict[str, Any]]) -> dict[str, str]:
        self._tool_call_args = {i: c.args for i, c in self._calls.items() if c.args}
        self._tool_call_commands = {i: c.command for i, c in self._calls.items() if c.command}
        return {i: c.name for i, c in self._calls.items()}


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


class Planner(_FarmRouter):
    """Headroom's router up to the engines: every rule, no compression."""

    def __init__(self, *, marker_mode: str, code_aware: bool) -> None:
        super().__init__(_config(marker_mode=marker_mode, code_aware=code_aware))
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
        compress_user_messages: bool,
    ) -> Planned:
        """Apply headroom's rules to one message.

        ``calls`` are the tool calls its results answer, by id; ``recent`` says that it is
        among the messages whose code is protected; ``analysis`` that the user's last
        message asks about code.
        """
        self._calls = calls
        self._analysis = analysis
        self._texts = []
        self._fold = False
        self._code = False
        result = self.apply(
            [message],
            # The router sums up str(content) and decides nothing by it where that is a list.
            counter if isinstance(message.get("content"), str) else _NO_COUNT,
            model_limit=0,
            context="",
            protect_recent=1 if recent else 0,
            protect_analysis_context=True,
            min_tokens_to_compress=min_tokens,
            compress_user_messages=compress_user_messages,
            compress_system_messages=False,
        )
        transforms = tuple(t for t in result.transforms_applied if t != _NOOP)
        code = self._code or not _CODE_PROTECTED.isdisjoint(transforms)
        return Planned(result.messages[0], transforms, tuple(self._texts), self._fold, code)

    def needs_model(self, text: str) -> bool:
        """Say whether ``text`` is for the pool that runs the text engine."""
        found = detect(text)
        strategy = self._determine_strategy(text, found.mixed, _detect_once(text))
        return strategy in ML_STRATEGIES

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


class TextEngine(Protocol):
    """What compresses free text. A new one is a file in ``workers/engines``."""

    name: str

    def compress(self, text: str, context: str, target_ratio: float | None) -> str:
        """Return ``text`` shortened, or unchanged; ``context`` is the user's question."""
        ...


class TextCrusherEngine:
    """Headroom's native extractive crusher: whole sentences, no model."""

    name = "text_crusher"

    def __init__(self) -> None:
        self._crusher = TextCrusher()

    def compress(self, text: str, context: str, target_ratio: float | None) -> str:
        """Return the kept sentences of ``text`` in their order."""
        compressed: str = self._crusher.compress(text, context, target_ratio).compressed
        return compressed


class _EngineAsCrusher:
    """Gives a :class:`TextEngine` the face of headroom's TextCrusher."""

    def __init__(self, engine: TextEngine, router: EngineRouter) -> None:
        self._engine = engine
        self._router = router

    def compress(self, content: str, context: str = "") -> Any:
        ratio = self._router._runtime_target_ratio
        compressed = self._engine.compress(content, context, ratio)
        return RouterCompressionResult(
            compressed=compressed, original=content, strategy_used=CompressionStrategy.TEXT
        )


class _JobStore(CompressionStore):
    """Takes the originals of one block, so that they reach Redis under their user's key."""

    def __init__(self) -> None:
        super().__init__(max_entries=10_000, default_ttl=3600, enable_feedback=False)
        self.hashes: list[str] = []

    def store(self, *args: Any, **kwargs: Any) -> str:
        digest: str = super().store(*args, **kwargs)
        self.hashes.append(digest)
        return digest

    def originals(self) -> list[Original]:
        """Return what was stored, one per hash."""
        return [
            Original(
                hash=e["hash"],
                content=e["original_content"],
                tokens=e["original_tokens"],
                items=e["original_item_count"],
                compressed_items=e["compressed_item_count"],
                tool_name=e["tool_name"],
                strategy=e["compression_strategy"],
            )
            for e in self.export_entries(list(dict.fromkeys(self.hashes)))
        ]


class Engined(NamedTuple):
    """What the engines made of a text: None where it stays as it is."""

    text: str | None
    transforms: tuple[str, ...]
    originals: list[Original]


class EngineRouter(_FarmRouter):
    """Headroom's router with its engines, for one text at a time.

    It goes beyond headroom in one thing, on tool outputs only: free text (where a
    ``text_engine`` is given) and HTML shrink, because their original is kept and a
    marker leads back to it; upstream leaves both verbatim for want of that marker.
    """

    def __init__(
        self, *, marker_mode: str, code_aware: bool, text_engine: TextEngine | None
    ) -> None:
        super().__init__(_config(marker_mode=marker_mode, code_aware=code_aware))
        self._text_engine = text_engine
        self._crusher = _EngineAsCrusher(text_engine, self) if text_engine else None
        self._tool_output = False
        self._strategies: list[CompressionStrategy] = []
        if text_engine is not None:
            self._kompress_max_tokens = 1  # every text takes the size gate to the engine
            self._lossless_then_lossy = True  # a blank-line fold must not end the matter

    def run(self, block: Block, context: str, options: Options, counter: Counter) -> Engined:
        """Compress one block's text; ``context`` is the user's question."""
        if block.detection is not None:
            remember_detection(block.text, block.detection)
        self._calls = {"call": block.call} if block.call else {}
        self._tool_output = block.shape == "tool_result" or block.role in ("tool", "function")
        store = _JobStore()
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
            )
        finally:
            set_request_compression_store(None)
        transforms = tuple(t for t in result.transforms_applied if t != _NOOP)
        text = _text_inside(block, result.messages[0])
        if text == block.text:
            return Engined(None, transforms, [])
        return Engined(text, transforms, store.originals())

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
        by_extractor = chain[:1] == ["html"] and "embedded_json" not in chain
        if self._tool_output and by_extractor and compressed != content:
            compressed = self._with_marker(content, compressed, "HTML page reduced to its text.")
            tokens = _router._estimate_tokens(compressed)
        return compressed, tokens, chain

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
        compressed, _ = super()._try_ml_compressor(content, context, question, target_ratio)
        if compressed != content:
            compressed = self._with_marker(content, compressed, "Text shortened to its key lines.")
        return compressed, _router._estimate_tokens(compressed)

    def _with_marker(self, original: str, compressed: str, what: str) -> str:
        """Store ``original`` and say so; the original itself where that is not smaller."""
        if not self.config.ccr_inject_marker:
            return original
        key = _router_store().store(
            original,
            compressed,
            original_tokens=_router._estimate_tokens(original),
            compressed_tokens=_router._estimate_tokens(compressed),
            compression_strategy=what,
        )
        marked = f"{compressed}\n[{what} Retrieve original: hash={key}]"
        smaller = _router._estimate_tokens(marked) < _router._estimate_tokens(original)
        return marked if smaller else original


def _router_store() -> CompressionStore:
    from headroom.cache.compression_store import get_compression_store

    return get_compression_store()


def _message_around(block: Block) -> dict[str, Any]:
    """Return the smallest message of the block's shape, as headroom's router takes it."""
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


# ── Facts of messages ───────────────────────────────────────────────────────────────


class FileCall(NamedTuple):
    """A tool call on a file: what headroom's read lifecycle looks at."""

    name: str
    path: str
    offset: Any
    limit: Any


def tool_calls(message: dict[str, Any]) -> dict[str, ToolCall]:
    """Return the tool calls that an assistant message makes, by id."""
    reader = _call_reader()
    names = reader._build_tool_name_map([message])
    return {
        i: ToolCall(name, reader._tool_call_args.get(i, ""), reader._tool_call_commands.get(i, ""))
        for i, name in names.items()
    }


@lru_cache(maxsize=1)
def _call_reader() -> ContentRouter:
    return ContentRouter(_config(marker_mode="ccr", code_aware=False))


def user_query(message: dict[str, Any]) -> str:
    """Return the user's question in this message, empty where it holds none."""
    query: str = extract_user_query([message])
    return query


def analysis_intent(message: dict[str, Any]) -> bool:
    """Say whether this message, the user's last one, asks about code."""
    return bool(_call_reader()._detect_analysis_intent([message]))


class Lifecycle(ReadLifecycleManager):
    """Headroom's read lifecycle over facts of messages instead of the messages.

    ``classify`` takes ``(message index, calls)`` of the assistant messages in order.
    """

    def __init__(self) -> None:
        super().__init__(ReadLifecycleConfig())
        self._index: dict[str, int] = {}

    def file_calls(self, message: dict[str, Any]) -> dict[str, FileCall]:
        """Return the message's calls that read or change a file, by id."""
        found = self._build_tool_metadata([message])
        self._index = dict.fromkeys(found, 0)
        known = self._build_file_operation_index([], found)
        kept = {op.tool_call_id for ops in known.values() for op in ops}
        return {i: FileCall(*found[i]) for i in found if i in kept}

    def classify(
        self, messages: Iterable[tuple[int, dict[str, FileCall]]]
    ) -> dict[str, ReadClassification]:
        """Return the reads that are no longer fresh, by call id."""
        calls: dict[str, FileCall] = {}
        self._index = {}
        for index, made in messages:
            calls.update(made)
            for call in made:
                self._index.setdefault(call, index)
        reads = self._classify_reads(self._build_file_operation_index([], calls))
        return {r.tool_call_id: r for r in reads if r.state.value != "fresh"}

    def replace(
        self, message: dict[str, Any], reads: list[ReadClassification]
    ) -> tuple[dict[str, Any], list[Original], tuple[str, ...]]:
        """Return the message with those reads' contents replaced by markers, and the originals."""
        store = _JobStore()
        self.store: _JobStore | None = store
        try:
            result = self._apply_lifecycle([message], reads)
        finally:
            self.store = None
        return result.messages[0], store.originals(), tuple(result.transforms_applied)

    def _find_tool_call_msg_index(
        self, messages: list[dict[str, Any]], tool_call_id: str
    ) -> int | None:
        return self._index.get(tool_call_id)
