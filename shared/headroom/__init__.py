"""Headroom 0.42, and the only package of this project that touches it.

The farm calls headroom's rules and engines instead of reimplementing them. Where the public API
is not enough, a private name is used *here*, and ``tests/unit/test_headroom_seams.py`` fails and
reports the name if an upgrade changes it.

:class:`Planner`, headroom's ``ContentRouter`` with a few methods replaced, runs every rule that
decides *whether* a text may shrink and records the texts that reach an engine;
:class:`LineEngines` and the text engines select what stays of one text.
"""

from .conversation import analysis_intent, tool_calls, user_query
from .counting import Counter, counter_for, known_counter
from .crusher import TextCrusherEngine
from .detection import detect
from .engines import LineEngines, TextEngine, is_excluded
from .environment import ENGINE_VERSION
from .kompress import MAX_TOKENS, Encoding, KompressEngine, Row, Scorer
from .planner import Planned, Planner
from .retrieval import RETRIEVAL_TOOL, retrieval_hash, retrieval_tool

__all__ = [
    "ENGINE_VERSION",
    "MAX_TOKENS",
    "RETRIEVAL_TOOL",
    "Counter",
    "Encoding",
    "KompressEngine",
    "LineEngines",
    "Planned",
    "Planner",
    "Row",
    "Scorer",
    "TextCrusherEngine",
    "TextEngine",
    "analysis_intent",
    "counter_for",
    "detect",
    "is_excluded",
    "known_counter",
    "retrieval_hash",
    "retrieval_tool",
    "tool_calls",
    "user_query",
]
