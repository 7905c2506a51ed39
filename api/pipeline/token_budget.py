"""The stages by which texts shrink more as a conversation nears its token limit."""

from __future__ import annotations

from dataclasses import replace

from .plan_options import PlanOptions

_STAGES = ((0.8, 4, 0.5), (0.5, 2, 0.75))
"""From this share of a conversation's limit on, the minimum size of texts to compress is divided by
the second value, and the share of a text to keep is multiplied by the third."""


def under_pressure(options: PlanOptions, tokens: int) -> PlanOptions:
    """Return the options for a message that ends ``tokens`` into the conversation."""
    for share, part, less in _STAGES:
        if options.limit is not None and tokens >= share * options.limit:
            ratio = options.target_ratio and options.target_ratio * less
            return replace(options, press=part, target_ratio=ratio)
    return options
