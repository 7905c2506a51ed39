"""The envelope that an agent's harness puts around a command's output: exit code, time, notes.

It is never changed, whatever happens to the body, because it says whether the command failed. The
headers above the body of an HTTP answer count as part of it, for the same reason.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

_HEAD_LINE = re.compile(
    r"(?:Chunk ID: |Wall time: |Process exited with code |Process running with |"
    r"Original token count: |Exit code:? ?-?\d|exit code:? -?\d|Command: |Total output lines: |"
    r"Duration: |Status: |Error: Exit code|Return code: |\[exit code|<returncode>|<exit_code>|"
    r"Output:\s*$|STDOUT:\s*$|stdout:\s*$|<output>\s*$|<stdout>\s*$|<result>\s*$|<wall_time>|"
    r"<duration|OBSERVATION:|\[File: .* total\)\]|\(\d+ more lines above\)|"
    r"Here's the result of running |Directory: |<persisted-output>\s*$|Output too large |"
    r"Preview \(first |<system-reminder>|<bash-stdout>|<command-|<local-command-|<status>|"
    r"Command executed|Command output:|Command \".*\" failed|Process started with PID|"
    r"Initial output:|Stdout:\s*$|</?file>\s*$|<files>\s*$|<(?:file|content)\b[^>]*>\s*$|"
    r"<(?:file><)?path>.*</path>|<type>.*</type>|File: `?\S+`?[.:]? ?(?:Lines .*)?$|"
    r"Lines \d+-\d+:|<untrusted[\w-]*>\s*$)",
)
_FIRST_LINE = re.compile(r"(?:Output|Stdout): (?=\S)")
"""What stands before the first line itself."""
_FENCE = re.compile(r"```[\w+-]*\s*$")
_CUT = re.compile(r"(?:Warning: truncated output .*\n)?Total output lines: \d+\n\n?")
"""What Codex writes below ``Output:`` where it has cut the middle out."""
_ANSWER = re.compile(r"(?:HTTP/[\d.]+ \d{3}[^\n]*\n(?:[\w-]+:[^\n]*\n)+\r?\n){1,9}(?=[^\s])")
"""Status lines and headers above the body of an answer, as ``curl -i`` and ``-L`` print them."""
_TAIL_LINE = re.compile(
    r"(?:\[Current working directory: |\[Python interpreter: |\[Command finished with exit code|"
    r"\[The command completed with exit code|\[Jupyter |\(Open file: |\(Current directory: |"
    r"bash-\$\s*$|</output>\s*$|</stdout>\s*$|</result>\s*$|</bash-stdout>|<stderr>|</stderr>|"
    r"<bash-stderr>|<returncode>|<exit_code>|<error>|</error>|</persisted-output>\s*$|"
    r"Exit [Cc]ode: -?\d|exit code: -?\d|Process exited with code|"
    r"\(\d+ more lines below\)|\[Exit code|\[exit code|Process Group PGID: |"
    r"Background PIDs: |Signal: |Shell cwd was reset|<elapsed|<warning>|</warning>|"
    r"Command (?:exited|completed|finished|failed) |\W*Process completed with exit code|"
    r"\[Process exited with code|Shell state \(|<timestamp>|</?bash_metadata>|<cwd>|"
    r"bash tool terminated|\((?:End of file|File has more lines|Output truncated) |"
    r"</(?:file|files|content)>|Stderr: |Error: \(none\)|\[File content truncated|"
    r"</untrusted[\w-]*>\s*$)",
)
_REMINDER, _REMINDER_END = "<system-reminder>", "</system-reminder>"
_MOST_HEAD, _MOST_TAIL, _MOST_REMINDERS = 14, 14, 8
_LONGEST_REMINDERS = 20_000
_MOST_FIELDS, _LONGEST_FIELDS = 40, 4000
"""Fields, and characters, before the one that holds a command's output or a file."""
_QUOTED = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.){1,60}"\s*:\s*(?=")')
"""A field of JSON whose value is a string."""
_FOR_HTML = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}
"""What Go escapes in strings besides what JSON demands."""
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')


