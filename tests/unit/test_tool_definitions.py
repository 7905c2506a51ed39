"""Tool definitions are cut where that means nothing to a model, and nowhere else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from api.pipeline.compression_result import CacheShares, CompressionResult
from api.provider.body import Body
from api.provider.tools import tightened
from api.proxy.tool_definitions import Tightened, ToolDefinitions
from shared.settings import Settings

_2020 = "https://json-schema.org/draft/2020-12/schema"
_07 = "http://json-schema.org/draft-07/schema#"

_TEXTS = st.lists(
    st.sampled_from(["a", " ", "  ", "\t", "\n", "\n\n\n", "```", "\\", "\\n", '"', "ü", "\r", "t"])
).map("".join)
_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e9, 1e9) | _TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["description", "$schema", "a "]), inner, max_size=3)
    ),
    max_leaves=4,
)
_NAMES = st.sampled_from(["description", "properties", "$schema", "x ", "päth"])


def _object(of: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with some of these fields in any order."""
    return st.permutations(sorted(of)).flatmap(
        lambda names: st.fixed_dictionaries({}, optional={name: of[name] for name in names})
    )


_KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "$schema": st.sampled_from([_2020, _07, "urn:own"]),
    "type": st.just("object"),
    "description": _TEXTS | st.none(),
    "enum": st.lists(_DATA, max_size=2),
    "default": _DATA,
    "required": st.lists(_NAMES, max_size=2),
}
_SCHEMAS = st.recursive(
    _object(_KEYWORDS) | st.booleans(),
    lambda inner: _object(
        {
            **_KEYWORDS,
            "properties": st.dictionaries(_NAMES, inner, max_size=2),
            "items": inner | st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, max_size=2),
        }
    ),
    max_leaves=5,
)
_TOOL = {
    "name": st.just("run"),
    "description": _TEXTS,
    "type": st.sampled_from(["function", "custom"]),
    "cache_control": st.just({"type": "ephemeral", "description": "x \n"}),
    "input_schema": _SCHEMAS,
    "parameters": _SCHEMAS,
}
_TOOLS = st.lists(_object({**_TOOL, "function": _object(_TOOL)}), max_size=3)
_WRITTEN = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 2}])


@settings(max_examples=60, deadline=None)
@example([{"description": "a\n \n\t\n b"}], {}, False)  # blanks between line ends
@given(_TOOLS, _WRITTEN, st.booleans())
def test_cuts_whitespace_and_known_dialects_only(
    tools: list[Any], written: dict[str, Any], plain: bool
) -> None:
    raw = json.dumps(tools, ensure_ascii=plain, **written).encode()
    cut = tightened(raw)
    assert tightened(cut) == cut
    _same(tools, json.loads(cut))


def _same(before: Any, after: Any, where: str = "tool") -> None:
    """Hold the cut value against the original; ``where`` says what of the API it is."""
    if where == "text" and isinstance(before, str):
        assert re.sub(r"[ \t\n]", "", after) == re.sub(r"[ \t\n]", "", before)
        if "```" not in before:
            assert _lines(after) == _lines(before)
    elif where in ("data", "text") or not isinstance(before, dict | list):
        assert after == before
    elif isinstance(before, list):
        assert len(after) == len(before)
        for one, other in zip(before, after, strict=True):
            _same(one, other, where)
    else:
        gone = [name for name in before if name not in after]
        assert gone in ([], ["$schema"])
        assert not gone or (where == "own schema" and before["$schema"] in (_2020, _07))
        assert list(after) == [name for name in before if name not in gone]
        for name, value in after.items():
            _same(before[name], value, _place(where, name))


def _lines(text: str) -> list[str]:
    return [kept for line in text.split("\n") if (kept := line.rstrip(" \t"))]


def _place(where: str, name: str) -> str:
    if where == "named":
        return "schema"
    if name == "description":
        return "text"
    if where == "tool":
        return {"input_schema": "own schema", "parameters": "own schema", "function": "tool"}.get(
            name, "data"
        )
    return {"properties": "named", "items": "schema", "anyOf": "schema"}.get(name, "data")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Runs.  \n\n\n\nThen.\t\n", "Runs.\n\nThen."),
        ("Use:\n    x = 1  \n      y\n", "Use:\n    x = 1\n      y"),
        ("A path C:\\temp \\n \\t\nb", "A path C:\\temp \\n \\t\nb"),
        ("```\na  \n\n\n\nb\n```  \n\n\n\nend", "```\na  \n\n\n\nb\n```\n\nend"),
        ("open\n```\na  \n\n\n\n", "open\n```\na  \n\n\n\n"),
        ("  indented", "  indented"),
        (" \n\t", " \n\t"),
        ("a\r\n\r\n\r\nb", "a\r\n\r\n\r\nb"),
    ],
)
def test_descriptions_keep_text_indentation_and_fences(text: str, left: str) -> None:
    for tool in ({"description": text}, {"function": {"description": text}}):
        assert json.loads(tightened(json.dumps([tool]).encode())) == json.loads(
            json.dumps([tool]).replace(json.dumps(text), json.dumps(left))
        )


