"""Headroom's engines on one text: which one is called, and what comes back."""

from __future__ import annotations

import difflib
import json.decoder
from pathlib import Path

import pytest
from headroom.cache.compression_store import get_compression_store
from headroom.transforms import kompress_compressor
from headroom.transforms.content_router import ContentRouter

from shared.headroom import LineEngines, TextCrusherEngine
from shared.jobs import Block, Job, Options
from shared.settings import Settings
from workers import block_form
from workers.block_form import Engines, Made, faithful_form
from workers.compress_block import warm_up_texts
from workers.engines import text_engine
from workers.fidelity.extract import lines_in

from ..texts import events, page, prose, rows

CODE = Path(json.decoder.__file__).read_text("utf-8")
_LINES = LineEngines()


def _form(text: str, *, engine: bool = False, **options: object) -> Made:
    engines = Engines("cpu", TextCrusherEngine() if engine else None)
    block = Block("k", text, "tool_result", "user")
    job = Job("u", "r", Options(**options), "what failed", "id", [block])  # type: ignore[arg-type]
    return faithful_form(job, block, engines)


def _diff() -> str:
    old = CODE.splitlines(keepends=True)
    new = [f"{line.rstrip()}  # seen\n" if n % 40 == 9 else line for n, line in enumerate(old)]
    lines = "".join(difflib.unified_diff(old, new, "a/x.py", "b/x.py", n=12))
    return f"diff --git a/x.py b/x.py\nindex 1234567..89abcde 100644\n{lines}"


def _matches() -> str:
    return "\n".join(f"src/part_{i % 9}.py:{i}:    value_{i} = load({i})" for i in range(200))


def test_only_gpu_pool_has_text_engine() -> None:
    assert text_engine("cpu", Settings()) is None
    chosen = text_engine("gpu", Settings(text_engine="text_crusher"))
    assert chosen is not None
    assert chosen.engine.name == "text_crusher"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("log", events().replace("INFO  step 7 ", "ERROR step 7 ")),
        ("search", _matches()),
        ("diff", _diff()),
        ("code_aware", CODE),
    ],
    ids=LineEngines.NAMES,
)
def test_engine_selects_lines_and_stores_nothing(name: str, text: str) -> None:
    made = _LINES.run(name, text, "what failed")
    lines = text.split("\n")
    assert 0 < len(lines_in(made, lines)) < len(lines)
    assert "hash=" not in made
    assert get_compression_store().get_stats()["entry_count"] == 0


def test_kind_of_text_chooses_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headroom's router takes a log with JSON in its lines apart, for other engines."""
    entries = events().split("\n")
    entries[9::10] = [f'2026-01-01 00:00:59 INFO got {{"id": {i}}}' for i in range(40)]
    asked: list[str] = []

    def run(self: LineEngines, name: str, text: str, context: str) -> str:
        asked.append(name)
        return text

    monkeypatch.setattr(LineEngines, "run", run)
    # Rows would save enough, so that no engine would be asked.
    monkeypatch.setattr("workers.fidelity.choose_form.rows_of_records", lambda *_, **__: None)
    _form("\n".join(entries))
    _form(_diff())
    assert asked == ["log", "diff"]


def test_failing_engine_reports_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(self: LineEngines, name: str, text: str, context: str) -> str:
        raise RuntimeError(name)

    monkeypatch.setattr(LineEngines, "run", run)
    with pytest.raises(RuntimeError, match="diff"):
        _form(_diff())


def test_headroom_loads_no_model_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[object] = []
    monkeypatch.setattr(
        ContentRouter, "_get_remote_kompress", lambda self: wanted.append(self), raising=True
    )
    monkeypatch.setattr(kompress_compressor, "is_kompress_available", lambda: wanted.append(0))
    for text in (*warm_up_texts(), events(), rows(), page(), prose(), CODE):
        _form(text, code_aware=True)
        _form(text, engine=True)
    assert wanted == []


def test_text_engine_receives_no_code_or_json(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(block_form, "_kept", lambda work, body: read.append(body) or [])
    for text in (CODE, rows(), events(), page(), _diff()):
        _form(text, engine=True)
    assert read == []


def test_code_aware_result_is_retrievable() -> None:
    assert _form(CODE).form.text is None
    done = _form(CODE, code_aware=True)
    assert done.form.text is not None
    assert done.form.transforms == ("router:tool_result:code_aware",)
    assert "class JSONDecoder(object):" in done.form.text.split("\n")
    assert [o.content for o in done.originals] == [CODE]
    assert done.originals[0].hash in done.form.text


def test_same_text_gives_same_bytes() -> None:
    for text in (rows(), events(), page(), prose()):
        assert _form(text, engine=True) == _form(text, engine=True)


def test_trimmed_git_diff_is_retrievable() -> None:
    diff = _diff()
    done = _form(diff)
    assert done.form.text is not None
    assert len(done.form.text) < 0.7 * len(diff)
    assert [o.content for o in done.originals] == [diff]
    assert done.originals[0].hash in done.form.text
    for line in diff.splitlines():
        if line[:1] in "+-" and line[:3] not in ("+++", "---"):
            assert line in done.form.text
