"""Growing agent sessions, built from the real tool output in `loadtest.material`.

A turn is four messages: the user's message, the assistant's tool call, its result, and the
assistant's reply. Two of three turns have one fresh block of output that an engine can compress;
the others are small: reads, edits, short listings, a failed command. A session is determined by
its seed, and no two seeds share a large block.
"""

from __future__ import annotations

import functools
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

import msgspec

from loadtest.material import Sample, collect, cut_lines

Message: TypeAlias = dict[str, Any]
"""One message of a conversation, in either format."""

Shape: TypeAlias = Literal["anthropic", "openai"]
"""The format of messages: Anthropic Messages or OpenAI Chat Completions."""

MESSAGES_PER_TURN: Final = 4

FRESH_KINDS: Final = ("json", "log", "grep", "diff", "json", "log", "grep", "html", "diff", "prose")
"""The kinds of fresh blocks, in their proportions within a session."""

_MARGIN: Final = 1.15
_LEFT_OUT: Final = 0.05
_STRATA: Final = 10
_ROUNDING: Final = 1.03  # allowance for cutting at the end of a line
_SYSTEM: Final = (
    "You are a coding agent in a terminal. Work in the user's checkout with the tools you are "
    "given, say briefly what you do, and never guess at what a tool would print."
)
_QUESTIONS: Final = (
    "Please look through {topic} next and tell me what stands out.",
    "Good. Go on with {topic}, the same way as before.",
    "Can you check {topic} as well? I want to see the whole picture first.",
    "Continue with {topic}. Keep the change small.",
    "Now list what depends on {topic}, then carry on.",
    "What is the state of {topic}? Show me the numbers.",
)
_REMARKS: Final = (
    "I will run this and read what it prints.",
    "Let me look at the current state first.",
    "Checking that before I change anything.",
    "One call should be enough here.",
)
_CONCLUSIONS: Final = (
    "That covers {topic}. The output is as long as expected and nothing contradicts the plan; I "
    "noted the entries that matter and will come back to them once the rest is in place.",
    "Done with {topic}. Most of it is routine, so the next step stays as we said: take the "
    "smallest part on its own, keep the names, and run the checks again afterwards.",
    "I have what I need from {topic}. Two entries are worth another look later on, the others "
    "only confirm what the previous step showed.",
)


class Call(msgspec.Struct, frozen=True):
    """One tool call with its result.

    ``id`` links call and result; ``tool`` and ``input`` are the assistant's call, ``text`` is the
    result, ``error`` says whether the tool reported a failure.
    """

    id: str
    tool: str
    input: dict[str, Any]
    text: str
    error: bool = False


def call_message(calls: Sequence[Call], shape: Shape, remark: str = "") -> Message:
    """Return the assistant's message with the calls, preceded by a remark if given."""
    if shape == "openai":
        return {
            "role": "assistant",
            "content": remark or None,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.tool, "arguments": json.dumps(call.input)},
                }
                for call in calls
            ],
        }
    blocks: list[Message] = [{"type": "text", "text": remark}] if remark else []
    blocks += [
        {"type": "tool_use", "id": call.id, "name": call.tool, "input": call.input}
        for call in calls
    ]
    return {"role": "assistant", "content": blocks}


def result_messages(calls: Sequence[Call], shape: Shape) -> list[Message]:
    """Return the results: one message per call for OpenAI, one for all calls for Anthropic."""
    if shape == "openai":
        return [{"role": "tool", "tool_call_id": call.id, "content": call.text} for call in calls]
    blocks: list[Message] = []
    for call in calls:
        block: Message = {"type": "tool_result", "tool_use_id": call.id, "content": call.text}
        blocks.append({**block, "is_error": True} if call.error else block)
    return [{"role": "user", "content": blocks}]


def tool_input(sample: Sample, tool: str) -> dict[str, Any]:
    """Return the arguments with which an agent would have called ``tool`` to get the sample."""
    if tool in {"Read", "Edit", "Write"}:
        return {"file_path": sample.path or "/workspace/project/notes.txt"}
    if tool == "Bash":
        return {"command": sample.command, "description": f"Show {sample.kind} output"}
    return {"query": sample.command}


def numbered(text: str, first: int = 1) -> str:
    """Return ``text`` with line numbers from ``first``, as a Read tool returns a file."""
    return "\n".join(f"{at:6}\t{line}" for at, line in enumerate(text.splitlines(), first))