@pytest.mark.parametrize(
    ("schema", "goes"),
    [
        ({"$schema": _2020, "type": "object", "prefixItems": []}, True),
        ({"type": "object", "$schema": _2020}, True),
        ({"$schema": _2020}, True),
        ({"$schema": _07, "properties": {"$ref": {"items": {"type": "string"}}}}, True),
        ({"$schema": _07, "items": [{"type": "string"}]}, False),
        ({"$schema": _07, "properties": {"a": {"anyOf": [{"$ref": "#/x"}]}}}, False),
        ({"$schema": _07, "dependencies": {}}, False),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "object"}, False),
        ({"$schema": None, "type": "object"}, False),
        ({"properties": {"$schema": {"$schema": _2020}}}, False),
    ],
)
def test_dialect_goes_only_where_it_changes_nothing(schema: dict[str, Any], goes: bool) -> None:
    for name in ("input_schema", "parameters"):
        for written in ({}, {"indent": 1}, {"separators": (",", ":")}):
            raw = json.dumps([{"name": "a", name: schema}], **written).encode()  # type: ignore[arg-type]
            left = {k: v for k, v in schema.items() if not (goes and k == "$schema")}
            assert json.loads(tightened(raw)) == [{"name": "a", name: left}]


@pytest.mark.parametrize(
    "raw",
    [
        b"null",
        b'"a \\n"',
        b"[]",
        b'[1, "x \\n", null, {"description": 5, "input_schema": "a \\n"}]',
        b' [{"type":"web_search_20250305","name":"web_search","max_uses":5,"x":"a \\n"}]',
        b'[{"type":"custom","format":{"type":"grammar","definition":"a: b  \\n\\n\\n"}}]',
        b'{"description": "a \\n"}',
    ],
)
def test_what_is_no_definition_stays(raw: bytes) -> None:
    assert tightened(raw) == raw


def test_deep_schemas_and_long_blanks_are_read_once() -> None:
    deep = b'{"items":' * 500 + b'{"description":"a \\nb"}' + b"}" * 500
    raw = b'[{"input_schema":' + deep + b"}]"
    assert tightened(raw) == raw
    nested = b'{"function":' * 900 + b"{}" + b"}" * 900
    assert tightened(b'[{"description":"a \\n"},' + nested + b"]").endswith(nested + b"]")
    blanks = b'[{"description":"a' + b" " * 200_000 + b"b" + b"\\n" * 200_000 + b'c"}]'
    left = b'[{"description":"a' + b" " * 200_000 + b'b\\n\\nc"}]'
    assert tightened(blanks) == left
    huge = b'[{"description":"' + b"a \\n" * 300_000 + b'"}]'
    assert tightened(huge) == huge


def _request(model: object, tools: int) -> Body:
    schema = {"type": "object", "$schema": _2020}
    tool = {"name": "a", "description": "Does one thing well.", "input_schema": schema}
    return Body(json.dumps({"model": model, "tools": [tool] * tools}).encode())


def test_sends_short_definitions_as_they_came() -> None:
    definitions = ToolDefinitions(Settings())
    assert definitions.of(_request("claude-sonnet-4-5", 20)) is None
    assert definitions.of(_request("claude-opus-4-5", 100)) is None
    assert definitions.of(_request("claude-opus-4-5", 300)) is not None
    assert definitions.of(_request(5, 300)) is None
    assert definitions.of(Body(b'{"model":"claude-x"}')) is None
    cut = definitions.of(_request("claude-sonnet-4-5", 100))
    assert cut is not None
    assert cut == ToolDefinitions(Settings()).of(_request("claude-sonnet-4-5", 100))
    assert len(cut.raw) >= 6 * 1024
    assert b"$schema" not in cut.raw


def test_setting_sends_definitions_as_they_came() -> None:
    assert ToolDefinitions(Settings(tighten_tools=False)).of(_request("m", 300)) is None


def test_keeps_the_last_definitions_within_bounds() -> None:
    definitions = ToolDefinitions(Settings())
    for number in range(60):
        assert definitions.of(_request("m", 1800 + number)) is not None
    kept = definitions._known
    assert sum(len(raw) + len(cut) for raw, cut in kept.items()) == definitions._kept
    assert 4 * 2**20 < definitions._kept <= 8 * 2**20
    newest = _request("m", 1859).field("tools")
    assert list(kept)[-1] == newest


@pytest.mark.parametrize("cache", [None, CacheShares(60, 40, 60, 20), CacheShares(0, 100, 0, 80)])
def test_figures_count_what_definitions_save(cache: CacheShares | None) -> None:
    plain = CompressionResult(
        pieces=[],
        messages=1,
        changed=1,
        tokens_before=100,
        tokens_after=80,
        transforms=["router:log"],
        hashes=[],
        model="m",
        degraded=[],
        engines={"log": (1, 20)},
        cache=cache,
    )
    counted = Tightened(b"[]", 7).counted_in(plain)
    assert (counted.tokens_before, counted.tokens_after, counted.tokens_saved) == (107, 80, 27)
    assert counted.engines == {"log": (1, 20), "farm_tools": (1, 7)}
    assert counted.transforms == ["router:log", "farm:tools"]
    assert plain.tokens_before == 100
    if cache is not None and counted.cache is not None:
        shares = counted.cache
        assert shares.read_before + shares.new_before == 107
        assert shares.read_after + shares.new_after == 80
        assert bool(shares.read_before) == bool(cache.read_before)
