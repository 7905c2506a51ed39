"""The lines that stay in sight whatever an engine chose, by what the text is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence

from shared.content import Kind

from .headings import of_commits
from .line_kinds import Kinds, kinds_of
from .log_entries import with_entries
from .outliers import extremes, spelled_otherwise
from .search_lines import shows_code_around

_ENDS = {"log": 6, "test_run": 8, "search": 6, "listing": 20, "table": 20}
_MOST_ERRORS = 0.5
"""Share of lines that are errors from which a text is all errors: it stays whole."""
_RARE, _FEW = 2, 0.1
"""Lines of a kind up to which it is rare, and the share of such lines up to which they are few."""
_BAD_WORDS = (
    "err", "fail(?:s|ed|ure|ures|ing)?", "fatal", "panic(?:ked)?", "critical", "severe", "alert",
    "emerg", "traceback", "caused by", "denied", "refused", "time[d-]? ?out", "timeout",
    "reject(?:ed|s)?", "abort(?:ed)?", "killed", r"oom\w*", "segfault", "unhandled", r"corrupt\w*",
    r"crash\w*", "unreachable", "unavailable", "invalid", "missing", "not found", "cannot", "can't",
    "could not", "unable to", "segmentation", "core dumped", "sig(?:segv|kill|abrt|bus)",
    r"deadlock\w*", "no such file", "no space left", "connection reset", "broken pipe",
    "unauthori[sz]ed", "forbidden", r"violat\w+", "undefined", r"mismatch\w*", "unexpected",
    "unknown", "expired", "degraded", "unmet", r"conflict\w*", "both modified",
    "roll(?:ed|ing) back", r"exit(?:ed)?(?: with)?(?: code| status)?[ :=]*\(?[1-9]\d*",
    r"status=[1-9]\d?", r"e\d{3,4}", "e(?:conn|no|acc|perm|pipe|resolve|timedout|addr)[a-z]*",
)  # fmt: skip
"""Each with a word's end behind it."""
_BAD_BEGUN = (
    "fail",
    # A server's own failure, as clients say it.
    *(rf"{word}(?:_code|code)?[\"']?[=: ]+\"?5\d\d\b" for word in ("status", "code", "http")),
    *(rf"{word} \S+ 5\d\d\b" for word in ("get", "post", "put", "patch", "delete", "head")),
)


def _any_of(words: Iterable[str]) -> str:
    """Return the pattern of any of ``words``; those with one first letter stand together.

    So most of them are ruled out at once: it takes half the time.
    """
    rests: dict[str, list[str]] = defaultdict(list)
    for word in words:
        rests[word[0]].append(word[1:])
    found = [f"{first}(?:{'|'.join(those)})" for first, those in rests.items()]
    return f"(?:{'|'.join(found)})"


