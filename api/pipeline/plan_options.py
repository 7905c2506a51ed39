"""The request's options that affect plans."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The request's options that affect plans. ``protect_recent`` is in messages, ``limit`` is the
    number of tokens in which the conversation should fit. ``press`` divides the minimum size of
    texts to compress."""

    marker_mode: str
    code_aware: bool
    target_ratio: float | None
    protect_recent: int
    min_tokens: int
    compress_user_messages: bool
    tools: str = ""
    protect_analysis: bool = True
    compress_system: bool = False
    limit: int | None = None
    press: int = 1
    fold_reads: bool = False
