"""The OpenAPI 3.1 document. The bodies' schemas are here and not in a model layer: a
request's messages are never turned into objects, so there is no model to derive from."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from shared.settings import Settings

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
_OPTIONS: dict[str, Any] = {
    "protect_recent": {"type": ["integer", "null"], "minimum": 0, "default": 4},
    "min_tokens_to_compress": {"type": ["integer", "null"], "minimum": 0, "default": 250},
    "target_ratio": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "compress_user_messages": {"type": ["boolean", "null"], "default": False},
    "mode": {"type": ["string", "null"], "enum": ["ccr", "marker-free", None]},
}
_MESSAGE = {"type": "object", "additionalProperties": True}
_REQUEST = {
    "type": "object",
    "required": ["messages"],
    "properties": {
        "messages": {"type": "array", "items": _MESSAGE},
        "model": {"type": ["string", "null"]},
        "config": {"type": ["object", "null"], "properties": _OPTIONS},
        **_OPTIONS,
    },
}
_ANSWER: dict[str, Any] = {
    "type": "object",
    "required": [
        "messages",
        "tokens_before",
        "tokens_after",
        "tokens_saved",
        "compression_ratio",
        "transforms_applied",
        "ccr_hashes",
        "degraded",
    ],
    "properties": {
        "messages": {"type": "array", "items": _MESSAGE},
        "tokens_before": {"type": "integer", "minimum": 0},
        "tokens_after": {"type": "integer", "minimum": 0},
        "tokens_saved": {"type": "integer", "minimum": 0},
        "compression_ratio": {"type": "number", "minimum": 0, "maximum": 1},
        "transforms_applied": {"type": "array", "items": {"type": "string"}},
        "ccr_hashes": {
            "type": "array",
            "items": {"type": "string", "pattern": "^[a-f0-9]{12,24}$"},
        },
        "degraded": {"type": "array", "items": {"type": "string"}},
    },
}


_ORIGINAL = {
    "type": "object",
    "required": ["hash", "original_content", "original_tokens", "retrieval_count"],
    "properties": {
        "hash": {"type": "string"},
        "original_content": {"type": "string"},
        "original_tokens": {"type": "integer"},
        "original_item_count": {"type": "integer"},
        "compressed_item_count": {"type": "integer"},
        "tool_name": {"type": ["string", "null"]},
        "retrieval_count": {"type": "integer"},
    },
}


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_DENIED = {
    "401": _json("no valid bearer token, where one is needed", _ERROR),
    "403": _json("the token lacks the scope", _ERROR),
}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


_TRACED = {
    **_ANSWER,
    "properties": {**_ANSWER["properties"], "trace": {"type": "object"}},
}
_PAGE = {
    "get": {
        "summary": "The dashboard",
        "responses": {
            "200": {
                "description": "a page",
                "content": {"text/html": {"schema": {"type": "string"}}},
            }
        },
    }
}


def _probe(summary: str, statuses: dict[str, str]) -> dict[str, Any]:
    answers = {code: _json(text, {"type": "object"}) for code, text in statuses.items()}
    return {"get": {"summary": summary, "responses": answers}}


_SANDBOX = _header(
    "x-headroom-playground", "the page that asks: 1 to 64 letters, digits or hyphens"
)


def _retrieve(path: str | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": "The original behind a marker, for the user it was stored for",
        "parameters": [_header("x-maas-username", "whose original it is"), _SANDBOX],
        "responses": {
            "200": _json("the original", _ORIGINAL),
            "400": _json("no hash", _ERROR),
            **_DENIED,
            "404": _json("unknown_hash or expired", _ERROR),
            "503": _json("Redis is away", _ERROR),
        },
    }
    hashed = {"type": "string", "pattern": "^[A-Fa-f0-9]{12,24}$"}
    if path:
        operation["parameters"].append(
            {"name": path, "in": "path", "required": True, "schema": hashed}
        )
    else:
        wanted = {"type": "object", "required": ["hash"], "properties": {"hash": hashed}}
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": wanted}},
        }
    return operation


_TOOL_CALL: dict[str, Any] = {
    "summary": "The result of the model's headroom_retrieve call (Anthropic or OpenAI)",
    "parameters": [_header("x-maas-username", "whose original it is")],
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    },
    "responses": {
        "200": _json("the tool result; a miss says so in its text", {"type": "object"}),
        "400": _json("not one call of headroom_retrieve", _ERROR),
        **_DENIED,
        "503": _json("Redis is away", _ERROR),
    },
}


_NARROW = {
    "range": "hour, day, week, month or all",
    "since": "ISO 8601 or epoch seconds",
    "until": "ISO 8601 or epoch seconds",
    "user": "one user only",
    "model": "one model only",
}


def _books(summary: str, *parameters: str, narrowed: bool = False) -> dict[str, Any]:
    named = {**dict.fromkeys(parameters, ""), **(_NARROW if narrowed else {})}
    return {
        "get": {
            "summary": summary,
            "parameters": [
                {
                    "name": name,
                    "in": "query",
                    "required": False,
                    "description": text,
                    "schema": {"type": "string"},
                }
                for name, text in named.items()
            ],
            "responses": {
                "200": _json("the books", {"type": "object"}),
                "400": _json("a parameter is wrong", _ERROR),
                **_DENIED,
                "503": _json("Redis is away", _ERROR),
            },
        }
    }


def document(settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of this service as it is set up."""
    responses = {
        "200": _json("the conversation", _ANSWER),
        "400": _json("the body is not what it should be", _ERROR),
        **_DENIED,
        "413": _json(f"the body is over {settings.max_body_bytes} bytes", _ERROR),
        "415": _json("the content type is not JSON", _ERROR),
    }
    compress = {
        "summary": "Compress a conversation",
        "description": (
            "Answers by the deadline with the same messages, tool output shortened. "
            "Whatever fails inside leaves its text as it came and is named in 'degraded'."
        ),
        "parameters": [
            _header("x-maas-username", "whose conversation it is"),
            _header("x-headroom-user-id", "the same, for other clients"),
            _header("x-headroom-deadline-ms", f"below {settings.deadline_ms}"),
            _header("x-headroom-bypass", "'true' returns the messages untouched"),
            _header("x-request-id", "returned as given"),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _REQUEST}},
        },
        "responses": responses,
    }
    playground = {
        "summary": "Compress a conversation outside the books, and say how it was done",
        "parameters": [{**_SANDBOX, "required": True}],
        "requestBody": compress["requestBody"],
        "responses": {**responses, "200": _json("the conversation and its way", _TRACED)},
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "headroom-farm",
            "version": version("headroom-farm"),
            "description": "Compresses coding agents' conversations with headroom's engines.",
        },
        "paths": {
            "/v1/compress": {"post": compress},
            "/v1/playground": {"post": playground},
            "/v1/retrieve": {"post": _retrieve(None)},
            "/v1/retrieve/tool_call": {"post": _TOOL_CALL},
            "/v1/retrieve/{hash}": {"get": _retrieve("hash")},
            "/stats": _books("What was saved", narrowed=True),
            "/stats/insights": _books(
                "By engine, model, user, hour, and day where asked for", "daily", narrowed=True
            ),
            "/stats/farm": _books("How the pools and the front ends do", "range", "since", "until"),
            "/stats-history": _books("Lifetime, requests that saved, by the hour", narrowed=True),
            "/sessions": _books("Who is active, and what his cache did", "limit"),
            "/pricing": _books("What models' input costs, and by what source", "model"),
            "/metrics": {
                "get": {
                    "summary": "The farm for Prometheus",
                    "responses": {
                        "200": {
                            "description": "exposition text",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        }
                    },
                }
            },
            "/health": _probe("Is the process there", {"200": "it is"}),
            "/livez": _probe("Is the process there", {"200": "it is"}),
            "/readyz": _probe("Can it serve", {"200": "it can", "503": "it cannot, and why"}),
            "/": _PAGE,
            "/dashboard": _PAGE,
            "/openapi.json": _probe("This document", {"200": "the document"}),
        },
    }
