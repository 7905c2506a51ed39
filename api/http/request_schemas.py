"""JSON Schemas of requests' bodies, for the OpenAPI document."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_COUNT = {"type": ["integer", "null"], "minimum": 0, "maximum": 1_000_000_000}
_BUDGET = {**_COUNT, "minimum": 1}
_SWITCH = {"type": ["boolean", "null"]}
OPTIONS: dict[str, Any] = {
    "protect_recent": {**_COUNT, "default": 4},
    "min_tokens_to_compress": {**_COUNT, "default": 250},
    "target_ratio": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "compress_user_messages": {**_SWITCH, "default": False},
    "compress_system_messages": {**_SWITCH, "default": False},
    "protect_analysis_context": {**_SWITCH, "default": True},
    "fold_reads": {**_SWITCH, "description": "files that were read may refer to earlier text"},
    "mode": {
        "type": ["string", "null"],
        "enum": ["ccr", "marker-free", "lossy_inline", "lossless_then_lossy", None],
        "description": "what may be left out: with a marker, nothing, or without a marker",
    },
    "session_id": {
        "type": ["string", "null"],
        "pattern": "\\S",
        "maxLength": 256,
        "description": "the conversation; without it, it is told by its first messages",
    },
    "frozen_message_count": {
        **_COUNT,
        "default": 0,
        "description": "so many leading messages leave as they came, or as they last left",
    },
    "token_budget": {
        **_BUDGET,
        "description": "from half of it on, texts shrink from a smaller size on",
    },
    "model_limit": {**_BUDGET, "description": "the same, where there is no token_budget"},
}
_MESSAGE = {"type": "object", "additionalProperties": True}
_GATEWAY: Schema = {
    "type": "object",
    "description": (
        "what a gateway can do that opens a turn: the answer has the provider's body and a "
        "turn_id, and the provider's answer is for /v1/compress/response"
    ),
    "properties": {
        "can_redrive": {**_SWITCH, "default": False},
        "can_relay_response": {**_SWITCH, "default": False},
        "session_affinity": {**_SWITCH, "default": True},
        "request_headers": {"type": ["object", "null"]},
    },
}
REQUEST: Schema = {
    "type": "object",
    "anyOf": [{"required": ["messages"]}, {"required": ["input"]}],
    "properties": {
        "messages": {"type": "array", "items": _MESSAGE},
        "input": {
            "type": "array",
            "items": _MESSAGE,
            "description": "OpenAI Responses items in place of messages; the answer has them here",
        },
        "model": {"type": ["string", "null"]},
        "config": {"type": ["object", "null"], "properties": OPTIONS},
        "gateway": _GATEWAY,
        **OPTIONS,
    },
}
_BILLED: Schema = {"type": ["integer", "null"], "minimum": 0, "maximum": 100_000_000}
PROVIDER_USAGE: Schema = {
    "type": "object",
    "properties": dict.fromkeys(
        (
            "input_tokens",
            "cache_creation_input_tokens",
            "cache_read_input_tokens",
            "output_tokens",
            "prompt_tokens",
            "completion_tokens",
        ),
        _BILLED,
    ),
}
PROVIDER_ANSWER: Schema = {
    "type": "object",
    "required": ["turn_id"],
    "properties": {
        "turn_id": {"type": "string", "pattern": "\\S", "maxLength": 128},
        "response": {"type": ["object", "null"], "description": "the provider's answer, whole"},
        "status": {"type": ["integer", "null"], "minimum": 100, "maximum": 599, "default": 200},
        "usage": {"anyOf": [PROVIDER_USAGE, {"type": "null"}]},
        "latency_ms": {"type": ["number", "null"], "minimum": 0, "maximum": 86_400_000},
        "round": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 1_000_000,
            "description": "which of the turn's requests was answered, from 0 on",
        },
    },
}
