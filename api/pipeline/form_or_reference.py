"""Chooses how to send a new text: unchanged, in an engine's form, or with references."""

from __future__ import annotations

from typing import NamedTuple

from shared.jobs import Form

from .fold.references import Folded
from .message import Candidate

FOLD_SETTLES = 0.5
"""A fold that saves this share of a text is used without asking an engine."""
_LOSSY_PENALTY = 1.4
"""The factor by which a lossy form must be shorter than a fold, which loses nothing: a model that
needs the missing part retrieves it, which costs a turn."""


class Decision(NamedTuple):
    """The ``text`` to send, made by ``form`` or ``folded``; None if it is sent unchanged."""

    text: str | None
    form: Form | None = None
    folded: Folded | None = None


STAYS = Decision(None)


def settles(text: str, folded: Folded | None) -> bool:
    """Return whether a fold saves so much that no engine needs to see the text."""
    return folded is not None and folded.saved >= FOLD_SETTLES * len(text)


def decide_block(
    candidate: Candidate,
    text: str,
    form: Form | None,
    folded: Folded | None,
    refolded: Folded | None = None,
) -> Decision:
    """Return the decision for ``text``; ``form`` is None if there is no engine's form.

    ``folded`` is the text with references to earlier text, ``refolded`` its form with such
    references: if a command is run again, the form of its output may have been sent before.
    """
    options: list[tuple[float, Decision]] = []
    if folded is not None:
        if settles(text, folded):
            return Decision(folded.text, None, folded)
        options.append((len(folded.text), Decision(folded.text, None, folded)))
    made = form.text if form is not None else None
    if form is not None and made is not None and not (candidate.may != "engine" and form.shown):
        weight = _LOSSY_PENALTY if form.lossy or form.shown else 1.0
        options.append((len(made) * weight, Decision(made, form)))
        if refolded is not None:
            options.append((len(refolded.text) * weight, Decision(refolded.text, form, refolded)))
    return min(options, key=lambda option: option[0])[1] if options else STAYS