class Envelope(NamedTuple):
    """If ``quoted`` is empty, the text is ``head + body + tail``.

    Otherwise the body between them is encoded as a JSON string, as Python's ``json`` writes it
    with ASCII escapes (``ascii``) or without (``unicode``), or as Go writes it (``html``).
    """

    head: str
    body: str
    tail: str
    quoted: str = ""

    def around(self, body: str) -> str:
        """Return the text with its body replaced by ``body``."""
        if self.quoted:
            body = _spelled(body, self.quoted)[1:-1]
        elif self.tail and self.body.endswith("\n") and not body.endswith("\n"):
            body = f"{body}\n"  # the exit code has a line of its own
        return f"{self.head}{body}{self.tail}"


def unwrap(text: str) -> Envelope:
    """Split ``text`` into the harness's envelope and the command's output."""
    if text[:1] in ("{", "[") and len(text) > 200:
        quoted = _in_json(text)
        if quoted is not None:
            return quoted
    end = _reminders_start(text)
    start = _head_end(text, end)
    answer = _ANSWER.match(text, start, end)
    start = answer.end() if answer is not None else start
    end = _tail_start(text, start, end)
    start, end = _inside_fence(text, start, end)
    return Envelope(text[:start], text[start:end], text[end:])


def _inside_fence(text: str, start: int, end: int) -> tuple[int, int]:
    """Return where the code block begins and ends that is all of the body; the body if none is."""
    body = text[start:end]
    first = body.lstrip("\n")
    line_end = first.find("\n") + 1
    closing = body.rstrip().rfind("\n") + 1
    opening = len(body) - len(first) + line_end
    if not line_end or closing <= opening or not _FENCE.match(first[:line_end]):
        return start, end
    if body[closing:].strip() != "```" or body.count("```") != 2:
        return start, end
    return start + opening, start + closing


def _reminders_start(text: str) -> int:
    """Return the start of the harness's reminders at the end, including blanks before them."""
    first = max(0, len(text) - _LONGEST_REMINDERS)
    rest = text[first:]
    found = len(text)
    for _ in range(_MOST_REMINDERS):
        rest = rest.rstrip()
        if not rest.endswith(_REMINDER_END):
            break
        start = rest.rfind(_REMINDER)
        if start < 0:
            break
        rest = rest[:start].rstrip()
        found = first + len(rest)
    return found


def _head_end(text: str, end: int) -> int:
    """Return the end of the head: known lines, with blank ones between them."""
    at = known = 0
    for _ in range(_MOST_HEAD):
        line_end = text.find("\n", at, end)
        if line_end < 0:
            break
        line = text[at:line_end]
        at = line_end + 1
        if _HEAD_LINE.match(line):
            known = at
            if re.match(r"(?:Output|STDOUT|stdout):\s*$|<(?:output|stdout|result)>\s*$", line):
                cut = _CUT.match(text, at, end)
                return cut.end() if cut is not None else at
        elif line.strip():
            break
    before = _FIRST_LINE.match(text, known, end)
    return before.end() if before is not None else known


def _tail_start(text: str, start: int, end: int) -> int:
    """Return the start of the tail's lines."""
    known = at = end
    for _ in range(_MOST_TAIL):
        line_start = text.rfind("\n", start, max(start, at - 1)) + 1
        if line_start <= start:
            break
        line = text[line_start:at].strip()
        at = line_start
        if _TAIL_LINE.match(line):
            known = line_start
        elif line:
            break
    return known


def _in_json(text: str) -> Envelope | None:
    """Return the envelope of ``{"output": "...", "exit_code": 1}``; None if re-encoding differs.

    The body is the string that is most of the text, whatever its field is called: a client's
    ``[{"type": "text", "text": "..."}]``, too.
    """
    at = 0
    for _ in range(_MOST_FIELDS):
        found = _QUOTED.search(text, at, _LONGEST_FIELDS)
        string = _STRING.match(text, found.end()) if found is not None else None
        if string is None:
            return None
        if len(string[0]) >= len(text) / 2:
            return _around_string(text, string)
        at = string.end()
    return None


def _around_string(text: str, string: re.Match[str]) -> Envelope | None:
    raw = string[0]
    try:
        body = json.loads(raw)
        json.loads(text)
    except ValueError:
        return None
    for spelling in ("ascii", "unicode", "html"):
        if _spelled(body, spelling) == raw:
            start = string.start() + 1
            return Envelope(text[:start], body, text[start + len(raw) - 2 :], spelling)
    return None


def _spelled(body: str, spelling: str) -> str:
    written = json.dumps(body, ensure_ascii=spelling == "ascii")
    return written.translate(_FOR_HTML) if spelling == "html" else written
