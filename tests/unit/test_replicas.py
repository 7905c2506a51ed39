"""A session spread over front ends gets the same bytes as from one; sent text never changes."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from api.pipeline.compressor import Compressor

from . import test_compressor as one

FRONT_ENDS = 3
ROUTES = st.lists(st.integers(0, FRONT_ENDS - 1), min_size=2, max_size=7)
Messages = list[dict[str, Any]]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"target_ratio": 0.3},
    {"protect_recent": 0, "min_tokens_to_compress": 5},
    {"fold_reads": True, "compress_user_messages": True},
]


def _turns(count: int, seed: int) -> list[Messages]:
    """Return the messages of a session's requests: rows, repeated lines, files, prose."""
    rng = random.Random(seed)
    texts = [one.ROWS, one.LINES, *(one._other(f"w{n}") for n in range(4))]
    texts += ["\n".join(one.LINES.split("\n")[start:]) for start in (5, 40)]
    said: Messages = [{"role": "user", "content": "What is wrong here?"}]
    turns = []
    for number in range(count):
        made = [rng.choice(texts) for _ in range(rng.randrange(1, 4))]
        said = [*said, *one._ran(*made, identity=f"t{number}")]
        if rng.random() < 0.3:
            said = [
                *said,
                {"role": "user", "content": f"Explain the code of step {number}, please."},
            ]
        turns.append(said)
    return turns


def _sent(front_end: Any, messages: Messages, **options: Any) -> Messages:
    found: Messages = one._messages(one._compress(front_end, one._body(messages, **options)))
    return found


def _replicas() -> tuple[one.Elsewhere, list[Compressor]]:
    """Return the shared state of several front ends, and the front ends."""
    shared = one.Elsewhere()
    return shared, [one._compressor(shared) for _ in range(FRONT_ENDS)]


@given(ROUTES, st.integers(0, 999), st.data())
@settings(max_examples=12, deadline=None)
def test_spread_session_has_the_bytes_of_one_front_end(
    routes: list[int], seed: int, data: st.DataObject
) -> None:
    turns = _turns(len(routes), seed)
    alone = one._compressor(one.Elsewhere())
    shared, front_ends = _replicas()
    before: Messages = []
    for route, messages in zip(routes, turns, strict=True):
        fault = data.draw(st.sampled_from(["none", "restart", "flush", "both"]))
        if fault in ("restart", "both"):
            front_ends[route] = one._compressor(shared)
        if fault in ("flush", "both"):
            shared.finished.clear()
            shared.requests.clear()
            shared.noted.clear()
        answer = _sent(front_ends[route], messages)

        assert answer == _sent(alone, messages)
        assert answer[: len(before)] == before
        before = answer


@given(ROUTES, st.integers(0, 999), st.data())
@settings(max_examples=12, deadline=None)
def test_late_text_changes_only_where_an_answer_says_so(
    routes: list[int], seed: int, data: st.DataObject
) -> None:
    shared, front_ends = _replicas()
    before: Messages = []
    for route, messages in zip(routes, _turns(len(routes), seed), strict=True):
        shared.late = ("w1", "like line 3", "row 7") if data.draw(st.booleans()) else ()
        if data.draw(st.booleans()):
            front_ends[route] = one._compressor(shared)
        made = one._compress(front_ends[route], one._body(messages))
        answer = one._messages(made)
        revised = any(name.startswith("farm:revised") for name in made.transforms)

        assert answer[: len(before)] == before or revised
        before = answer


@given(ROUTES, st.integers(0, 999), st.data())
@settings(max_examples=12, deadline=None)
def test_changed_options_change_nothing_that_was_sent(
    routes: list[int], seed: int, data: st.DataObject
) -> None:
    _, front_ends = _replicas()
    before: Messages = []
    for route, messages in zip(routes, _turns(len(routes), seed), strict=True):
        options: dict[str, Any] = data.draw(st.sampled_from(OPTIONS))
        answer = _sent(front_ends[route], messages, **options)

        assert answer[: len(before)] == before
        before = answer