_BAD = re.compile(r"\b" + _any_of([*[word + r"\b" for word in _BAD_WORDS], *_BAD_BEGUN]))
"""Sought in a line in lower case: that is three times as fast as ignoring case. All of it begins at
the beginning of a word: that is twice as fast as where some may begin anywhere."""
_BAD_WITHIN = re.compile(
    r"errors?\b|exception\b|[✗✘×❯]|crashloop|backoff|evicted|unhealthy|notready|out of memory"
    r"|(?:\" |http/[\d.]+\"? )5\d\d\b"  # as access logs say it
    r"|=> \[[45]\d\d\]"  # as browsers' tools say it
    r"|(?<=\s)0/[1-9]\d? +(?!completed|\d)"
)
_ABROAD = ("fehler", "fehlgeschlagen", "abgelehnt", "verweigert", "erreur", "errore ")
"""Failures in languages that are written with English letters mostly."""
_OF_BAD_WITHIN = (
    *_ABROAD,
    "error", "exception", "✗", "✘", "×", "❯", "crashloop", "backoff", "evicted", "unhealthy",
    "notready", "out of memory", '" 5', "http/", "0/", "=> [",
)  # fmt: skip
"""Each match of :data:`_BAD_WITHIN` has one of these."""
_COUNTED = r"(?:err(?:or)?s?|exceptions?|fail(?:ed|ures?)?|reject(?:ed|s)|unreachable|timed_?out)"
_LEVEL = re.compile(
    r"[\d: .-]{18,}+(?<= )[ef] [\w$.]+ *:|[ef]/[\w$.]+ *\( *\d+\):|[ef]\d{4} \d\d:\d\d:"
)
"""An error's letter where a log says the level by one, as Android's and Kubernetes' do."""
_HARMLESS = re.compile(
    rf"\b(?:0|no) (?:errors?|failures?|failed)|{_COUNTED}(?:_[a-z_]+)?[=:] ?0\b(?!\.\d*[1-9])"
    rf'|"(?:\w+_)?{_COUNTED}(?:_[a-z_]+)?" ?: ?(?:null|false|0(?![.\d])|""|\[\]|\{{\}})'
)
"""A count of failures that is none."""
_BAD_ELSEWHERE = re.compile(
    "错误|失败|异常|拒绝|超时|エラー|失敗|例外|拒否|오류|실패|ошибк|сбой|отказ|échec|échou|refusé"
    "|übersch|ungültig|falló|inválid|błąd"
)
"""The same in lines with letters that English has not."""
_WARN = re.compile(r"\bwarn(?:ing|ings|ed)?\b|\bdeprecat\w+", re.I)
_TOTAL = re.compile(
    r"(?<!\w)\d+ (?:passed|failed|skipped|errors?|failures?|warnings?|tests?|examples?)\b"
    r"|(?<!\w)\d+ (?:passing|failing)\b"
    r"|\b(?:total|summary|duration|finished|completed|done|result|exit(?:ed)?|took|elapsed|coverage)\b",
    re.I,
)
_FRAME = re.compile(
    r"\s+at [\w.$<>/\[\]]+|\s+File \".*\", line \d+|\s+\.\.\. \d+ (?:more|common)"
    r"|\s+\S+\.(?:go|rs|c|cc|cpp|rb|php|ex|exs):\d+|\s+from \S+:\d+|\s+\^+\s*$|\s+~+\^*"
    r"|\t\S+\(.*\)|[\w./*()-]+\(0x[0-9a-f, x.]+\)$|\s+\d+: +(?:0x)?\w+|\s+[│|]\s"
)
_PREFIXED_FRAME = ("\tat ", "     at ", '  File "/')
"""What a frame has behind the time, or the container, that a log puts before each line."""
_PASSED = re.compile(
    r"\s*(?:[✓✔√]|PASS(?:ED)?\b|ok\b|--- PASS|=== (?:RUN|PAUSE|CONT)|\S+::\S+ PASSED"
    r"|test \S.* \.\.\. ok|\[ +(?:RUN|OK) +\]|Passed \S+"
    r"|Start +\d+: \S+$|\d+/\d+ Test +#\d+: \S+ .*Passed\b|Test Case '.*' (?:passed|started)\b"
    r"|\S+\.py \.+ +\[ *\d+%\]|\[INFO\]|\.+ *(?:\[ *\d+%\])?$|RUNS\b|.*\bPASSED\b)"
)
_NOT_ALL = re.compile(
    r"#\s*(?:skip|todo)\b|\b[1-9]\d* (?:skipped|todo|pending|disabled|ignored|flaky|retri)"
    r"|\b(?:skipped|ignored|disabled|retries)[:=] ?[1-9]"
    r"|\((?:skip|retry|flak|pending|todo)|\*{3}\w",
    re.I,
)
"""What a line says of tests that did not simply pass, among others that did."""
_TIMED = re.compile(r"\d ?(?:m?s|sec)[\])]?(?:\s|$)")
"""How long something took: a result says it, a heading does not."""
_TOOK = re.compile(r"(?<![\w.])(\d{1,9}(?:\.\d+)?) ?(ms|s|sec|seconds?)\b")
_LEAST_TIMED, _MUCH_LONGER = 8, 3
_TOLD = re.compile(r"\[INFO\] +\S")
"""What a build says among its tests: Maven writes all that did not fail in this way."""
_CUT = re.compile(
    r"\b\d[\d,]* (?:more )?(?:char(?:acter)?s?|lines?|tokens?|bytes|rows?)\b.{0,20}"
    r"\b(?:truncated|elided|omitted|cut|removed|hidden|not shown)\b"
    r"|</?elided_chars>|\boutput (?:was |is )?truncated\b",
    re.I,
)
"""What a harness or a program writes where it has left something out itself."""
_HEAD = re.compile(r"\s*(?:#{1,6} |={3,}|-{4,}|[A-Z][A-Z ]{4,}$)")
_HIT = re.compile(r".+?(?::\d+)?:")


def must_see(lines: Sequence[str], kind: Kind, kinds: Kinds | None = None) -> set[int] | None:
    """Return the numbers of the lines that stay; None where the whole text is to be seen.

    ``kinds`` are those of the lines, for a caller that asks for them too.
    """
    found = _by_kind(lines, kind, kinds)
    if found is None:
        return None
    return found | {place for place, line in enumerate(lines) if _CUT.search(line)}


def _by_kind(lines: Sequence[str], kind: Kind, kinds: Kinds | None) -> set[int] | None:
    if kind == "diff":
        return _of_diff(lines)
    if kind in ("markdown", "prose"):
        return {0, len(lines) - 1}
    if kind == "code":
        return _ends(lines, 10)
    if kind == "search":
        return _of_search(lines)
    if kind == "test_run":
        return _of_test_run(lines)
    return _of_entries(lines, kind, kinds or Kinds(lines))


