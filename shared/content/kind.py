"""Decides the kind of a text, and so whether parts of it may be replaced by a marker."""

from __future__ import annotations

import json
import re
from typing import Literal, NamedTuple

from shared.jobs import ToolCall

from .command import Printed, printed_by
from .harness_envelope import Envelope, unwrap
from .kind_by_lines import Shape, shape_of
from .kind_by_name import Kind, kind_of_file, kind_of_program, kind_of_tool, snake_case
from .redrawn_lines import is_redrawn
from .shown_files import kinds_of_shown_files

_LEAST = {
    "log": 4000, "test_run": 3000, "json": 12_000, "html": 2000, "markdown": 8000, "prose": 6000,
    "diff": 2000, "search": 12_000, "listing": 16_000, "table": 16_000, "other": 16_000,
}  # fmt: skip
"""Minimum size in characters from which a text of this kind may lose lines; other kinds never do.
Short texts stay whole: the model is likely to be asked about them."""
SHORTENED_EXACTLY: frozenset[Kind] = frozenset(
    {"blame", "log", "test_run", "search", "listing", "table", "json", "error", "state", "other"}
)
"""Kinds for which there are forms that lose nothing. Texts of other kinds stay, or lose lines.
``state`` is configuration as a program reports it: no file holds it, and nobody edits it."""
_FAILURE = 16_000
"""Characters below which output of a program that writes a log is a failure, if it looks like one:
a log with many stack traces has more."""
_COLOUR = "\x1b["
_GUARDED = ("code", "config", "rules", "error", "state")
_BETWEEN_WORDS = re.compile(r"[\s\"'`,;\[\]{}()<>]+")
_LIKE_A_PATH = re.compile(r"[A-Z]|.*[./\\]")
_READERS = re.compile(r"(?:^|_)(?:read|view|open|cat|get_file|fetch_file|show|edit|editor|load)")


class Content(NamedTuple):
    """The kind of a text. ``evidence`` gives the reasons in words.

    ``lossy`` means that lines may be replaced by a marker. ``pool`` is the pool that compresses
    it: ``gpu`` only for free text that the text engine may shorten. ``coloured`` says that a
    program, and no file, wrote colour codes into it. ``redrawn`` says that much of it are states of
    lines that were drawn over, as of a progress bar: these may be removed at any size.
    """

    kind: Kind
    lossy: bool
    pool: Literal["cpu", "gpu"]
    evidence: tuple[str, ...]
    coloured: bool = False
    redrawn: bool = False

    @property
    def exactly(self) -> bool:
        """Return whether there may be a shorter form that loses nothing."""
        return self.coloured or self.kind in SHORTENED_EXACTLY

    def may_lose(self, marker_mode: str, *, code_aware: bool) -> bool:
        """Return whether lines may be removed under these options."""
        if marker_mode == "marker-free":
            return False
        return self.lossy or (code_aware and self.kind == "code")


def classify(text: str | Envelope, call: ToolCall | None, press: int = 1) -> Content:
    """Classify ``text`` by the tool call that it answers, if any, and by its content.

    A text that has been unwrapped already is given as its envelope. ``press`` divides the minimum
    size from which the text may lose lines.
    """
    envelope = unwrap(text) if isinstance(text, str) else text
    body = envelope.body
    evidence: list[str] = []
    said, of_file = _of_call(call, evidence) if call is not None else (None, False)
    if said is None and not of_file:
        said, of_file = _of_shown_files(envelope, evidence)
    # Skip inspecting the text if the call is conclusive: inspection is most of the cost here.
    settled = said in _GUARDED or said == "diff"
    if said is not None and settled:
        kind = said
    else:
        shape = shape_of(body)
        kind = _weigh(said, shape, evidence)
        if kind == "log" and shape.kind == "error" and len(body) < _FAILURE and not of_file:
            kind = "error"
    least = _LEAST.get(kind)
    redrawn = least is not None and kind != "json" and is_redrawn(body)
    # What no rule knows may be a source or a configuration of its own kind, if a file holds it.
    unknown = of_file and kind == "other"
    # A field of JSON holds what somebody wrote: an issue, a page of a wiki.
    written = bool(envelope.quoted) and kind in ("prose", "markdown")
    whole = least is None or unknown or written
    lossy = redrawn or (not whole and len(body) * press >= (least or 0))
    free = lossy and not redrawn and kind in ("prose", "markdown")
    coloured = not of_file and _COLOUR in body
    return Content(kind, lossy, "gpu" if free else "cpu", tuple(evidence), coloured, redrawn)


