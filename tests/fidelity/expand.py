"""Expands rows using only their notes, as a reader would; uses none of the farm's code."""

from __future__ import annotations

import re

FIRST = re.compile(r"\[\.\.\. rows (\d+): (\d+) (?:lines?|blocks?).*\.\.\.\]")
HIGH = re.compile(r"blocks? (?:is|are) like the next (\d+) lines")
PARTED = re.compile(r'parted by "(.)"')
AGAIN = re.compile(r"\[\.\.\. rows (\d+) again: (\d+), .*\.\.\.\]")
NAMED = re.compile(r"\[\.\.\. rows by name: the next (\d+) lines? .*\.\.\.\]")
PLACE = re.compile(r"\{([<>=]?)(\d*)\}")


def expanded(text: str) -> str:
    """Return ``text`` with its rows replaced by the lines that they represent."""
    lines = iter(text.split("\n"))
    frames: dict[str, tuple[str, str]] = {}
    out: list[str] = []
    named: dict[str, str] = {}
    for line in lines:
        names = NAMED.fullmatch(line)
        if names:
            said = [next(lines)[3:].split(" = ", 1) for _ in range(int(names[1]))]
            named = dict(said)
            continue
        row = re.match(r"\.\.\.(\w+)", line)
        if row and row[1] in named:
            out.append(_filled(named[row[1]], line[row.end() :][:1], line[row.end() + 1 :]))
            continue
        first, again = FIRST.fullmatch(line), AGAIN.fullmatch(line)
        if first:
            high, parted = HIGH.search(line), PARTED.search(line)
            frame = [next(lines)[3:] for _ in range(int(high[1]) if high else 1)]
            frames[first[1]] = ("\n".join(frame), parted[1] if parted else "")
        found = first or again
        if not found:
            out.append(line)
            continue
        frame_text, sign = frames[found[1]]
        left = int(found[2])
        if "{" not in frame_text:
            out += [frame_text] * left
            continue
        while left:
            row = next(lines)
            if row.startswith("..."):
                left -= 1
                row = _filled(frame_text, sign, row[3:])
            out.append(row)
    return "\n".join(out)


def whole_blame(text: str) -> str:
    """Return ``text`` with the commit, who and when at all lines of ``git blame``."""
    said: dict[str, str] = {}
    commit = ""
    out = []
    for line in text.split("\n"):
        if " (" in line and " +0000 " in line:
            commit = line.split(" ", 1)[0]
            said[commit] = line[: line.index(" +0000 ") + len(" +0000")]
        elif line.startswith("..."):
            commit = line[3:].split(" ", 1)[0]
            line = said.get(commit, "") + line[3:].removeprefix(commit)
        elif line.startswith(" ") and commit:
            line = said.get(commit, "") + line
        out.append(line)
    return "\n".join(out)


def _filled(frame: str, sign: str, row: str) -> str:
    count = sum(1 for kind, _ in PLACE.findall(frame) if kind != "=")
    values = row.split(sign, count - 1) if sign else [row]
    fresh = iter(values)

    def fill(place: re.Match[str]) -> str:
        kind, number = place[1], place[2]
        if kind == "=":
            return values[int(number) - 1]
        value = next(fresh)
        if kind == ">":
            return " " * (int(number) - len(value)) + value
        return value + " " * (int(number) - len(value)) if kind == "<" else value

    return PLACE.sub(fill, frame)
