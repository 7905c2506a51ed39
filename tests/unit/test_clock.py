"""Only the listed modules read their machine's wall clock."""

from __future__ import annotations

import re
from pathlib import Path

SOURCES = Path(__file__).parents[2]
SHOWN = {
    "api/accounting": "when a request was, as its report shows it",
    "api/pipeline/dispatch_jobs.py": "when a job was made, as RQ's tools show it",
    "api/runtime/policy_reload.py": "since when a policy is in force, as /readyz shows it",
    "shared/bypass.py": "since when the switch is on, as its message shows it",
}
"""Allowed modules: they only display the time, and never compare it with another machine's."""


def test_reads_wall_clock_only_for_display() -> None:
    found = {
        str(path.relative_to(SOURCES))
        for folder in ("api", "workers", "shared", "deploy")
        for path in (SOURCES / folder).rglob("*.py")
        if re.search(r"\btime\.time\(|\btime_ns\(|datetime\.(now|utcnow)\(", path.read_text())
    }
    strangers = {path for path in found if not path.startswith(tuple(SHOWN))}
    assert not strangers
    assert found  # the pattern still means something