def _weigh(said: Kind | None, shape: Shape, evidence: list[str]) -> Kind:
    """Decide between the kind that the call suggests and the kind that the text looks like."""
    evidence.append(shape.evidence)
    if shape.kind in _GUARDED and shape.sure:
        # `cat notes.txt` may print a program, but `git log` whose commits quote code is a log.
        # A search without paths and numbers prints lines of the file as they are.
        if said in (None, "other", "markdown", "prose", "log", "json", "html", "search"):
            return shape.kind
        if said in ("table", "test_run") and shape.kind == "config":
            return shape.kind
    if shape.kind in ("json", "html", "diff") and shape.sure:
        return shape.kind
    if said == "json":  # it may be truncated, or an error message instead
        return shape.kind if shape.kind in ("log", "json") else "other"
    if said is None or said == "other":
        return shape.kind
    if said == "html":
        return shape.kind
    return said


def _of_call(call: ToolCall, evidence: list[str]) -> tuple[Kind | None, bool]:
    """Return the kind that the call suggests, and whether it prints a file as it is."""
    command = call.command or _command_in(call.args)
    reads = _READERS.search(snake_case(call.name)) is not None
    if command and not (reads and _is_one_word(command)):  # `view` is an editor's, no shell's
        printed = printed_by(command)
        kinds = [_of_program(p, evidence) for p in printed]
        return _most_guarded(kinds), any(p.files for p in printed)
    tool = kind_of_tool(call.name)
    if tool is not None:
        evidence.append(f"answered by the tool {call.name}")
        return tool, False
    if not reads:
        return None, False
    found = _of_paths(call.args)
    if found is not None:
        evidence.append(f"read by {call.name} from a file of this kind")
    return found, found is not None


def _of_paths(text: str) -> Kind | None:
    """Return the most restrictive kind of the files whose paths are among the words of ``text``."""
    words = [word for word in _BETWEEN_WORDS.split(text) if _LIKE_A_PATH.match(word)]
    return _most_guarded([kind for word in words if (kind := kind_of_file(word)) is not None])


def _is_one_word(command: str) -> bool:
    return len(command.split(None, 1)) == 1


def _of_shown_files(envelope: Envelope, evidence: list[str]) -> tuple[Kind | None, bool]:
    """Return the kind of the files whose names stand above their content, if there are any."""
    if envelope.quoted:
        found = _of_paths(envelope.head)
        named = found is not None
    else:
        shown = kinds_of_shown_files(f"{envelope.head}{envelope.body}")
        found, named = _most_guarded(shown), bool(shown)
    if found is not None:
        evidence.append("stands below the name of a file")
    return found, named


def _command_in(args: str) -> str:
    """Return the command in ``args`` (JSON), under any of the usual names; empty if none."""
    if not args.startswith("{"):
        return ""
    try:
        read = json.loads(args)
    except ValueError:
        return ""
    for name in ("cmd", "command", "script", "shell_command", "commands"):
        value = read.get(name)
        if isinstance(value, list):
            return " ".join(map(str, value))
        if isinstance(value, str):
            return value
    return ""


def _of_program(printed: Printed, evidence: list[str]) -> Kind | None:
    if printed.files and printed.program != "git blame":
        found = _most_guarded([kind_of_file(f) for f in printed.files])
        if found is not None:
            evidence.append(f"printed by {printed.program} of {printed.files[0]}")
        return found
    kind = kind_of_program(printed.program, printed.words)
    if kind is not None:
        evidence.append(f"printed by {printed.program}")
    return kind


def _most_guarded(kinds: list[Kind | None]) -> Kind | None:
    """Return the kind of a text that holds several outputs: the most restrictive of theirs."""
    for guarded in (*_GUARDED, "diff"):
        if guarded in kinds:
            return guarded
    known = {k for k in kinds if k is not None}
    if len(known) == 1 and None not in kinds:
        return known.pop()
    if len(kinds) > 1 and known:
        return "other"
    return known.pop() if known else None