def session(
    seed: int,
    turns: int = 60,
    shape: Shape = "anthropic",
    kinds: Sequence[str] | None = None,
    fresh: tuple[int, int] = (10_000, 30_000),
) -> list[Message]:
    """Build one session; its first 4n messages are what the client posts with turn n.

    ``kinds`` are the kinds of fresh blocks, used cyclically (default ``FRESH_KINDS``); ``fresh``
    is the minimum and maximum length of such a block in characters, with short ones more common.
    A session of fewer turns is a prefix of a longer one with the same seed. OpenAI sessions
    have a system message before the first turn. With the defaults, 60 turns are 240 messages
    and about 650 kB of JSON. Raises ``ValueError`` if there is no material of a kind.
    """
    author = _Author(seed, shape, kinds or FRESH_KINDS, fresh)
    messages: list[Message] = []
    if shape == "openai":
        messages.append({"role": "system", "content": _SYSTEM})
    for turn in range(turns):
        messages += author.turn(turn)
    return messages


def growing(
    seed: int, turns: int = 60, shape: Shape = "anthropic"
) -> Iterator[tuple[int, list[Message]]]:
    """Yield each turn's number, from 1, and the messages that the client posts with it."""
    messages = session(seed, turns, shape)
    before = len(messages) - turns * MESSAGES_PER_TURN
    for turn in range(1, turns + 1):
        yield turn, messages[: before + turn * MESSAGES_PER_TURN]


def fresh_text(sample: Sample, size: int, rng: random.Random) -> str:
    """Return a variant of the sample of about ``size`` characters, built from its real parts.

    Rows of JSON and lines of text start at a random position, and a few are left out, as in
    another run; pages and diffs, which would become invalid, get another build or blob name.
    """
    if sample.kind == "json":
        try:
            return _fresh_json(json.loads(sample.text), sample.text, size, rng)
        except ValueError:
            return _fresh_lines(sample.text, size, rng)
    if sample.kind == "html":
        page = sample.text.replace("</title>", f" build {rng.getrandbits(32):08x}</title>", 1)
        return page if len(page) <= size * _MARGIN else _cut_page(page, size)
    if sample.kind == "diff":
        return _fresh_diff(sample.text, size, rng)
    return _fresh_lines(sample.text, size, rng)


