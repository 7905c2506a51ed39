"""Every compressing endpoint passes on the tenant whose share of the pools a request uses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from falcon import testing

from api.app import create_app
from api.pipeline.compressor import Compressor
from api.pipeline.dispatch_jobs import Origin
from shared import keys
from shared.deadline import Deadline
from shared.errors import InvalidField
from shared.settings import Settings

BODY = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/compress", {}),
        ("/v1/playground", {"x-headroom-playground": "page"}),
        ("/v1/messages", {}),
    ],
)
def test_requests_count_for_the_tenant_of_their_user(
    monkeypatch: pytest.MonkeyPatch, path: str, headers: dict[str, str]
) -> None:
    named: list[str] = []

    async def compress(
        of: Compressor, user: str, body: bytes, deadline: Deadline, origin: Origin, **more: Any
    ) -> None:
        named.append(origin.tenant)
        raise InvalidField("the origin has been recorded")

    monkeypatch.setattr(Compressor, "compress", compress)
    settings: Any = {"anthropic_target_api_url": "http://127.0.0.1:9"}
    app = create_app(Settings(**settings))
    given = {"x-maas-username": "team/bob", "content-type": "application/json", **headers}

    async def ask() -> None:
        scope = testing.create_scope(
            path=path, method="POST", headers=given, content_length=len(BODY)
        )
        emitted = testing.ASGIRequestEventEmitter(BODY, disconnect_at=float("inf"))
        await app(scope, emitted, testing.ASGIResponseEventCollector())

    asyncio.run(ask())
    assert named == [keys.user_tag("team")]
