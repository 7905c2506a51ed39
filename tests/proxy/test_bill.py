"""What a session through the proxy costs, by the provider's rules of billing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from loadtest.bill.generated import session
from loadtest.bill.prompt_cache import bill_of
from loadtest.bill.replay import changed_turns
from loadtest.bill.scenarios import CLIENTS, Client, project

from ..farm import Farm, post
from .saying import RETRIEVE
from .scripted import ScriptedProvider, whole


@pytest.mark.parametrize("client", CLIENTS)
def test_session_with_markers_costs_less_than_without_farm(
    proxy: Farm, provider: ScriptedProvider, tmp_path: Path, client: Client
) -> None:
    bodies = session("incident", client, project(tmp_path / "project", size=400))
    path, array = {"claude": ("messages", "messages"), "codex": ("responses", "input")}[client]
    provider.will_say(*[whole({"ok": True})] * len(bodies))
    for body in bodies:
        assert post(proxy.url, body, {"session-id": client}, f"/v1/{path}").status == 200
    sent = [asked.json for asked in provider.asked]
    assert re.search(r"(?:<<ccr:|hash=)[0-9a-f]{12}", str(sent[-1][array]))
    assert changed_turns(sent) == 0
    assert {len(body["tools"]) for body in sent} == {len(bodies[0]["tools"]) + 1}
    assert sent[0]["tools"][-1]["name"] == RETRIEVE
    model = str(bodies[0]["model"])
    assert bill_of(sent, model).cost < bill_of(bodies, model).cost
