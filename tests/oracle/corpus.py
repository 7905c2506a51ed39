"""The conversations on which the farm is compared with headroom.compress().

They are only data: nothing is configured here, and headroom is not imported. They have every kind
of content in every format, old and recent, and everything that the protection rules depend on:
tool names, file histories, error flags, cache breakpoints, intent, options, malformed and unusual
messages.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from loadtest.material import KINDS, Sample, collect, cut_lines
from loadtest.sessions import (
    Call,
    Message,
    Shape,
    call_message,
    numbered,
    result_messages,
    session,
    tool_input,
)

CLAUDE: Final = "claude-sonnet-4-5-20250929"
"""The model of most conversations."""

_OTHER_MODELS: Final = ("gpt-4o", "gemini-2.5-pro", "default")
_SHAPES: Final[tuple[Shape, ...]] = ("anthropic", "openai")
_BANDS: Final = ((300, 1_500), (1_500, 7_000), (7_000, 16_000), (16_000, 40_001))
_NEUTRAL: Final = "Thanks. Now go on with the next part of the list."
_PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)


class Conversation(msgspec.Struct):
    """One request to compare: ``headroom.compress(messages, model=model, **options)``."""

    name: str
    messages: list[dict[str, Any]]
    model: str = CLAUDE
    options: dict[str, Any] = {}


def conversations() -> list[Conversation]:
    """Build all conversations; names are unique, order and content are deterministic.

    The first call in a process collects the material, which takes seconds. Conversations that need
    a missing program are left out.
    """
    corpus = _Corpus()
    for group in (
        _kinds, _engines, _forms, _several, _intent, _flags, _reads, _excluded, _mcp, _shell,
        _markers, _options, _models, _long_texts, _unusual, _whole_sessions,
    ):  # fmt: skip
        group(corpus)
    return corpus.found


class _Corpus:
    """Collects the conversations and provides samples; all are used before one is repeated.

    ``shapes`` gives the formats in turn, for what is alike in both.
    """

    def __init__(self) -> None:
        self.found: list[Conversation] = []
        self.calls = 0
        self.shapes = itertools.cycle(_SHAPES)
        self.rng = random.Random("oracle")
        self.pools: dict[str, list[Sample]] = {kind: [] for kind in KINDS}
        for sample in collect():
            self.pools[sample.kind].append(sample)

    def add(
        self, name: str, messages: list[Message], model: str = CLAUDE, **options: object
    ) -> None:
        self.found.append(Conversation(name, messages, model, options))

    def sample(self, kind: str, least: int = 0, most: int = 40_001) -> Sample | None:
        """Return the next sample of a kind with a length in the range; None if there is none."""
        pool = self.pools[kind]
        for at, sample in enumerate(pool):
            if least <= len(sample.text) < most:
                pool.append(pool.pop(at))
                return sample
        return None

    def text(self, kind: str, least: int = 3_000, most: int = 20_000) -> str:
        """Return the next text of a kind, if necessary cut to the range; never empty."""
        sample = self.sample(kind, least, most) or self.sample(kind)
        if sample is None:
            return self.text("log", least, most)
        return cut_lines(sample.text, most)

    def code(self, start: str) -> str:
        """Return source code from a top-level definition that begins with ``start``."""
        for _ in self.pools["code"]:
            text = self.text("code", 2_000, 30_001)
            _, found, rest = text.partition(f"\n{start}")
            if len(rest) > 1_500:
                return cut_lines(found[1:] + rest, 9_000)
        return self.text("code")

    def call(
        self,
        tool: str,
        text: str,
        inputs: dict[str, Any] | None = None,
        error: bool = False,
    ) -> Call:
        self.calls += 1
        return Call(f"toolu_{self.calls:06}", tool, inputs or {"query": "all"}, text, error)


def _ended(last: str = _NEUTRAL) -> list[Message]:
    """Return messages after which all earlier ones count as old; the last one says ``last``."""
    return [
        {"role": "assistant", "content": "Noted. The next step is the same for the other part."},
        {"role": "user", "content": "Yes, do that."},
        {"role": "assistant", "content": "Done, nothing unexpected."},
        {"role": "user", "content": "And the last one?"},
        {"role": "assistant", "content": "Done as well."},
        {"role": "user", "content": last},
    ]


def _history(
    shape: Shape, calls: Sequence[Call], old: bool = True, last: str = _NEUTRAL
) -> list[Message]:
    """Return a question, each call with its result, and an end that makes them old if ``old``."""
    messages: list[Message] = [{"role": "user", "content": "Show me what there is, please."}]
    for call in calls:
        messages.append(call_message([call], shape, "Running it."))
        messages += result_messages([call], shape)
    return messages + (_ended(last) if old else [])


def _with_content(call: Call, shape: Shape, content: object, **fields: object) -> list[Message]:
    """Return an old call whose result has this content and these further fields."""
    messages = _history(shape, [call])
    at = 2
    if shape == "openai":
        messages[at] = {**messages[at], "content": content, **fields}
    else:
        block = {**messages[at]["content"][0], "content": content, **fields}
        messages[at] = {**messages[at], "content": [block]}
    return messages


def _parts(text: str, count: int) -> list[Message]:
    """Return ``text`` as ``count`` text parts, cut at line ends."""
    lines = text.splitlines(keepends=True)
    step = -(-len(lines) // count)
    pieces = ["".join(lines[at : at + step]) for at in range(0, len(lines), step)]
    return [{"type": "text", "text": piece} for piece in pieces]


def _image() -> Message:
    source = {"type": "base64", "media_type": "image/png", "data": _PIXEL}
    return {"type": "image", "source": source}


def _kinds(corpus: _Corpus) -> None:
    for kind in KINDS:
        for band, (least, most) in enumerate(_BANDS):
            sample = corpus.sample(kind, least, most)
            if sample is None:
                continue
            shape, old = next(corpus.shapes), band % 2 == 0
            tool = sample.tool if sample.tool not in {"Read", "Grep"} else "run_command"
            call = corpus.call(tool, sample.text, tool_input(sample, tool))
            age = "old" if old else "recent"
            corpus.add(f"kind-{kind}-{shape}-{least}-{age}", _history(shape, [call], old))


def _engines(corpus: _Corpus) -> None:
    for kind in ("json", "html", "table", "config", "diff", "grep"):
        for number in range(6 if kind in {"html", "table"} else 4):
            call = corpus.call("run_command", corpus.text(kind, 2_500, 40_001))
            shape = _SHAPES[number % 2]
            corpus.add(f"engine-{kind}-{number}-{shape}", _history(shape, [call]))


def _forms(corpus: _Corpus) -> None:
    for kind in ("json", "log", "grep", "diff", "html", "config"):
        text = corpus.text(kind)
        call = corpus.call("run_command", text)
        for shape in _SHAPES:
            for count in (1, 3):
                content = _parts(text, count)
                messages = _with_content(call, shape, content)
                corpus.add(f"form-{kind}-{shape}-{count}-text-parts", messages)
        content = [_image(), {"type": "text", "text": text}]
        corpus.add(f"form-{kind}-anthropic-image", _with_content(call, "anthropic", content))
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}"}}
    content = [url, {"type": "text", "text": corpus.text("log")}]
    call = corpus.call("screenshot", "")
    corpus.add("form-log-openai-image", _with_content(call, "openai", content))


def _several(corpus: _Corpus) -> None:
    groups = (("json", "log"), ("grep", "diff", "html"), ("log", "log"), ("json", "code", "table"))
    for kinds in groups:
        for old in (True, False):
            calls = [corpus.call("run_command", corpus.text(kind)) for kind in kinds]
            for shape in _SHAPES:
                messages: list[Message] = [
                    {"role": "user", "content": "Run them all at once."},
                    call_message(calls, shape, "All at once."),
                    *result_messages(calls, shape),
                    *(_ended() if old else []),
                ]
                age = "old" if old else "recent"
                corpus.add(f"several-{'-'.join(kinds)}-{shape}-{age}", messages)
    for kind in ("json", "code"):
        text = corpus.text(kind)
        twice = [corpus.call("run_command", text), corpus.call("run_command", text)]
        for shape in _SHAPES:
            corpus.add(f"several-same-{kind}-twice-{shape}", _history(shape, twice))
    call = corpus.call("run_command", corpus.text("log"))
    messages = _history("anthropic", [call])
    messages[2]["content"].append({"type": "text", "text": corpus.text("prose", 600, 4_000)})
    corpus.add("several-result-and-user-text", messages)


def _intent(corpus: _Corpus) -> None:
    lasts = {
        "review": "Please review this code and tell me what is wrong with it.",
        "explain": "Can you explain how does the second function work?",
        "fix": "Fix the bug in there.",
        "neutral": _NEUTRAL,
    }
    for intent, last in lasts.items():
        shape = next(corpus.shapes)
        for kind, text in (
            ("class", corpus.code("class ")),
            ("function", corpus.code("def ")),
            ("log", corpus.text("log")),
        ):
            messages = _history(shape, [corpus.call("run_command", text)], last=last)
            corpus.add(f"intent-{intent}-{kind}-{shape}", messages)
    call = corpus.call("run_command", corpus.code("class "))
    messages = _history("anthropic", [call])
    messages[-1]["content"] = [{"type": "text", "text": "Please review this code."}]
    corpus.add("intent-review-as-text-block", messages)


def _flags(corpus: _Corpus) -> None:
    breakpoint_ = {"type": "ephemeral"}
    failures = (
        ("log", 1_000, 8_000),
        ("log", 8_001, 30_000),
        ("traceback", 1, 8_000),
        ("traceback", 8_001, 40_001),
        ("json", 1_000, 8_000),
    )
    for kind, least, most in failures:
        text = corpus.text(kind, least, most)
        call = corpus.call("Bash", text, {"command": "make check"}, error=True)
        corpus.add(f"flag-is-error-{kind}-{least}-anthropic", _history("anthropic", [call]))
        corpus.add(f"flag-error-{kind}-{least}-openai", _history("openai", [call]))
    for kind in ("json", "log", "diff"):
        call = corpus.call("run_command", corpus.text(kind))
        messages = _with_content(call, "anthropic", call.text, cache_control=breakpoint_)
        corpus.add(f"flag-cache-control-result-{kind}", messages)
        content = [{"type": "text", "text": call.text, "cache_control": breakpoint_}]
        messages = _with_content(call, "anthropic", content)
        corpus.add(f"flag-cache-control-inside-result-{kind}", messages)
        messages = _history("anthropic", [call], old=False)
        messages[-1]["content"][0]["cache_control"] = breakpoint_
        corpus.add(f"flag-cache-control-last-{kind}", messages)
    call = corpus.call("run_command", corpus.text("json"))
    block = {"type": "text", "text": "You are an agent.", "cache_control": breakpoint_}
    messages = _history("openai", [call])
    corpus.add("flag-cache-control-system", [{"role": "system", "content": [block]}, *messages])


def _reads(corpus: _Corpus) -> None:
    path = "/workspace/project/service/handlers.py"
    other = "/workspace/project/service/models.py"
    first = corpus.text("code", 2_000, 7_000)
    second = corpus.text("code", 2_000, 7_000)
    config = corpus.text("json", 2_000, 9_000)
    tiny = "import os\nimport sys\n"

    def read(text: str, where: str = path, **more: object) -> Call:
        return corpus.call("Read", numbered(text), {"file_path": where, **more})

    def edit(where: str = path, tool: str = "Edit") -> Call:
        inputs = {"file_path": where, "old_string": "import os", "new_string": "import io"}
        return corpus.call(tool, f"The file {where} has been updated.", inputs)

    def write(text: str, where: str = path) -> Call:
        inputs = {"file_path": where, "content": text}
        return corpus.call("Write", f"File created successfully at: {where}", inputs)

    histories: dict[str, Callable[[], list[Call]]] = {
        "fresh": lambda: [read(first)],
        "fresh-two-files": lambda: [read(first), read(second, other)],
        "stale": lambda: [read(first), edit()],
        "stale-other-file-edited": lambda: [read(first), edit(other)],
        "stale-multi-edit": lambda: [read(first), edit(tool="MultiEdit")],
        "stale-written": lambda: [read(first), write(second)],
        "stale-tiny": lambda: [read(tiny), edit()],
        "stale-then-read-again": lambda: [read(first), edit(), read(second)],
        "edited-twice": lambda: [read(first), edit(), read(second), edit()],
        "superseded": lambda: [read(first), read(first)],
        "superseded-other-text": lambda: [read(first), read(second)],
        "offset": lambda: [read(first, offset=40, limit=120)],
        "offset-then-whole": lambda: [read(first, offset=40, limit=120), read(second)],
        "offset-then-edit": lambda: [read(first, offset=1, limit=120), edit()],
        "two-offsets": lambda: [read(first, offset=1, limit=90), read(second, offset=91, limit=90)],
        "written-then-read": lambda: [write(first), read(first)],
        "json-file": lambda: [read(config, "/workspace/project/data.json")],
        "edit-result-long": lambda: [corpus.call("Edit", numbered(first), {"file_path": path})],
        "write-result-long": lambda: [corpus.call("Write", first, {"file_path": path})],
    }
    for name, calls in histories.items():
        for shape in _SHAPES:
            corpus.add(f"read-{name}-{shape}", _history(shape, calls()))
    recent = [read(first), edit()]
    for shape in _SHAPES:
        corpus.add(f"read-stale-recent-{shape}", _history(shape, recent, old=False))
    for key in ("path", "filePath", "filename"):
        calls_ = [
            corpus.call("Read", numbered(first), {key: path}),
            corpus.call("Edit", "Updated.", {key: path}),
        ]
        corpus.add(f"read-stale-by-{key}", _history("anthropic", calls_))


def _excluded(corpus: _Corpus) -> None:
    outputs = (
        ("Grep", "grep"), ("Grep", "json"), ("Grep", "log"), ("grep", "grep"), ("Glob", "grep"),
        ("Glob", "config"), ("WebFetch", "html"), ("WebSearch", "json"), ("Skill", "prose"),
        ("Skill", "log"), ("headroom_retrieve", "log"), ("view", "code"), ("read_file", "json"),
        ("mcp__headroom__headroom_retrieve", "json"), ("mcp__files__Read", "json"),
        ("Write", "log"),
    )  # fmt: skip
    for tool, kind in outputs:
        shape = next(corpus.shapes)
        call = corpus.call(tool, corpus.text(kind))
        corpus.add(f"excluded-{tool}-{kind}-{shape}", _history(shape, [call]))
    names = sorted({line.partition(":")[0] for line in corpus.text("grep").splitlines()})
    call = corpus.call("Glob", "\n".join(names))
    corpus.add("excluded-Glob-names", _history("anthropic", [call]))


def _mcp(corpus: _Corpus) -> None:
    tools = {
        "claude": "mcp__tracker__list_issues",
        "gemini": "mcp_tracker_list_issues",
        "roo": "mcp--tracker--list_issues",
    }
    for style, tool in tools.items():
        for kind in ("json", "log"):
            for least, most in ((600, 4_000), (4_001, 20_000)):
                call = corpus.call(tool, corpus.text(kind, least, most))
                shape = next(corpus.shapes)
                size = "small" if most == 4_000 else "large"
                corpus.add(f"mcp-{style}-{kind}-{size}-{shape}", _history(shape, [call]))


def _shell(corpus: _Corpus) -> None:
    commands = {
        "grep": "grep -rn foo .",
        "rg": "rg -n 'def ' src",
        "git-grep": "git grep -n import",
        "cd-grep": "cd /workspace/project && grep -rn foo .",
        "wrapped": "timeout 30 grep -rn foo . | head -200",
        "bash-lc": 'bash -lc "grep -rn foo ."',
        "find": "find . -name '*.py' -exec grep -n foo {} +",
    }
    for name, command in commands.items():
        call = corpus.call("Bash", corpus.text("grep", 1_000, 16_000), {"command": command})
        shape = next(corpus.shapes)
        corpus.add(f"shell-{name}-{shape}", _history(shape, [call]))
    for tool in ("shell", "local_shell"):
        call = corpus.call(tool, corpus.text("grep", 600, 12_000), {"command": "grep -rn foo ."})
        corpus.add(f"shell-tool-{tool}", _history("openai", [call]))
    for kind, command in (("log", "grep -c x app.log"), ("json", "grep -rn foo ."),
                          ("code", "cat handlers.py"), ("code", "sed -n '1,200p' handlers.py"),
                          ("config", "head -300 settings.yaml"), ("diff", "git diff")):  # fmt: skip
        call = corpus.call("Bash", corpus.text(kind), {"command": command})
        program = command.split()[0]
        corpus.add(f"shell-{program}-prints-{kind}", _history("anthropic", [call]))


def _markers(corpus: _Corpus) -> None:
    marks = {
        "rows": "<<ccr:0f3a9c41d2e7 42_rows_offloaded>>",
        "retrieve": "[120 items compressed to 12. Retrieve more: hash=0f3a9c41d2e7b8a6c5d4e3f2]",
        "original": "[stale read. Retrieve original: hash=0f3a9c41d2e7b8a6c5d4e3f2]",
    }
    for name, mark in marks.items():
        for kind in ("json", "log"):
            text = f"{cut_lines(corpus.text(kind), 9_000)}\n{mark}"
            call = corpus.call("run_command", text)
            for shape in _SHAPES:
                corpus.add(f"marker-{name}-{kind}-{shape}", _history(shape, [call]))


def _options(corpus: _Corpus) -> None:
    options: dict[str, dict[str, Any]] = {
        "protect-recent-0": {"protect_recent": 0},
        "protect-recent-20": {"protect_recent": 20},
        "min-tokens-1": {"min_tokens_to_compress": 1},
        "min-tokens-9000": {"min_tokens_to_compress": 9_000},
        "target-ratio": {"target_ratio": 0.3},
        "user-messages": {"compress_user_messages": True},
        "all": {"protect_recent": 0, "min_tokens_to_compress": 10, "target_ratio": 0.5,
                "compress_user_messages": True},
    }  # fmt: skip
    for name, chosen in options.items():
        for shape in _SHAPES:
            calls = [corpus.call("run_command", corpus.text(kind)) for kind in ("json", "code")]
            messages = _history(shape, calls, old=False)
            messages.insert(0, {"role": "user", "content": corpus.text("log", 2_000, 12_000)})
            corpus.add(f"option-{name}-{shape}", messages, **chosen)
    for kind in ("json", "log", "grep", "prose"):
        text = corpus.text(kind)
        whole: list[Message] = [{"role": "user", "content": text}]
        corpus.add(f"option-user-messages-only-{kind}", whole, compress_user_messages=True)
        middle: list[Message] = [
            {"role": "user", "content": "I will paste it in the next message."},
            {"role": "assistant", "content": "Go ahead."},
            {"role": "user", "content": [{"type": "text", "text": text}]},
            *_ended(),
        ]
        corpus.add(f"option-user-blocks-{kind}", middle, compress_user_messages=True)


def _models(corpus: _Corpus) -> None:
    for model in _OTHER_MODELS:
        for kind in ("json", "log", "grep"):
            call = corpus.call("run_command", corpus.text(kind))
            shape = next(corpus.shapes)
            corpus.add(f"model-{model}-{kind}-{shape}", _history(shape, [call]), model)


def _long_texts(corpus: _Corpus) -> None:
    for kind in ("prose", "log", "json"):
        text = corpus.text(kind, 4_000, 20_000)
        for role in ("system", "developer", "user", "assistant"):
            messages: list[Message] = [{"role": role, "content": text}, *_ended()]
            corpus.add(f"long-{role}-{kind}", messages)
        block = [{"type": "text", "text": text}]
        for role in ("user", "assistant"):
            messages = [{"role": role, "content": block}, *_ended()]
            corpus.add(f"long-{role}-{kind}-block", messages)


def _unusual(corpus: _Corpus) -> None:
    log = corpus.text("log", 3_000, 12_000)
    rows = corpus.text("json", 3_000, 12_000)
    call = corpus.call("run_command", log)
    old = functools.partial(_history, "openai", [call])

    def put(name: str, *messages: Message, end: bool = True) -> None:
        corpus.add(f"unusual-{name}", [*messages, *(_ended() if end else [])])

    put("tiny", {"role": "user", "content": "hi"}, end=False)
    put("only-system", {"role": "system", "content": "You are an agent."}, end=False)
    put("only-tool", {"role": "tool", "tool_call_id": "nobody", "content": log}, end=False)
    put("empty-strings", {"role": "user", "content": ""}, {"role": "assistant", "content": ""})
    put("empty-list", {"role": "user", "content": []}, {"role": "assistant", "content": []})
    put("blank", {"role": "tool", "tool_call_id": "x", "content": " \n \n" * 400})
    put("no-content", {"role": "user"}, {"role": "assistant"})
    put("null-content", {"role": "user", "content": None}, *old())
    put("unknown-role", {"role": "critic", "content": log}, *old())
    put("unknown-role-blocks", {"role": "critic", "content": [{"type": "text", "text": log}]})
    put("unmatched-result", {"role": "tool", "tool_call_id": "nobody", "content": rows})
    put("no-call-id", {"role": "tool", "content": rows})
    put("tool-name-on-result", {"role": "tool", "name": "Read", "content": rows})
    put("function-role", {"role": "function", "name": "list_rows", "content": rows})
    put("function-role-log", {"role": "function", "name": "run", "content": log})
    put("function-retrieve", {"role": "function", "name": "headroom_retrieve", "content": log})
    put("function-blocks", {"role": "function", "name": "run", "content": _parts(log, 1)})
    put("null-tool-calls", {"role": "assistant", "content": "Yes.", "tool_calls": None}, *old())
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}}
    put("function-call", called, {"role": "function", "name": "f", "content": rows})

    fields: dict[str, Any] = {"x_trace": {"id": 7, "ünï": [1.5, None]}, "name": "ci", "weight": 1}
    messages = old()
    messages[2].update(fields)
    corpus.add("unusual-unknown-fields-openai", messages)
    messages = _with_content(call, "anthropic", log, **fields)
    corpus.add("unusual-unknown-fields-anthropic", messages)

    put("content-number", {"role": "user", "content": 12}, *old())
    put("content-object", {"role": "user", "content": {"text": "hi"}}, *old())
    put("list-of-strings", {"role": "user", "content": ["hi", "there"]}, *old())
    put("unknown-blocks", {"role": "user", "content": [{"type": "audio", "data": log}]}, *old())
    put("block-without-type", {"role": "user", "content": [{"text": log}]}, *old())
    put("image-user", {"role": "user", "content": [_image(), {"type": "text", "text": "See."}]})
    thought = {"type": "thinking", "thinking": corpus.text("prose"), "signature": "c2ln"}
    put("thinking", {"role": "assistant", "content": [thought, {"type": "text", "text": "Go."}]})
    put("same-id-twice", *old()[:3], *old()[:3])

    for name, content in (("null", None), ("empty", ""), ("empty-list", []), ("number", 3)):
        for shape in _SHAPES:
            corpus.add(f"unusual-result-{name}-{shape}", _with_content(call, shape, content))
    mixed = [{"type": "text", "text": log}, "plain", {"type": "text"}]
    corpus.add("unusual-result-mixed-list", _with_content(call, "anthropic", mixed))

    scripts = {
        "cjk": "二〇二五年三月一日 INFO サービス: 要求を処理しました（番号 {n}）中文字符",
        "emoji": "2025-03-01 10:00:{n:02} INFO deploy 🚀 step {n} ✅ done 👩‍💻",
        "rtl": "2025-03-01 10:00:{n:02} WARN خدمة بطيئة {n} שלום",
        "ansi": "\x1b[32m2025-03-01 10:00:{n:02} INFO\x1b[0m step {n} finished\r",
        "controls": "2025-03-01 10:00:{n:02} INFO \x00\x07 step {n} \u2028 \ufeff end",
    }
    for name, line in scripts.items():
        text = "\n".join(line.format(n=number % 60) for number in range(150))
        for shape in _SHAPES:
            history = _history(shape, [corpus.call("run_command", text)])
            corpus.add(f"unusual-text-{name}-{shape}", history)
    lines = {
        "one-long-line": "x" * 15_000,
        "base64": _PIXEL * 80,
        "repeated-line": "2025-03-01 10:00:00 INFO heartbeat\n" * 400,
        "windows-lines": log.replace("\n", "\r\n"),
        "no-last-newline": log.rstrip("\n"),
        "json-scalar": '"' + "word " * 900 + '"',
        "json-numbers": str(list(range(2_500))),
        "json-broken": rows[:-2],
        "json-after-line": f"Exit code: 0\n{rows}",
        "log-then-json": f"{log}\n{rows}",
        "fenced": f"Here it is:\n\n```json\n{rows}\n```\n\nThat is all.",
        "tags": f"<report>\n{log}\n</report>",
    }
    for name, text in lines.items():
        history = _history("openai", [corpus.call("run_command", text)])
        corpus.add(f"unusual-text-{name}", history)


def _whole_sessions(corpus: _Corpus) -> None:
    for shape in _SHAPES:
        for turns in (1, 4, 9):
            corpus.add(f"session-{turns}-turns-{shape}", session(7_000 + turns, turns, shape))
        messages = session(7_100, 6, shape)
        corpus.add(f"session-ends-with-result-{shape}", messages[:-1])
        messages = session(7_200, 5, shape, fresh=(2_000, 6_000))
        corpus.add(f"session-small-blocks-{shape}", messages)
