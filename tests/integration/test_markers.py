"""Every marker in an answer, and in the originals behind it, resolves."""

from __future__ import annotations

import json
import re

from ..farm import Farm, request, user
from ..texts import conversation, events, page, prose, ran

_MARKER = re.compile(r"(?:<<ccr:|hash=)([a-f0-9]{12,24})")


def test_every_marker_resolves_down_to_the_last(farm: Farm) -> None:
    name = user()
    items = [{"id": i, "log": events(f"{name}{i}", 60), "n": i * 7} for i in range(60)]
    found = "\n".join(f"src/m{i % 9}.py:{i}:    value_{i} = load({i * 31})" for i in range(500))
    texts = [events(name), page(), prose(name), json.dumps(items), found]
    answer = farm.post(conversation(*[ran(t, str(i)) for i, t in enumerate(texts)]), name).json
    waiting = set(_MARKER.findall(json.dumps(answer["messages"])))
    assert waiting
    assert waiting <= set(answer["ccr_hashes"])
    seen: set[str] = set()
    while waiting:
        digest = waiting.pop()
        seen.add(digest)
        got = request(farm.url, "GET", f"/v1/retrieve/{digest}", None, {"x-maas-username": name})
        assert got.status == 200, digest
        waiting |= set(_MARKER.findall(got.json["original_content"])) - seen
