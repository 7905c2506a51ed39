"""Every private name of headroom that the farm uses, so that an upgrade fails here first."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from typing import Any

import headroom
import pytest
import tiktoken.load
from headroom.cache.compression_store import CompressionStore, get_compression_store
from headroom.tokenizers import TokenizerRegistry
from headroom.transforms import content_router, mixed_content
from headroom.transforms.content_router import CompressionCache, ContentRouter

from shared import upstream
from shared.jobs import Block, Options
from shared.upstream import counting, detection

METHODS = {
    ContentRouter: {
        "apply": ["messages", "tokenizer"],
        "compress": ["content", "context", "question", "bias", "precomputed_detection"],
        "_apply_strategy_to_content": ["content", "strategy", "context"],
        "_bash_search_fold": ["tool_name", "tool_id", "content"],
        "_build_tool_name_map": ["messages"],
        "_detect_analysis_intent": ["messages"],
        "_determine_strategy": ["content", "mixed", "detection"],
        "_get_html_extractor": [],
        "_get_text_crusher": [],
        "_lossless_compact_excluded": ["content"],
        "_try_ml_compressor": ["content", "context", "question", "target_ratio"],
    },
    CompressionCache: {
        "get": ["key"],
        "is_skipped": ["key"],
        "mark_skip": ["key"],
        "move_to_skip": ["key"],
        "put": ["key", "compressed", "ratio", "strategy"],
    },
    CompressionStore: {"store": ["original", "compressed"], "export_entries": ["hashes"]},
}


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [(owner, name, ps) for owner, names in METHODS.items() for name, ps in names.items()],
    ids=lambda v: getattr(v, "__name__", v) if not isinstance(v, list) else "",
)
def test_replaced_and_called_methods_exist(owner: type, name: str, parameters: list[str]) -> None:
    found = getattr(owner, name, None)
    assert found is not None, f"headroom moved {owner.__name__}.{name}: see shared/upstream"
    taken = list(inspect.signature(found).parameters)
    taken = [p for p in taken if p != "self"][: len(parameters)]
    assert taken == parameters, f"{owner.__name__}.{name} now takes {taken}"


@pytest.mark.parametrize(
    "name",
    ["_detect_content", "is_mixed_content", "_bash_command_is_search", "_estimate_tokens"],
)
def test_used_module_functions_exist(name: str) -> None:
    assert hasattr(content_router, name), f"headroom moved content_router.{name}"


def test_router_reads_the_attributes_we_set() -> None:
    router = ContentRouter()
    for name in ("_kompress_max_tokens", "_lossless_then_lossy", "_cache", "config"):
        assert hasattr(router, name), f"ContentRouter no longer has {name}"
    source = inspect.getsource(ContentRouter._try_ml_compressor)
    assert "self._get_text_crusher()" in source
    assert "_kompress_max_tokens" in source


def test_installed_version_is_the_pinned_one() -> None:
    assert headroom.__version__ == "0.42.0"
    assert upstream.ENGINE_VERSION.startswith("headroom-0.42.0+")


def test_detection_goes_through_the_once_per_text_memo(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = detection._upstream_mixed

    def spy(text: str) -> Any:
        seen.append(text)
        return real(text)

    monkeypatch.setattr(detection, "_upstream_mixed", spy)
    text = "diff --git a/x b/x\n" + "a line of its own, never seen before\n" * 20
    first = upstream.detect(text)
    content_router._detect_content(text)
    content_router.is_mixed_content(text)
    assert upstream.detect(text) is first
    assert seen == [text]


def test_environment_overrides_the_operators_settings() -> None:
    assert os.environ["HEADROOM_DETECT_BACKEND"] == "python"
    assert os.environ["HEADROOM_BEACON"] == "off"
    assert "HEADROOM_DEDUPE" not in os.environ


def test_no_vocabulary_is_downloaded() -> None:
    assert tiktoken.load.read_file is counting._refuse_download
    assert upstream.counter_for("gpt-4o").count_text("some words to count") > 0


def test_model_families_share_one_counter() -> None:
    one = upstream.counter_for("claude-sonnet-4-20250514")
    other = upstream.counter_for("claude-opus-4-6")
    assert one is other
    for number in range(50):
        upstream.counter_for(f"made-up-model-{number}")
    assert len(TokenizerRegistry()._cache) <= 1


@pytest.mark.parametrize("model", ["claude-x", "gpt-4o", "gemini-2.5-pro", "default"])
def test_counts_are_headrooms_and_add_up(model: str) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "You are an agent."},
        {"role": "user", "content": [{"type": "text", "text": "list the files 文件"}]},
        {"role": "assistant", "content": None, "tool_calls": None, "name": "x"},
        {"role": "tool", "tool_call_id": "a", "content": '[{"a": 1}]' * 40},
    ]
    counter = upstream.counter_for(model)
    whole = headroom.tokenizers.get_tokenizer(model).count_messages(messages)
    assert sum(counter.message(m) for m in messages) + counter.overhead == whole


def test_each_job_has_its_own_store() -> None:
    router = upstream.EngineRouter(
        marker_mode="ccr", code_aware=False, text_engine=upstream.TextCrusherEngine()
    )
    text = " ".join(
        f"Sentence {chr(97 + i % 26) * (i + 2)} of a text nobody else may ever see."
        for i in range(90)
    )
    block = Block("k", text, "tool_result", "user")
    done = router.run(block, "", Options(), upstream.counter_for("default"))
    assert done.text is not None
    assert [o.content for o in done.originals] == [text]
    assert done.originals[0].hash in done.text
    shared_store = get_compression_store()
    assert shared_store.retrieve(done.originals[0].hash) is None


@pytest.mark.parametrize("model", ["llama-3-70b", "qwen-2", "mistral-large", "o3", "command-r"])
def test_estimates_tokens_without_the_familys_counter(model: str) -> None:
    assert upstream.counter_for(model).message({"role": "user", "content": "hello there"}) > 4


def test_search_for_json_blocks_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parameters = inspect.signature(detection._upstream_extract).parameters
    assert list(parameters) == ["lines", "start", "cache"], (
        "mixed_content._extract_json_block moved"
    )
    ours = mixed_content._extract_json_block
    assert ours is detection._extract_within_bounds
    walked = 0

    def upstream(lines: list[str], start: int, *, cache: Any = None) -> Any:
        nonlocal walked
        found = real(lines, start, cache=cache)
        walked += len(lines) - start if found[0] is None else 0
        return found

    real = detection._upstream_extract
    monkeypatch.setattr(detection, "_upstream_extract", upstream)
    hostile = "```json\n{\n" * 4000
    mixed_content.is_mixed_content(hostile)
    assert 0 < walked < 600_000, "without the limit, 16 million lines are scanned"
    normal = "some text\n{\nnot closed\n" * 20 + 'here it is\n{"a": 1}\nand more\n```py\nx\n```\n'
    indicators = mixed_content.mixed_content_indicators(normal)
    monkeypatch.setattr(mixed_content, "_extract_json_block", real)
    assert mixed_content.mixed_content_indicators(normal) == indicators
    assert indicators["has_embedded_json_with_text"]


def test_processes_start_without_unneeded_packages() -> None:
    unneeded = ("mcp", "litellm", "transformers", "onnxruntime", "headroom.ccr.mcp_server")
    shown = f"[n for n in {unneeded} if n in sys.modules]"
    program = f"import sys, api.app, workers.worker; print({shown})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.stdout.strip() == "[]", done.stderr