def _ends(lines: Sequence[str], count: int) -> set[int]:
    full = [place for place, line in enumerate(lines) if line.strip()]
    return {*full[:count], *full[-count:]}


def is_bad(line: str) -> bool:
    """Return whether a line tells of a failure."""
    low = line.lower()
    return _is_bad(low) and _is_bad(_HARMLESS.sub(" ", low))


def _is_bad(low: str) -> bool:
    if _BAD.search(low) or _LEVEL.match(low):
        return True
    if not low.isascii() and _BAD_ELSEWHERE.search(low):
        return True
    within = any(map(low.__contains__, _OF_BAD_WITHIN))
    return within and (_BAD_WITHIN.search(low) is not None or any(map(low.__contains__, _ABROAD)))


def _of_entries(lines: Sequence[str], kind: Kind, known: Kinds) -> set[int] | None:
    """Logs, listings, tables: ends, errors, traces' heads and causes, each kind of line."""
    kept = _ends(lines, _ENDS.get(kind, 12))
    frames = _frames(lines)
    bad = {p for p, line in enumerate(lines) if p not in frames and is_bad(line)}
    if len(bad) > _MOST_ERRORS * len(lines):
        return None
    kept |= bad | _around_frames(lines, frames)
    kinds = known.of_lines
    count = Counter(kinds)
    if kind not in ("log", "table", "listing") and len(count) > len(lines) / 4:
        return None  # nothing repeats: every line says something else
    kept |= _each_kind(lines, kinds, count)
    kept |= extremes(lines, kinds, smallest=kind in ("table", "log"))
    kept |= spelled_otherwise(lines, kinds)
    if kind == "listing":
        kept |= of_commits(lines)
    warned = [p for p, line in enumerate(lines) if _WARN.search(line)]
    if len(warned) <= len(lines) // 10:
        kept.update(warned)
    kept.update(
        p for p, line in enumerate(lines)
        if p not in frames and (_HEAD.match(line) or (count[kinds[p]] < 4 and _TOTAL.search(line)))
    )  # fmt: skip
    return kept


def _each_kind(lines: Sequence[str], kinds: list[str], count: Counter[str]) -> set[int]:
    """Return the first line of each kind, the last of frequent ones, and all of rare ones."""
    rare = [p for p, k in enumerate(kinds) if lines[p].strip() and count[k] <= 2]
    kept = set(rare) if len(rare) <= len(lines) // 4 else set()
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for place, kind in enumerate(kinds):
        first.setdefault(kind, place)
        last[kind] = place
    kept.update(first.values())
    kept.update(last[kind] for kind in first if count[kind] > 2)
    return kept


def standing_out(lines: Sequence[str]) -> set[int]:
    """Return the lines with the largest numbers of their kind, and those of rare kinds, if few."""
    kinds = kinds_of(lines)
    count = Counter(kinds)
    rare = {place for place, kind in enumerate(kinds) if count[kind] <= _RARE}
    few = rare if len(rare) <= _FEW * len(lines) else set()
    return few | extremes(lines, kinds, smallest=False)


def whole_entries(lines: Sequence[str], kept: Collection[int]) -> set[int]:
    """Return the ``kept`` lines of a log with those without which they say something else."""
    frames = _frames(lines)
    return with_entries(lines, kept, {place for place in kept if is_bad(lines[place])}, frames)


def _frames(lines: Sequence[str]) -> set[int]:
    """Return the frames of stack traces."""
    return {
        place
        for place, line in enumerate(lines)
        if _FRAME.match(line) or any(map(line.__contains__, _PREFIXED_FRAME))
    }


def in_traces(lines: Sequence[str]) -> set[int]:
    """Return the lines of stack traces: frames, with the source lines below them."""
    frames = _frames(lines)
    sources = {
        place + 1 for place in frames if place + 1 < len(lines) and lines[place + 1][:4] == "    "
    }
    return frames | sources


def _around_frames(lines: Sequence[str], frames: set[int]) -> set[int]:
    """Return what tells a stack trace: lines around its frames, the first and the last frame."""
    kept: set[int] = set()
    place = 0
    while place < len(lines):
        if place not in frames:
            place += 1
            continue
        end = place
        # A frame's source line stands below it, deeper in.
        while end < len(lines) and (
            end in frames or (lines[end][:4] == "    " and end - 1 in frames)
        ):
            end += 1
        kept.update(range(max(0, place - 2), place + 2))
        kept.update(range(max(place, end - 2), min(len(lines), end + 2)))
        place = end
    return kept


