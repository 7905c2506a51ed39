"""Finds repeated calls of a conversation, which suggest that the first output lacked something.

A call repeats an earlier one if it has the same command, the same arguments, or, for tools that
read a file, the same file, regardless of the part. A repetition does not count if something was
changed in between, which is another reason for it. Only the newest calls are checked, those whose
outputs are new in the request: every call is among the newest once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from shared.jobs import ToolCall

from .message import Message

_EDITS = ("edit", "write", "patch", "replace", "insert", "create", "delete", "move")
_CHANGES = re.compile(
    r"\bapply_patch\b|\b(?:sed|perl|ruby)\b[^|;&]* -\w*i|(?<![0-9&<=-])>>?(?!\s*(?:&|/dev/null))"
    r"|\b(?:tee|mv|rm|cp|patch|touch|mkdir|install|kill|restart)\b"
    r"|\bgit +(?:add|apply|checkout|commit|merge|pull|rebase|reset|restore|revert|stash|switch)\b"
)
"""Shell commands that may change the output of others; redirections to a descriptor do not."""
_READS = ("read", "view", "open_file", "cat")


def repeated_calls(messages: Sequence[Message]) -> dict[str, str]:
    """Return the ids of the newest calls that repeat an earlier one, with the earlier call's id."""
    first = newest_calls(messages)
    made: dict[str, str] = {}
    found: dict[str, str] = {}
    for index, message in enumerate(messages):
        for call_id, call in message.calls.items():
            if _edits(call):
                made.clear()
                continue
            asked = _asked(call)
            if index >= first and asked in made and made[asked] != call_id:
                found[call_id] = made[asked]
            made[asked] = call_id
    return found


def newest_calls(messages: Sequence[Message]) -> int:
    """Return the index of the first message with the newest calls or their outputs.

    The newest calls may be in several consecutive messages of the assistant: in OpenAI's Responses
    each call is an item of its own.
    """
    index = len(messages)
    while index and messages[index - 1].role != "assistant":
        index -= 1
    while index and messages[index - 1].role in ("assistant", ""):
        index -= 1
    return index


def _asked(call: ToolCall) -> str:
    """Return a text that identifies what a call requests."""
    if call.command:
        return f"{call.name}\0{' '.join(call.command.split())}"
    name = call.name.lower()
    if any(word in name for word in _READS):
        return f"{call.name}\0{call.args.split(' ', 1)[0]}"
    return f"{call.name}\0{call.args}"


def _edits(call: ToolCall) -> bool:
    name = call.name.lower()
    return any(word in name for word in _EDITS) or bool(_CHANGES.search(call.command))
