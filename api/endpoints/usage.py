"""``POST /v1/usage``: records the usage that a provider reported for a request."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from shared.errors import InvalidField

from ..accounting.ledger import Ledger
from ..accounting.provider_usage import input_cost, read_usage
from ..accounting.request_cost import rates_of
from ..accounting.token_prices import Prices
from ..accounting.usage_reader import Reader
from ..accounting.usage_record import answer_key, measured, money, session_key
from ..http.request import read_json, user_of

_BODY_BYTES = 65_536
_NAME_CHARS = 256
_DEFAULT_MODEL = "default"


class UsageResource:
    """Records billed usage as measured cost, in addition to the estimate.

    The body is ``{"request_id", "usage", "model"?}``, or headroom's ``{"session_id", "usage"}``.
    The latter has no request id, so this request's own ``x-request-id`` is used to count it once.
    ``model`` defaults to that of the answered request, which is known for 15 minutes.
    """

    def __init__(self, ledger: Ledger, prices: Prices, reader: Reader) -> None:
        self._ledger = ledger
        self._prices = prices
        self._reader = reader

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Record one request's usage.

        Raises:
            InvalidField: The body is invalid.
            Unavailable: The model must be looked up, and Redis is unavailable.
        """
        body = await read_json(req, _BODY_BYTES)
        if not isinstance(body, dict):
            raise InvalidField("the body must be an object")
        named, session = _text(body, "request_id"), _text(body, "session_id")
        if named is None and session is None:
            raise InvalidField("'request_id' or 'session_id' is required")
        usage = read_usage(body.get("usage"))
        user: str = user_of(req)
        request_id = named or req.context.request_id
        model = _text(body, "model")
        if model is None and named is not None:
            model = await self._reader.model_of(answer_key(user, named))
        if model is None and session is not None:
            model = await self._reader.model_of(session_key(user, session))
        model = model or _DEFAULT_MODEL
        price = self._prices.price_of(model)
        rates = rates_of(model, price)
        self._ledger.record(measured(user, request_id, model, usage, rates))
        resp.media = {
            "request_id": request_id,
            "session_id": session,
            "applied": True,
            "model": model,
            "measured_usd": float(money(input_cost(usage, rates))),
            "measured_output_usd": float(money(int(usage.output) * rates.output)),
            "cost_is_fallback": price.fallback,
        }


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > _NAME_CHARS:
        raise InvalidField(f"'{name}' must be a non-empty string of at most {_NAME_CHARS}")
    return value