def _of_test_run(lines: Sequence[str]) -> set[int] | None:
    """Return all but passed tests and the middles of stack traces."""
    frames = _frames(lines)
    passed = {
        p for p, line in enumerate(lines)
        if _PASSED.match(line) and not (is_bad(line) or _NOT_ALL.search(line))
    }  # fmt: skip
    blank = {
        p for p, line in enumerate(lines)
        if not line.strip() and (p == 0 or p - 1 in passed or not lines[p - 1].strip())
    }  # fmt: skip
    of_passed, of_others = _headings(lines, passed, blank)
    kept = set(range(len(lines))) - frames - (passed - of_others) - blank - of_passed
    kept |= _around_frames(lines, frames) | _ends(lines, 6)
    kept.update(p for p in passed if _TOTAL.search(_behind(lines[p])) and "ms" not in lines[p])
    kept |= _slowest(lines, passed)
    first = next(iter(sorted(passed)), None)
    told = [place for place in sorted(passed) if _TOLD.match(lines[place])]
    kinds = kinds_of([lines[place] for place in told])
    count = Counter(kinds)
    seen: set[str] = set()
    for place, name in zip(told, kinds, strict=True):
        if name not in seen or count[name] <= _RARE:
            kept.add(place)
        seen.add(name)
    return kept if first is None else kept | {first}


def _behind(line: str) -> str:
    """Return what a line says behind that a test passed."""
    found = _PASSED.match(line)
    return line[found.end() :] if found is not None else line


def _slowest(lines: Sequence[str], passed: Collection[int]) -> set[int]:
    """Return which of ``passed`` tests took much longer than any other."""
    took = sorted(
        (float(found[1]) / (1000 if found[2] == "ms" else 1), place)
        for place in passed
        if (found := _TOOK.search(lines[place])) is not None
    )
    if len(took) < _LEAST_TIMED or took[-1][0] < _MUCH_LONGER * took[-2][0]:
        return set()
    return {took[-1][1]}


def _headings(lines: Sequence[str], passed: set[int], blank: set[int]) -> tuple[set[int], set[int]]:
    """Return the headings of passed tests only, and passed lines that head others.

    A heading's tests are deeper in, and begin right below it: a warning has an empty line below it.
    Without its tests it would seem to belong to the file above it; without its heading, what a
    passed file printed would.
    """
    only_passed: set[int] = set()
    others: set[int] = set()
    around: list[tuple[int, int]] = []
    """The lines around this one, each with its indentation."""
    heads: set[int] = set()
    """Lines with others below them that are deeper in."""
    mixed: set[int] = set()
    """Those of them that have other lines than passed ones below them."""

    def close(indent: int) -> None:
        while around and around[-1][1] >= indent:
            place, _ = around.pop()
            is_passed = place in passed
            if place in heads and not (place in mixed or is_passed or _says_more(lines[place])):
                only_passed.add(place)
                is_passed = True
            elif is_passed and place in mixed:
                others.add(place)
            if around and (place in mixed or not is_passed):
                mixed.add(around[-1][0])

    for place, line in enumerate(lines):
        if place in blank or not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        close(indent)
        if around and around[-1][0] == place - 1:
            heads.add(place - 1)
        around.append((place, indent))
    close(0)
    return only_passed, others


def _says_more(line: str) -> bool:
    """Return whether a line is more than the heading of tests: a failure, a warning, a result."""
    return is_bad(line) or any(p.search(line) for p in (_WARN, _NOT_ALL, _TIMED))


def _of_search(lines: Sequence[str]) -> set[int] | None:
    """Return the matches without the lines around them; of a file with many, the first and last.

    And those that stand out of all matches. Where the lines around them were asked for, all stay.
    """
    if shows_code_around(lines):
        return None
    hits: dict[str, list[int]] = defaultdict(list)
    found_texts: dict[int, str] = {}
    kept = _ends(lines, _ENDS["search"])
    for place, line in enumerate(lines):
        found = _HIT.match(line)
        if found is None:
            continue
        hits[line.split(":", 1)[0]].append(place)
        found_texts[place] = line[found.end() :]
        if is_bad(line):
            kept.add(place)
    for places in hits.values():
        kept.update(places[:8])
        kept.update(places[-2:])
    places, texts = list(found_texts), list(found_texts.values())
    odd = standing_out(texts) | spelled_otherwise(texts, kinds_of(texts))
    return kept | {places[number] for number in odd}


def _of_diff(lines: Sequence[str]) -> set[int]:
    """Return all changed lines, all headers, and what stands outside of hunks."""
    kept = _ends(lines, 4)
    inside = False
    for place, line in enumerate(lines):
        if line.startswith("@@ "):
            inside = True
        elif line.startswith(("diff ", "commit ")):
            inside = False
        if not inside or line.startswith("@@ ") or line[:1] in ("+", "-", "\\"):
            kept.add(place)
    near = {p + d for p in kept if lines[p][:1] in ("+", "-") for d in (-2, -1, 1, 2)}
    return kept | {p for p in near if 0 <= p < len(lines)}
