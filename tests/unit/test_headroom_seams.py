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
from headroom.tokenizers import TokenizerRegistry
from headroom.transforms import content_router, mixed_content
from headroom.transforms.content_router import CompressionCache, ContentRouter

from shared import headroom as upstream
from shared.headroom import counting, detection
from shared.jobs import Block, Job, Options
from workers.block_form import Engines, faithful_form

METHODS = {
    ContentRouter: {
        "apply": ["messages", "tokenizer"],
        "compress": ["content", "context", "question", "bias", "precomputed_detection"],
        "_bash_search_fold": ["tool_name", "tool_id", "content"],
        "_build_tool_name_map": ["messages"],
        "_detect_analysis_intent": ["messages"],
        "_lossless_compact_excluded": ["content"],
    },
    CompressionCache: {
        "get": ["key"],
        "is_skipped": ["key"],
        "mark_skip": ["key"],
        "move_to_skip": ["key"],
        "put": ["key", "compressed", "ratio", "strategy"],
    },
}


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [(owner, name, ps) for owner, names in METHODS.items() for name, ps in names.items()],
    ids=lambda v: getattr(v, "__name__", v) if not isinstance(v, list) else "",
)
def test_replaced_and_called_methods_exist(owner: type, name: str, parameters: list[str]) -> None:
    found = getattr(owner, name, None)
    assert found is not None, f"headroom moved {owner.__name__}.{name}: see shared/headroom"
    taken = list(inspect.signature(found).parameters)
    taken = [p for p in taken if p != "self"][: len(parameters)]
    assert taken == parameters, f"{owner.__name__}.{name} now takes {taken}"


@pytest.mark.parametrize(
    "name",
    ["_detect_content", "_bash_command_is_search", "is_tool_excluded", "DEFAULT_EXCLUDE_TOOLS"],
)
def test_used_module_functions_exist(name: str) -> None:
    assert hasattr(content_router, name), f"headroom moved content_router.{name}"


def test_router_reads_the_attributes_we_set() -> None:
    router = ContentRouter()
    for name in ("_cache", "config"):
        assert hasattr(router, name), f"ContentRouter no longer has {name}"


def test_installed_version_is_the_pinned_one() -> None:
    assert headroom.__version__ == "0.42.0"
    assert upstream.ENGINE_VERSION.startswith("headroom-0.42.0+")


def test_detection_goes_through_the_once_per_text_memo(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real = detection._upstream_detect

    def spy(text: str) -> Any:
        seen.append(text)
        return real(text)

    monkeypatch.setattr(detection, "_upstream_detect", spy)
    text = "diff --git a/x b/x\n" + "a line of its own, never seen before\n" * 20
    first = upstream.detect(text)
    content_router._detect_content(text)
    assert upstream.detect(text) is first
    assert seen == [text]


def test_search_for_json_blocks_is_never_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is quadratic: 50 KB of ``{`` lines take 6 s."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("headroom's test for mixed content ran")

    monkeypatch.setattr(content_router, "is_mixed_content", refuse)
    monkeypatch.setattr(mixed_content, "_extract_json_block", refuse)
    hostile = "```json\n{\n" * 400
    planner = upstream.Planner(marker_mode="ccr", code_aware=False)
    planned = planner.plan(
        {"role": "tool", "content": hostile, "tool_call_id": "a"}, calls={}, recent=False,
        counter=upstream.counter_for("claude-x"), analysis=False, min_tokens=1,
        compress_user_messages=False,
    )  # fmt: skip
    assert planned.texts == (hostile,)
    upstream.detect(f"{hostile} ")
    block = Block("k", hostile, "tool_result", "user")
    faithful_form(Job("u", "r", Options(), "", "", [block]), block, Engines("cpu", None))


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


@pytest.mark.parametrize("model", ["llama-3-70b", "qwen-2", "mistral-large", "o3", "command-r"])
def test_estimates_tokens_without_the_familys_counter(model: str) -> None:
    assert upstream.counter_for(model).message({"role": "user", "content": "hello there"}) > 4


def test_processes_start_without_unneeded_packages() -> None:
    unneeded = ("mcp", "litellm", "transformers", "onnxruntime", "headroom.ccr.mcp_server")
    shown = f"[n for n in {unneeded} if n in sys.modules]"
    program = f"import sys, api.app, workers.worker; print({shown})"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.stdout.strip() == "[]", done.stderr