def _fresh_json(value: Any, text: str, size: int, rng: random.Random) -> str:
    """Return the document with fewer rows, or some of its lines if it has no rows."""
    key = None
    rows = value
    if isinstance(value, dict):
        key = next((name for name, item in value.items() if isinstance(item, list)), None)
        rows = value[key] if key is not None else None
    if not isinstance(rows, list) or not rows:
        return _fresh_lines(text, size, rng)
    indent = None
    if "\n" in text[:100]:
        indent = len(text.split("\n", 2)[1]) - len(text.split("\n", 2)[1].lstrip())
    average = len(text) / len(rows)
    count = min(len(rows), max(2, round(size / average)))
    kept = sorted(rng.sample(range(len(rows)), count))
    chosen = [rows[at] for at in kept]
    rng.shuffle(chosen)
    while True:
        text = json.dumps({**value, key: chosen} if key is not None else chosen, indent=indent)
        if len(text) <= size or len(chosen) < 3:
            return text
        del chosen[-max(1, (len(text) - size) * len(chosen) // (2 * len(text))) :]


def _fresh_diff(text: str, size: int, rng: random.Random) -> str:
    """Return the diff starting at one of its files, without a few hunks, with new blob names."""
    starts = [match.start() for match in re.finditer(r"(?m)^diff -", text)]
    usable = [at for at in starts if len(text) - at >= size * _MARGIN] or [0]
    head, *hunks = re.split(r"(?m)^(?=@@ )", text[rng.choice(usable) :])
    kept = [hunk for hunk in hunks if rng.random() > _LEFT_OUT or "\ndiff -" in hunk]
    text = cut_lines(head + "".join(kept), size)
    return re.sub(r"(?m)^index [0-9a-f]+", lambda _: f"index {rng.getrandbits(28):07x}", text)


def _fresh_lines(text: str, size: int, rng: random.Random) -> str:
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if rng.random() > _LEFT_OUT]
    text = "".join(kept)
    start = text.find("\n", rng.randrange(max(1, len(text) - size))) + 1
    return cut_lines(text[start:] if len(text) - start >= size // 2 else text, size)


def _cut_page(page: str, size: int) -> str:
    tail = "</body></html>"
    return cut_lines(page, size - len(tail)) + tail


@functools.cache
def _material() -> dict[str, list[Sample]]:
    pools: dict[str, list[Sample]] = {}
    for sample in collect():
        pools.setdefault(sample.kind, []).append(sample)
    return pools


class _Author:
    """Writes one session turn by turn; every choice is determined by the seed."""

    def __init__(
        self, seed: int, shape: Shape, kinds: Sequence[str], fresh: tuple[int, int]
    ) -> None:
        self.rng = random.Random(f"session {seed}")
        self.shape = shape
        self.kinds = kinds
        self.fresh = fresh
        self.large = 0
        self.small = 0
        self.strata: list[int] = []
        self.seen: list[Sample] = []

    def turn(self, number: int) -> list[Message]:
        """Return the four messages of one turn."""
        rng = self.rng
        if number % 3 != 2:
            calls = [self._large()]
        else:
            makers: tuple[Callable[[], list[Call]], ...] = (
                self._read, self._listing, self._edit, self._search, self._failure, self._mcp,
            )  # fmt: skip
            calls = makers[self.small % len(makers)]()
            self.small += 1
        topic = calls[0].input.get("file_path") or f"step {number + 1} ({calls[0].tool})"
        if number == 0:
            question = f"We are cleaning up this checkout. Start with {topic}, please."
        else:
            question = rng.choice(_QUESTIONS).format(topic=topic)
        return [
            {"role": "user", "content": question},
            call_message(calls, self.shape, rng.choice(_REMARKS)),
            *result_messages(calls, self.shape),
            {"role": "assistant", "content": rng.choice(_CONCLUSIONS).format(topic=topic)},
        ]

    def _call(self, tool: str, inputs: dict[str, Any], text: str, error: bool = False) -> Call:
        prefix = "call_" if self.shape == "openai" else "toolu_01"
        return Call(f"{prefix}{self.rng.getrandbits(88):022x}", tool, inputs, text, error)

    def _size(self) -> int:
        """Return a length in the requested range; any ten in a row have the same distribution."""
        if not self.strata:
            self.strata = self.rng.sample(range(_STRATA), _STRATA)
        part = (self.strata.pop() + self.rng.random()) / _STRATA
        low, high = self.fresh
        low = min(round(low * _ROUNDING), high)
        return round(low + (high - low) * part**4)

    def _pick(self, kind: str, least: int = 0, most: int | None = None) -> Sample:
        """Return a sample of the kind with a length in the range, or as close as possible."""
        pool = _material().get(kind)
        if not pool:
            raise ValueError(f"no material of kind {kind!r} on this machine")
        within = [
            one for one in pool if least <= len(one.text) and (most is None or len(one.text) < most)
        ]
        if within:
            return self.rng.choice(within)
        return (max if least else min)(pool, key=lambda one: len(one.text))

    def _large(self) -> Call:
        kind = self.kinds[self.large % len(self.kinds)]
        self.large += 1
        size = self._size()
        sample = self._pick(kind, least=round(size * _MARGIN))
        tool = sample.tool
        if tool in {"Read", "Grep"}:
            tool = "mcp__workspace__run"
        return self._call(tool, tool_input(sample, tool), fresh_text(sample, size, self.rng))

    def _read(self) -> list[Call]:
        sample = self._pick("code", most=7_000)
        self.seen.append(sample)
        first = self.rng.randrange(1, 400)
        inputs = {"file_path": sample.path, "offset": first, "limit": 200}
        return [self._call("Read", inputs, numbered(sample.text, first))]

    def _edit(self) -> list[Call]:
        sample = self.rng.choice(self.seen) if self.seen else self._pick("code", most=7_000)
        line = max(sample.text.splitlines(), key=len).strip()
        inputs = {"file_path": sample.path, "old_string": line, "new_string": f"{line}  # checked"}
        return [self._call("Edit", inputs, f"The file {sample.path} has been updated.")]

    def _listing(self) -> list[Call]:
        kinds = [kind for kind in ("status", "table", "config") if kind in _material()]
        sample = self._pick(self.rng.choice(kinds), most=2_500)
        text = fresh_text(sample, 2_000, self.rng)
        return [self._call("Bash", tool_input(sample, "Bash"), text)]

    def _search(self) -> list[Call]:
        sample = self._pick("grep", most=6_500)
        hits = fresh_text(sample, 2_000, self.rng)
        calls = [self._call("Grep", {"pattern": "def ", "path": "."}, hits)]
        if self.shape == "anthropic":
            names = sorted({line.partition(":")[0] for line in hits.splitlines()})
            calls.append(self._call("Glob", {"pattern": "**/*.py"}, "\n".join(names)))
        return calls

    def _failure(self) -> list[Call]:
        sample = self._pick("traceback", most=2_500)
        return [self._call("Bash", tool_input(sample, "Bash"), sample.text, error=True)]

    def _mcp(self) -> list[Call]:
        sample = self._pick("json", most=3_900)
        tool = "mcp__tracker__get_issue"
        return [self._call(tool, {"query": sample.command}, fresh_text(sample, 1_500, self.rng))]
