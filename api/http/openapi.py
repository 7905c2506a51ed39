"""The OpenAPI 3.1 document.

The schemas of answers come from the structs in :mod:`.response_schemas` and
:mod:`.report_schemas`. Requests are described here and in :mod:`.request_schemas`: their messages
are never decoded into objects, so there are no structs to derive schemas from.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct

from shared.settings import Settings

from . import report_schemas as reports
from . import response_schemas as answers
from .request_schemas import PROVIDER_ANSWER, PROVIDER_USAGE, REQUEST, Schema

_named: dict[type[Struct], None] = {}
"""The structs that the document refers to, in order."""


def _ref(kind: type[Struct]) -> Schema:
    """Return a reference to the schema of a struct; :func:`document` adds the schema itself."""
    _named[kind] = None
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def _content(schema: Schema) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def _json(description: str, *kinds: type[Struct]) -> dict[str, Any]:
    """Describe an answer, which has one of these types."""
    schemas = [_ref(kind) for kind in kinds]
    one = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"description": description, **_content(one)}


_DENIED = {
    "401": _json("a bearer token is required and there is no valid one", answers.Error),
    "403": _json("the token lacks the scope", answers.Error),
}
_BODY = {
    "408": _json("the request did not arrive in time", answers.Error),
    "413": _json("the body is too large, as sent or decoded, or too complex", answers.Error),
    "415": _json("the content type is not JSON, or the encoding is not supported", answers.Error),
}
_CODING: dict[str, Any] = {
    "name": "content-encoding",
    "in": "header",
    "required": False,
    "description": "how the body is encoded",
    "schema": {"type": "string", "enum": ["identity", "gzip", "zstd", "deflate"]},
}


def _header(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string"},
    }


_PAGE = {
    "get": {
        "summary": "The dashboard",
        "responses": {
            "200": {
                "description": "the page",
                "content": {"text/html": {"schema": {"type": "string"}}},
            }
        },
    }
}


def _probe(summary: str, **given: tuple[str, type[Struct]]) -> dict[str, Any]:
    """Describe a probe; ``_200=("it is", HEALTH)`` gives an answer's description and schema."""
    responses = {code.strip("_"): _json(*answer) for code, answer in given.items()}
    return {"get": {"summary": summary, "responses": responses}}


_SANDBOX = _header("x-headroom-playground", "an id of the page: 1 to 64 letters, digits or hyphens")


def _retrieve(path: str | None) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": "The original behind a marker, for the user it was stored for",
        "parameters": [
            _header("x-maas-username", "the user the original was stored for"),
            _SANDBOX,
        ],
        "responses": {
            "200": _json("the original", answers.Original),
            "400": _json("the hash is missing", answers.Error),
            **_DENIED,
            "404": _json("unknown_hash or expired", answers.Error),
            **({} if path else _BODY),
            "503": _json("Redis is unavailable", answers.Error),
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
            **_content(wanted),
        }
    return operation


_TOOL_CALL: dict[str, Any] = {
    "summary": "The result of the model's headroom_retrieve call (Anthropic or OpenAI)",
    "parameters": [_header("x-maas-username", "the user the original was stored for")],
    "requestBody": {
        "required": True,
        **_content({"type": "object"}),
    },
    "responses": {
        "200": {
            "description": "the tool result message in the call's dialect (for a call in "
            "headroom's envelope, in headroom's own format: tool_result, success, data); a miss "
            "is reported in the text",
            **_content({"type": "object"}),
        },
        "400": _json("not exactly one call of headroom_retrieve", answers.Error),
        **_DENIED,
        **_BODY,
        "503": _json("Redis is unavailable", answers.Error),
    },
}


