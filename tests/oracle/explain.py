"""Explains why an answer differs from headroom's; each difference is verified and has a name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from shared.content import classify, unwrap
from shared.headroom import tool_calls
from shared.jobs import ToolCall
from shared.originals_in_redis import digest_of
from workers.fidelity import check, choose
from workers.fidelity.json_form import parsed
from workers.fidelity.omission_notes import HASH
from workers.fidelity.verify_form import Verdict, plain

WHAT, SHORT, EXTRACT = "The kind of a text", "Short texts stay whole", "Engines choose lines"
REVERSIBLE, FREE, PAGES = "The farm's own reversible forms", "Free text", "Pages"
SYSTEM, GREW, LITTLE = "System messages stay", "A message that would cost more", "What saves little"
REFERENCE = "Lines that were sent before"
DIFFERENCES = (
    WHAT, SHORT, EXTRACT, REVERSIBLE, FREE, PAGES, SYSTEM, GREW, LITTLE, REFERENCE,
)  # fmt: skip
"""Names as in docs/architecture.md, "Where the farm differs"."""
_GUARDED = ("code", "config", "rules", "error")
_REFERENCE = re.compile(r"\[.* identical to .*; omitted here\]")
_RANGE = re.compile(
    r"\[(?:lines [\d-]+ of this|this entire) output .* identical to lines (\d+)-(\d+) of "
)
_SETTLED = "\n[Nothing is missing. Retrieve original: hash="
"""End of a text that is complete but harder to read."""
_NUMBER = re.compile(r"^\s*\d+(?:\t|→|[:|] ?| +)")

Text = tuple[str, str]
"""A message's text and the id of the call that it answers, if any."""


def texts(message: dict[str, Any]) -> Iterator[Text]:
    """Yield the texts of a message; those of tool results with their call's id."""
    content, call = message.get("content"), str(message.get("tool_call_id") or "")
    if isinstance(content, str):
        yield content, call
        return
    for part in content if isinstance(content, list) else []:
        if not isinstance(part, dict):
            continue
        if part.get("type") == "tool_result":
            inner = {"content": part.get("content")}
            yield from ((text, str(part.get("tool_use_id") or "")) for text, _ in texts(inner))
        elif isinstance(part.get("text"), str):
            yield part["text"], call


def why_changed(
    original: str, shown: str, before: Sequence[str], call: ToolCall | None = None
) -> tuple[str, str]:
    """Return the name of the difference, and what is wrong if it fails the check.

    ``before`` are the texts that precede this one, ``call`` is the call that it answers.
    """
    body, marker, digest = shown.rpartition(_SETTLED)
    if marker:
        if digest != f"{digest_of(original)}]":
            return REVERSIBLE, f"another original: {digest}"
        shown = body
    if any(_REFERENCE.fullmatch(line) for line in shown.split("\n")):
        return REFERENCE, _wrong_reference(original, shown, before, call)
    envelope = unwrap(original)
    if not (shown.startswith(envelope.head) and shown.endswith(envelope.tail)):
        return WHAT, "the envelope is gone"
    body = shown[len(envelope.head) : len(shown) - len(envelope.tail)]
    if envelope.quoted:
        body = json.loads(f'"{body}"')
    if not HASH.search(body):
        return REVERSIBLE, _said(_reversed(original, envelope.body, body, call))
    digest = digest_of(original)
    verdict = check(envelope.body, body, digest=digest)
    if verdict.passes:
        return (FREE if " words omitted in all." in body else EXTRACT), ""
    page = "\n[HTML page reduced to its text." in body
    if page or parsed(plain(envelope.body)) is not None:  # only these are laid out anew
        verdict = check(envelope.body, body, digest=digest, rendered="free")
    return (PAGES if page else EXTRACT), _said(verdict)


def why_whole(original: str, call: ToolCall | None, role: str, transforms: Sequence[str]) -> str:
    """Return the name of the difference if headroom shortened a text and the farm did not."""
    if role in ("system", "developer"):
        return SYSTEM
    content = classify(original, call)
    if content.kind in _GUARDED:
        return WHAT
    if not content.lossy:
        return SHORT
    return GREW if "farm:verbatim:grew" in transforms else LITTLE


def calls_of(messages: list[dict[str, Any]]) -> dict[str, ToolCall]:
    """Return the calls of a conversation by their ids."""
    found: dict[str, ToolCall] = {}
    for message in messages:
        if message.get("role") == "assistant":
            found |= tool_calls(message)
    return found


def _reversed(original: str, body: str, shown: str, call: ToolCall | None) -> Verdict:
    """Check ``shown`` by computing the reversible form of ``body`` again."""
    chosen = choose(body, classify(original, call).kind, None)
    if chosen.text == shown and not chosen.lossy:
        return Verdict("reversible")
    return Verdict("unfaithful", "no form of this text", shown[:100])


def _wrong_reference(
    original: str, shown: str, before: Sequence[str], call: ToolCall | None
) -> str:
    """Return what is wrong with references, to the original or to the form it would have."""
    wrong = _wrong_lines(original, shown, before)
    if not wrong:
        return ""
    for source in before:
        if any(not why_changed(original, full, (), call)[1] for full in _put_back(shown, source)):
            return ""
    return wrong


def _wrong_lines(original: str, shown: str, before: Sequence[str]) -> str:
    """Return a visible line that is not in the original, or a removed one that is not above."""
    lines = original.split("\n")
    above = "\n".join(before)
    at = 0
    for line in [*shown.split("\n"), None]:
        if line is not None and _REFERENCE.fullmatch(line):
            continue
        while at < len(lines) and lines[at] != line:
            if _NUMBER.sub("", lines[at]).strip() not in above:
                return f"nowhere above: {lines[at][:100]}"
            at += 1
        if line is not None and at == len(lines):
            return f"not a line of the original here: {line[:100]}"
        at += 1
    return ""


def _put_back(shown: str, source: str) -> Iterator[str]:
    """Yield the text with its references replaced by lines of ``source``, for each that fits."""
    lines = source.removesuffix("\n").split("\n")  # as a reference counts them
    out: list[str] = []
    for line in shown.split("\n"):
        ranges = _RANGE.match(line) if _REFERENCE.fullmatch(line) else None
        if "identical to the entire output of" in line and _REFERENCE.fullmatch(line):
            out += lines
        elif ranges is None:
            out.append(line)
        else:
            out += lines[int(ranges[1]) - 1 : int(ranges[2])]
    if not any(_REFERENCE.fullmatch(line) for line in out):
        yield "\n".join(out)


def _said(verdict: Verdict) -> str:
    return "" if verdict.passes else f"{verdict.reason}: {verdict.line}"
