"""``POST /v1/retrieve/tool_call``: the model's tool call in, its tool result out."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import msgspec

from shared.errors import InvalidField, NotRetrievable
from shared.headroom import retrieval_hash

from ..http.request import read_json
from .retrieve import BODY_BYTES, Originals, for_the_model

_Call = tuple[dict[str, Any], str, str]


class ToolCallResource:
    """Answers as headroom does: a miss is 200 with a result whose text informs the model.

    A call in headroom's envelope (``{"tool_call", "provider"}``) is answered in headroom's format
    (``{"tool_result", "success", "data"}``); a bare call or message is answered with the tool
    result message of its dialect. The whole original is returned, as in headroom 0.42, whose
    retrieval is by hash and takes no query.
    """

    def __init__(self, originals: Originals) -> None:
        self._originals = originals

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Execute one call of the retrieval tool."""
        body = await read_json(req, BODY_BYTES)
        enveloped = isinstance(body, dict) and "tool_call" in body
        call, provider, digest = _only_call(body)
        try:
            found = await self._originals.find(req, digest)
            data = for_the_model(found)
        except NotRetrievable as error:
            data = {"error": str(error), "hash": digest, "status": error.type}
        resp.media = _result(call, provider, data, enveloped)


def _only_call(body: Any) -> _Call:
    calls = [
        (call, provider, digest)
        for call, provider in _candidates(body)
        if isinstance(call, dict) and (digest := retrieval_hash(call, provider))
    ]
    if len(calls) != 1:
        raise InvalidField("the body must hold one call of headroom_retrieve with a hash")
    return calls[0]


def _candidates(body: Any) -> list[tuple[Any, str]]:
    """Return the candidates for a tool call, with their dialects."""
    if not isinstance(body, dict):
        return []
    if "tool_call" in body:
        call = body["tool_call"]
        openai = isinstance(call, dict) and "function" in call
        provider = body.get("provider", "openai" if openai else "anthropic")
        return [(call, provider)] if provider in ("openai", "anthropic") else []
    if isinstance(body.get("tool_calls"), list):
        return [(call, "openai") for call in body["tool_calls"]]
    if isinstance(body.get("content"), list):
        return [(call, "anthropic") for call in body["content"]]
    return [(body, "openai" if "function" in body else "anthropic")]


def _result(call: dict[str, Any], provider: str, data: Any, enveloped: bool) -> dict[str, Any]:
    text = msgspec.json.encode(data).decode()
    identity = call.get("id", "")
    result: dict[str, Any]
    if provider == "openai":
        result = {"role": "tool", "tool_call_id": identity, "content": text}
    else:
        result = {"type": "tool_result", "tool_use_id": identity, "content": text}
    if enveloped:
        return {"tool_result": result, "success": "error" not in data, "data": data}
    return result if provider == "openai" else {"role": "user", "content": [result]}
