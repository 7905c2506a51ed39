"""Request options: validation of values, warnings about unknown names, and effects."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from api.endpoints.compress import write
from api.pipeline.compression_result import untouched
from api.pipeline.request_options import RequestOptions
from api.pipeline.split_body import split
from shared.errors import InvalidField
from shared.settings import Settings


def _body(config: Any = None, **more: Any) -> bytes:
    given = {} if config is None else {"config": config}
    return json.dumps({"messages": [{"role": "user", "content": "x"}], **given, **more}).encode()


def _read(config: Any = None, **more: Any) -> RequestOptions:
    return RequestOptions.read(split(_body(config, **more), ()).envelope, Settings())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session_id", 7),
        ("session_id", ""),
        ("session_id", "   "),
        ("session_id", "x" * 257),
        ("session_id", ["a"]),
        ("frozen_message_count", -1),
        ("frozen_message_count", True),
        ("frozen_message_count", 1.0),
        ("frozen_message_count", "3"),
        ("frozen_message_count", 10**30),
        ("token_budget", 0),
        ("token_budget", "8000"),
        ("token_budget", False),
        ("model_limit", -5),
        ("model_limit", 1.5),
        ("protect_analysis_context", 1),
        ("fold_reads", "yes"),
        ("protect_analysis_context", "true"),
        ("compress_system_messages", "no"),
        ("compress_user_messages", 0),
        ("mode", "lossless"),
        ("mode", 3),
        ("mode", ["ccr"]),
        ("target_ratio", 0),
        ("target_ratio", True),
        ("protect_recent", True),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_rejects_wrong_value_with_expected_type(name: str, value: Any, inside: bool) -> None:
    with pytest.raises(InvalidField, match=f"'{name}' must be"):
        _read({name: value}) if inside else _read(**{name: value})


def test_reads_every_option_from_both_places() -> None:
    given = {
        "session_id": "s" * 256,
        "frozen_message_count": 3,
        "token_budget": 9000,
        "protect_analysis_context": False,
        "compress_system_messages": True,
        "mode": "lossy_inline",
        "protect_recent": 1,
        "min_tokens_to_compress": 10,
        "target_ratio": 1,
        "compress_user_messages": True,
    }
    assert _read(given) == _read(**given)
    found = _read(given)
    assert found.session_id == "s" * 256
    assert (found.limit, found.frozen_message_count) == (9000, 3)
    assert not found.warnings


def test_null_option_counts_as_not_given() -> None:
    names = ("session_id", "frozen_message_count", "token_budget", "mode", "target_ratio")
    assert _read(dict.fromkeys(names)) == _read() == _read({})


def test_own_field_wins_over_the_config() -> None:
    assert _read({"token_budget": 5}, token_budget=7).limit == 7
    assert _read({"mode": "ccr"}, mode="marker-free").mode == "marker-free"


def test_budget_wins_over_the_models_limit() -> None:
    assert _read({"token_budget": 500, "model_limit": 9}).limit == 500
    assert _read({"model_limit": 9}).limit == 9


def test_both_names_of_the_lossy_mode_are_one() -> None:
    assert _read({"mode": "lossless_then_lossy"}) == _read({"mode": "lossy_inline"})


def test_unknown_options_only_cause_warnings() -> None:
    odd = {"kompress_model": "x", "protect_recnt": [1], "mode": "ccr"}
    found = _read(odd)
    assert found.warnings == (
        "unknown option: config.kompress_model",
        "unknown option: config.protect_recnt",
    )
    assert replace(found, warnings=()) == _read({"mode": "ccr"})


def test_many_unknown_options_make_a_short_answer() -> None:
    found = _read({f"{n}" + "x" * 1000: n for n in range(50)})
    assert found.warnings[-1] == "unknown options: 34 more"
    assert sum(map(len, found.warnings)) < 2000


def test_provider_fields_are_not_options() -> None:
    assert not _read(temperature=1, stream=True, tools=[], metadata={}).warnings


@pytest.mark.parametrize(("setting", "ratio"), [("saved", 0.0), ("kept", 1.0)])
def test_ratio_follows_the_setting(setting: Any, ratio: float) -> None:
    taken = split(_body({"session_id": "a\ud800", "x": 1}), ())
    answer = untouched(taken, RequestOptions.read(taken.envelope, Settings()), 100, "empty")
    written = json.loads(write(answer, Settings(ratio=setting)))
    assert written["compression_ratio"] == ratio
    assert written["warnings"] == ["unknown option: config.x"]
    assert written["session"]["id"] == "a?"
    answer.tokens_after = 25
    written = json.loads(write(answer, Settings(ratio=setting)))
    assert written["compression_ratio"] == (0.75 if setting == "saved" else 0.25)
