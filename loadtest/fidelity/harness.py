"""What the harnesses of coding agents wrap around a command's output."""

from __future__ import annotations

import json
import random

from .sample import Maker, Sample, clock, ends, name, word


def _log(pick: random.Random, size: int) -> list[str]:
    return [f"2026-05-04 {clock(n)} INFO copied {name(pick)} {n}" for n in range(size)]


def _sample(title: str, head: str, lines: list[str], tail: str) -> Sample:
    wrapped = [line for part in (head, tail) for line in part.split("\n") if line.strip()]
    text = head + "\n".join(lines) + tail
    return Sample(f"envelope of {title}", "log", "./copy.sh", text, (*wrapped, *ends(lines)))


def codex(pick: random.Random, size: int) -> Sample:
    """Return what Codex wraps around a failed command's log."""
    code = pick.randrange(1, 99)
    head = f"Exit code: {code}\nWall time: {pick.randrange(90)}.4 seconds\nOutput:\n"
    return _sample("Codex", head, _log(pick, size), "")


def claude(pick: random.Random, size: int) -> Sample:
    """Return what Claude Code puts before and behind a failed command's log."""
    head = f"Error: Exit code {pick.randrange(1, 99)}\n"
    tail = f"\n\n<system-reminder>\nDo not touch the {word(pick)} {name(pick)}.\n</system-reminder>"
    return _sample("Claude Code", head, _log(pick, size), tail)


def swe_agent(pick: random.Random, size: int) -> Sample:
    """Return mini-SWE-agent's observation."""
    head = f"<returncode>{pick.randrange(1, 99)}</returncode>\n<output>\n"
    return _sample("SWE-agent", head, _log(pick, size), "\n</output>")


def openhands(pick: random.Random, size: int) -> Sample:
    """Return OpenHands' observation."""
    tail = (
        f"\n[The command completed with exit code {pick.randrange(1, 99)}.]\n"
        f"[Current working directory: /workspace/{name(pick)}]\n"
        "[Python interpreter: /usr/bin/python]"
    )
    return _sample("OpenHands", "", _log(pick, size), tail)


def quoted(pick: random.Random, size: int) -> Sample:
    """Return a log quoted in JSON beside its exit code."""
    lines = _log(pick, size)
    code = pick.randrange(1, 99)
    text = json.dumps({"output": "\n".join(lines), "metadata": {"exit_code": code}})
    must = (f'"metadata": {{"exit_code": {code}}}', *ends(lines))
    return Sample("envelope in JSON", "log", "./copy.sh", text, must)


HARNESSES: tuple[Maker, ...] = (codex, claude, swe_agent, openhands, quoted)
