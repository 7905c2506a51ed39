"""JSON Schemas of request bodies, for the OpenAPI document."""

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
    "fold_reads": {**_SWITCH, "description": "output of file reads may refer to earlier text"},
    "mode": {
        "type": ["string", "null"],
        "enum": ["ccr", "marker-free", "lossy_inline", "lossless_then_lossy", None],
        "description": "whether text may be removed: with a marker, not at all, or without",
    },
    "session_id": {
        "type": ["string", "null"],
        "pattern": "\\S",
        "maxLength": 256,
        "description": "the conversation's id; by default it is derived from the first messages",
    },
    "frozen_message_count": {
        **_COUNT,
        "default": 0,
        "description": "number of leading messages to return as received, or as returned before",
    },
    "token_budget": {
        **_BUDGET,
        "description": "above half of it, smaller texts are compressed too",
    },
    "model_limit": {**_BUDGET, "description": "used as token_budget if that is absent"},
}
_MESSAGE = {"type": "object", "additionalProperties": True}
_GATEWAY: Schema = {
    "type": "object",
    "description": (
        "the gateway's capabilities; opens a turn: the answer has the provider's body and a "
        "turn_id, and the provider's answer is then sent to /v1/compress/response"
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
            "description": "OpenAI Responses items instead of messages; returned in the same field",
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
        "response": {"type": ["object", "null"], "description": "the provider's whole answer"},
        "status": {"type": ["integer", "null"], "minimum": 100, "maximum": 599, "default": 200},
        "usage": {"anyOf": [PROVIDER_USAGE, {"type": "null"}]},
        "latency_ms": {"type": ["number", "null"], "minimum": 0, "maximum": 86_400_000},
        "round": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": 1_000_000,
            "description": "number of the turn's request that was answered, from 0",
        },
    },
}
