"""The engines on one text: what is compressed, what stays, and what can be retrieved."""

from __future__ import annotations

import difflib
import json.decoder
from pathlib import Path

import pytest
import trafilatura.metadata
from headroom.transforms import kompress_compressor
from headroom.transforms.content_router import ContentRouter
from headroom.transforms.html_extractor import HTMLExtractor

from shared.jobs import Block, Options, Shape
from shared.settings import Settings
from shared.upstream import Engined, EngineRouter, TextCrusherEngine, counter_for
from workers.engines import text_engine
from workers.tasks import warm_up_texts

from ..texts import events, page, prose, rows

COUNTER = counter_for("claude-x")
CODE = Path(json.decoder.__file__).read_text("utf-8")


def _run(
    text: str,
    *,
    mode: str = "ccr",
    code_aware: bool = False,
    engine: bool = False,
    shape: Shape = "tool_result",
    role: str = "user",
) -> Engined:
    router = EngineRouter(
        marker_mode=mode,
        code_aware=code_aware,
        text_engine=TextCrusherEngine() if engine else None,
    )
    options = Options(mode, None, code_aware)
    return router.run(Block("k", text, shape, role), "what failed", options, COUNTER)


def test_only_gpu_pool_has_text_engine() -> None:
    assert text_engine("cpu", Settings()) is None
    chosen = text_engine("gpu", Settings(text_engine="text_crusher"))
    assert chosen is not None
    assert chosen.engine.name == "text_crusher"


@pytest.mark.parametrize(
    ("text", "engine"),
    [(events(), "log"), (page(), "html")],
    ids=["log", "html"],
)
def test_dropped_content_is_retrievable(text: str, engine: str) -> None:
    done = _run(text)
    assert done.text is not None
    assert len(done.text) < len(text) / 2
    assert done.transforms == (f"router:tool_result:{engine}",)
    shown = [o for o in done.originals if o.hash in done.text]
    assert text in [o.content for o in shown]


def test_page_text_equals_headrooms_without_date_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    date = "the 3rd of august, in the year 2019 or so"
    odd = page().replace("<body>", f'<body><p class="date">{date}</p>')
    assert odd != page()
    theirs = HTMLExtractor().extract(odd)
    assert theirs.extracted
    looked: list[object] = []
    monkeypatch.setattr(trafilatura.metadata, "find_date", lambda *a, **k: looked.append(a))
    done = _run(odd)
    assert done.text is not None
    assert done.text.startswith(theirs.extracted)
    assert looked == []
    HTMLExtractor().extract(odd)
    assert looked, "trafilatura now searches for dates elsewhere"


def test_listing_keeps_every_value() -> None:
    done = _run(rows())
    assert done.text is not None
    assert len(done.text) < len(rows())
    assert all(f"row {i}" in done.text for i in range(120))


def test_compresses_prose_only_of_tool_outputs() -> None:
    assert _run(prose()).text is None
    done = _run(prose(), engine=True)
    assert done.text is not None
    assert [o.content for o in done.originals] == [prose()]
    assert _run(prose(), engine=True, shape="text", role="assistant").text is None
    assert _run(prose(), engine=True, shape="string", role="tool").text is not None


def test_headroom_loads_no_model_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[object] = []
    monkeypatch.setattr(
        ContentRouter, "_get_remote_kompress", lambda self: wanted.append(self), raising=True
    )
    monkeypatch.setattr(kompress_compressor, "is_kompress_available", lambda: wanted.append(0))
    for text in (*warm_up_texts(), events(), rows(), page(), prose(), CODE):
        _run(text)
        _run(text, engine=True)
    assert wanted == []


def test_text_engine_receives_no_code_or_json() -> None:
    assert _run(CODE, engine=True).text is None
    mixed = f"{prose()}\n```python\n{CODE[:3000]}\n```\n{rows('', 20)}\n"
    done = _run(mixed, engine=True)
    kept = done.text or mixed
    assert CODE[:2900] in kept


def test_marker_free_result_is_lossless_or_absent() -> None:
    for text in (page(), prose()):
        assert _run(text, mode="marker-free").text is None
    for text in (*warm_up_texts(), events()):
        done = _run(text, mode="marker-free", engine=True)
        assert done.originals == []
        assert "hash=" not in (done.text or "")
        assert "<<ccr" not in (done.text or "")


def test_code_aware_result_is_retrievable() -> None:
    assert _run(CODE).text is None
    done = _run(CODE, code_aware=True)
    assert done.text is not None
    assert done.transforms == ("router:tool_result:code_aware",)
    assert "def JSONObject" in done.text
    assert done.originals[0].hash in done.text


def test_same_text_gives_same_bytes() -> None:
    for text in (rows(), events(), page(), prose()):
        assert _run(text, engine=True) == _run(text, engine=True)


def test_trimmed_git_diff_is_retrievable() -> None:
    old = CODE.splitlines(keepends=True)
    new = [f"{line.rstrip()}  # seen\n" if n % 40 == 9 else line for n, line in enumerate(old)]
    lines = "".join(difflib.unified_diff(old, new, "a/x.py", "b/x.py", n=12))
    diff = f"diff --git a/x.py b/x.py\nindex 1234567..89abcde 100644\n{lines}"
    done = _run(diff)
    assert done.text is not None
    assert len(done.text) < 0.7 * len(diff)
    shown = [o for o in done.originals if o.hash in done.text]
    assert [o.content for o in shown] == [diff]
    for line in diff.splitlines():
        if line[:1] in "+-" and line[:3] not in ("+++", "---"):
            assert line in done.text
    kept = _run(diff, shape="text", role="assistant").text
    assert kept is None or "hash=" not in kept