_NAME = {"type": "string", "minLength": 1, "maxLength": 256}
_USAGE: dict[str, Any] = {
    "summary": "Record the usage that a provider reported for a request",
    "description": (
        "Counts once per user and request_id. Anthropic's and OpenAI's usage objects are "
        "accepted as they are; model defaults to that of the answered request."
    ),
    "parameters": [_header("x-maas-username", "the user who made the request")],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["usage"],
                    "anyOf": [{"required": ["request_id"]}, {"required": ["session_id"]}],
                    "properties": {
                        "request_id": _NAME,
                        "session_id": _NAME,
                        "model": _NAME,
                        "usage": PROVIDER_USAGE,
                    },
                }
            }
        },
    },
    "responses": {
        "200": _json("the recorded usage", answers.Usage),
        "400": _json("the usage is invalid", answers.Error),
        **_DENIED,
        **_BODY,
        "503": _json("Redis is unavailable", answers.Error),
    },
}


_TURN: dict[str, Any] = {
    "summary": "Continue a gateway's turn with the provider's answer, on any replica",
    "description": (
        "On 'done' the gateway returns 'response' to the client, or the provider's answer if it "
        "is null. On 'redrive' it sends 'request' to the provider and reports the answer with the "
        "next round number. An answer that is sent again gets the same reply."
    ),
    "parameters": [_header("x-maas-username", "the user whose turn it is")],
    "requestBody": {"required": True, **_content(PROVIDER_ANSWER)},
    "responses": {
        "200": _json("the next step", answers.Done, answers.Redrive),
        "400": _json("the provider's answer is invalid", answers.Error),
        **_DENIED,
        "404": _json("no such turn, or it has expired", answers.Error),
        "409": _json("a different answer was accepted before", answers.Error),
        **_BODY,
        "503": _json("Redis is unavailable, or too many bodies are in memory", answers.Error),
    },
}


def _passed_on(summary: str, array: str = "messages") -> dict[str, Any]:
    """Describe a model call that is compressed and sent to its provider."""
    kind = ["array", "string"] if array == "input" else "array"
    fields: Schema = {"model": {}, array: {"type": kind}}
    answer = {"application/json": {}, "text/event-stream": {"schema": {"type": "string"}}}
    return {
        "post": {
            "summary": summary,
            "description": (
                "Passed on to the provider with shorter tool output; every other field and header "
                "is the provider's own API, and so is the answer, errors included."
            ),
            "parameters": [
                _header("x-maas-username", "the user whose conversation it is"),
                _header("x-headroom-token", "the farm's token; 'authorization' is the provider's"),
                _header("x-headroom-session-id", "the conversation, if the client names it"),
                _header("x-headroom-deadline-ms", "time for compression, in ms"),
                _header("x-headroom-bypass", "'true' sends the body as it is"),
                _CODING,
            ],
            "requestBody": {
                "required": True,
                **_content({"type": "object", "properties": fields}),
            },
            "responses": {
                "200": {"description": "the provider's answer, as it comes", "content": answer},
                **_DENIED,
                "404": _json("there is no address of this provider, or its own 404", answers.Error),
                "408": _BODY["408"],
                "413": _BODY["413"],
                "502": _json("the provider cannot be reached, or its own 502", answers.Error),
                "503": _json("memory for bodies is used up, or the provider's 503", answers.Error),
                "504": _json("the provider is silent, or its own 504", answers.Error),
                "default": {"description": "the provider's own answer"},
            },
        }
    }


_PROXIED: dict[str, Any] = {
    "/v1/messages": _passed_on("Anthropic's Messages"),
    "/v1/messages/count_tokens": _passed_on("Anthropic's count of a request as it would be sent"),
    "/v1/chat/completions": _passed_on("OpenAI's Chat Completions"),
    "/v1/responses": _passed_on("OpenAI's Responses", "input"),
}


_NARROW = {
    "range": "hour, day, week, month or all",
    "since": "ISO 8601 or epoch seconds",
    "until": "ISO 8601 or epoch seconds",
    "user": "restrict to this user",
    "model": "restrict to this model",
}


