"""Effects of the policy's tool rules on plans, on blocks and on the choice of engines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec

from api.pipeline.request_options import RequestOptions
from api.pipeline.session_identity import Filed
from api.pipeline.split_body import Envelope
from shared.jobs import Block, Job, Options, ToolCall
from shared.policy.rules import Rule, Subject
from shared.policy.ruling import Policy, Ruling
from shared.settings import Settings
from workers.block_form import Engines, faithful_form

from ..texts import events, prose, rows
from .test_plan import OPTIONS, RUN, Talk, _result

FILED = Filed("r", "on", b"session")


def _under(*rules: Rule) -> Any:
    return replace(OPTIONS, tools=Policy(rules).ruling(Subject.of("a", "m")).tools)


def test_protected_tool_has_no_candidate_but_a_reason() -> None:
    for rule in (Rule("r", protect_tools=("Ba*",)), Rule("r", tool=("Bash",), mode="off")):
        plan, _ = Talk(RUN, _result(rows())).plan(1, _under(rule))
        assert plan.candidates == ()
        assert plan.transforms == ("farm:verbatim:policy",)
    other = _under(Rule("r", protect_tools=("Read",)))
    assert Talk(RUN, _result(rows())).candidates(1, other)


def test_excluded_engines_change_the_block_key() -> None:
    """A cached form made with all engines must not be used if some are forbidden."""
    talk = Talk(RUN, _result(rows()))
    (free,) = talk.candidates(1)
    (bound,) = talk.candidates(1, _under(Rule("r", engines=("reversible",))))
    assert free.key != bound.key
    assert "farm_rows" in bound.without
    assert "farm_json" not in bound.without
    (same,) = talk.candidates(1, _under(Rule("r", share=50.0)))
    assert same == free


def test_free_text_without_its_engine_needs_no_gpu() -> None:
    options = _under(Rule("r", engines=("reversible", "log")))
    assert [c.pool for c in Talk(RUN, _result(prose())).candidates(1, options)] == ["cpu"]


def test_block_with_only_folds_reaches_no_worker() -> None:
    talk = Talk(RUN, _result(rows()))
    (folds,) = talk.candidates(1, _under(Rule("r", engines=())))
    assert (folds.may, folds.fold) == ("fold", True)
    plan, _ = talk.plan(1, _under(Rule("r", engines=(), fold=False)))
    assert plan.candidates == ()
    (kept,) = talk.candidates(1, _under(Rule("r", fold=False)))
    assert (kept.may != "fold", kept.fold) == (True, False)


def _form(text: str, *without: str) -> Any:
    call = ToolCall("Bash", "make", "make")
    block = Block("k", text, "tool_result", "user", call, without=without)
    job: Any = Job("u", "r", Options(), "what", "id", [block])
    return faithful_form(job, block, Engines("cpu", None)).form


def test_worker_skips_forbidden_engines() -> None:
    text = events("policy")
    free = _form(text)
    assert free.shown
    engine = free.transforms[0].rpartition(":")[2]
    bound = _form(text, engine)
    assert engine not in str(bound.transforms)
    assert not bound.shown
    json_form = _form(rows(), "farm_json", "farm_rows", "farm_plain")
    assert json_form.text is None


def test_caller_cannot_ask_for_more_than_policy() -> None:
    cases = [
        (None, "none", None, "marker-free"),
        ("ccr", "none", None, "marker-free"),
        ("marker-free", "ccr", None, "marker-free"),
        (None, "ccr", False, "ccr"),
        (None, "if_redeemable", False, "marker-free"),
        ("ccr", "if_redeemable", False, "marker-free"),
        (None, "if_redeemable", True, "ccr"),
        (None, "if_redeemable", None, "ccr"),
        (None, None, False, "marker-free"),
        ("ccr", None, False, "ccr"),
    ]
    for asked, markers, redeems, mode in cases:
        for config in (False, True):
            envelope = Envelope(redeems=redeems)
            if config and asked:
                envelope.config = {"mode": asked}
            else:
                envelope.mode = msgspec.UNSET if asked is None else asked
            options = RequestOptions.read(envelope, Settings())
            ruling = Ruling(markers=markers)  # type: ignore[arg-type, unused-ignore]
            assert options.under(ruling, envelope, FILED).mode == mode, (asked, markers, redeems)