def _books(
    summary: str, answer: type[Struct], *parameters: str, narrowed: bool = False
) -> dict[str, Any]:
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
                "200": _json("the report", answer),
                "400": _json("a parameter is invalid", answers.Error),
                **_DENIED,
                "503": _json("Redis is unavailable", answers.Error),
            },
        }
    }


def _schemas() -> dict[str, Any]:
    """Return the schemas of all structs that the document refers to, by name."""
    template = "#/components/schemas/{name}"
    return msgspec.json.schema_components(_named, ref_template=template)[1]


def document(settings: Settings) -> dict[str, Any]:
    """Return the OpenAPI document of this service with its settings."""
    responses = {
        "200": _json("the conversation", answers.Compressed, answers.CompressedInput),
        "400": _json("the body is invalid", answers.Error),
        **_DENIED,
        **_BODY,
        "503": _json("too many large bodies are in memory", answers.Error),
    }
    compress = {
        "summary": "Compress a conversation",
        "description": (
            "Returns the same messages, with tool output shortened, by the deadline. "
            "If a part fails, its text is returned unchanged and 'degraded' names the reason."
        ),
        "parameters": [
            _header("x-maas-username", "the user whose conversation it is"),
            _header("x-headroom-user-id", "the same, for clients that send this header"),
            _header("x-headroom-deadline-ms", f"below {settings.deadline_ms}"),
            _header("x-headroom-bypass", "'true' returns the messages unchanged"),
            _header("x-request-id", "returned unchanged"),
            _CODING,
        ],
        "requestBody": {
            "required": True,
            **_content(REQUEST),
        },
        "responses": responses,
    }
    playground = {
        "summary": "Compress a conversation without a usage record, and return a trace",
        "parameters": [{**_SANDBOX, "required": True}],
        "requestBody": compress["requestBody"],
        "responses": {**responses, "200": _json("the conversation and its trace", answers.Traced)},
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
            "/v1/compress/response": {"post": _TURN},
            **_PROXIED,
            "/v1/usage": {"post": _USAGE},
            "/v1/retrieve": {"post": _retrieve(None)},
            "/v1/retrieve/tool_call": {"post": _TOOL_CALL},
            "/v1/retrieve/{hash}": {"get": _retrieve("hash")},
            "/stats": _books("Tokens and cost saved", reports.Stats, narrowed=True),
            "/stats/insights": _books(
                "Savings by engine, model, user, hour, and optionally day",
                reports.Insights,
                "daily",
                narrowed=True,
            ),
            "/stats/farm": _books(
                "State and load of pools and front ends", reports.Farm, "range", "since", "until"
            ),
            "/stats/policy": _books(
                "Comparison of the policy's groups", reports.Policy, "range", "since", "until"
            ),
            "/stats-history": _books(
                "Lifetime totals and hourly savings", reports.History, narrowed=True
            ),
            "/sessions": _books("Active users and their session caches", reports.Sessions, "limit"),
            "/pricing": _books(
                "Input prices of models, and their source", reports.Pricing, "model"
            ),
            "/metrics": {
                "get": {
                    "summary": "Metrics for Prometheus",
                    "responses": {
                        "200": {
                            "description": "exposition text",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        },
                        **_DENIED,
                    },
                }
            },
            "/health": _probe(
                "Whether the process is running", _200=("it is running", answers.Health)
            ),
            "/livez": _probe(
                "Whether the process can continue",
                _200=("it can", answers.Live),
                _503=("a background task keeps failing; the process ends", answers.NotLive),
            ),
            "/readyz": _probe(
                "Whether the process can serve",
                _200=("it can", answers.Ready),
                _503=("it cannot, with the reason", answers.NotReady),
            ),
            "/openapi.json": _probe(
                "This document",
                _200=("the document", answers.Document),
            ),
            "/": _PAGE,
            "/dashboard": _PAGE,
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "required if tokens are configured, except for probes",
                }
            },
        },
        "security": [{}, {"token": []}],
    }
