"""Tables and listings: cluster, database, processes, files, commits."""

from __future__ import annotations

import random

from .sample import Maker, Sample, clock, ends, hexes, name, word


def kubectl(pick: random.Random, size: int) -> Sample:
    """Return pods of which a few are not well."""
    lines = [f"{'NAMESPACE':<12}{'NAME':<44}{'READY':<8}{'STATUS':<20}{'RESTARTS':<10}AGE"]
    must = [lines[0]]
    for n in range(size):
        state = "Running" if pick.random() > 0.03 else "CrashLoopBackOff"
        pod = f"{word(pick)}-{word(pick)}-{hexes(pick, 10)}-{hexes(pick, 5)}"
        line = f"{word(pick):<12}{pod:<44}{'1/1':<8}{state:<20}{n % 5:<10}{n % 30}d"
        lines.append(line)
        if state != "Running":
            must.append(line)
    return Sample("kubectl get pods", "table", "kubectl get pods -A", "\n".join(lines),
                  tuple(must))  # fmt: skip


def psql(pick: random.Random, size: int) -> Sample:
    """Return a query's result with its count of rows."""
    lines = [
        " id   | owner            | state   | amount",
        "------+------------------+---------+--------",
    ]
    lines += [f" {n:<4} | {name(pick):<16} | {pick.choice(['open', 'paid']):<7} | {n * 3.25:.2f}"
              for n in range(size)]  # fmt: skip
    lines.append(f"({size} rows)")
    return Sample("psql", "table", "psql -c 'select * from invoices'", "\n".join(lines),
                  (lines[0], lines[-1], lines[2], lines[-2]))  # fmt: skip


def processes(pick: random.Random, size: int) -> Sample:
    """Return ``ps aux`` with one process that takes all of the processor."""
    lines = ["USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND"]
    lines += [f"{word(pick):<10} {200 + n:>5}  {pick.randrange(9) / 10:.1f}  0.{n % 9} {9000 + n:>6} "
              f"{400 + n:>5} ?        Ss   08:{n % 60:02d}   0:00 /usr/sbin/{word(pick)}d -n {n}"
              for n in range(size)]  # fmt: skip
    hot = f"{'runaway':<10} 66666 398.7 61.2 999999 88888 ?        R    08:00  91:12 /opt/{name(pick)}"
    lines.insert(size // 2, hot)
    return Sample("ps aux", "table", "ps aux", "\n".join(lines), (lines[0], hot))


def files(pick: random.Random, size: int) -> Sample:
    """Return ``ls -l``."""
    lines = [f"total {size * 4}"]
    lines += [f"-rw-r--r-- 1 root staff {pick.randrange(200, 90000):>8} May  4 {clock(n)[:5]} {name(pick)}_{n}.py"
              for n in range(size)]  # fmt: skip
    return Sample("ls -l", "listing", "ls -l src", "\n".join(lines), ends(lines))


def sizes(pick: random.Random, size: int) -> Sample:
    """Return ``du`` with the total at the end."""
    lines = [
        f"{pick.randrange(4, 9000)}\t./data/{word(pick)}/{name(pick)}/{n}" for n in range(size)
    ]
    lines.append("882114\t./data")
    return Sample("du", "listing", "du data", "\n".join(lines), ends(lines))


def found(pick: random.Random, size: int) -> Sample:
    """Return ``find``'s paths, and one folder it could not read."""
    lines = [f"./pkg/{word(pick)}/{word(pick)}/{name(pick)}_{n}.ts" for n in range(size)]
    bad = f"find: './pkg/{word(pick)}/private': Permission denied"
    lines.insert(size // 2, bad)
    return Sample("find", "listing", "find . -name '*.ts'", "\n".join(lines), (bad, *ends(lines)))


def tree(pick: random.Random, size: int) -> Sample:
    """Return ``tree`` with its totals."""
    lines = ["."]
    for n in range(size):
        lines.append(f"│   ├── {name(pick)}_{n}.go" if n % 9 else f"├── {word(pick)}{n}")
    lines += ["", f"{size // 9} directories, {size - size // 9} files"]
    return Sample("tree", "listing", "tree", "\n".join(lines), (lines[-1],))


def oneline(pick: random.Random, size: int) -> Sample:
    """Return commits, one a line."""
    lines = [f"{hexes(pick, 7)} {pick.choice(['Add', 'Fix', 'Do not log'])} the {word(pick)} of "
             f"{name(pick)} (#{size - n})" for n in range(size)]  # fmt: skip
    return Sample("git log --oneline", "listing", "git log --oneline -400", "\n".join(lines),
                  ends(lines))  # fmt: skip


def commits(pick: random.Random, size: int) -> Sample:
    """Return whole commit messages."""
    lines = []
    for n in range(size // 6):
        lines += [f"commit {hexes(pick, 40)}", f"Author: {word(pick)} <{word(pick)}@example.org>",
                  f"Date:   Mon May 4 {clock(n)} 2026 +0000", "",
                  f"    Move the {word(pick)} to {name(pick)}", ""]  # fmt: skip
    return Sample("git log", "listing", "git log", "\n".join(lines), (lines[0], lines[-2]))


def stat(pick: random.Random, size: int) -> Sample:
    """Return ``git diff --stat`` with its total."""
    lines = [f" src/{word(pick)}/{name(pick)}_{n}.rs | {n % 40:>3} {'+' * (n % 9)}{'-' * (n % 5)}"
             for n in range(size)]  # fmt: skip
    lines.append(f" {size} files changed, 4411 insertions(+), 902 deletions(-)")
    return Sample(
        "git diff --stat", "listing", "git diff --stat main", "\n".join(lines), (lines[-1],)
    )


def status(pick: random.Random, size: int) -> Sample:
    """Return ``git status`` with a conflict."""
    bad = f"\tboth modified:   src/{name(pick)}.py"
    lines = ["On branch harbour", "You have unmerged paths.", "", "Unmerged paths:", bad, "",
             "Untracked files:", *[f"\tout/{name(pick)}_{n}.bin" for n in range(size)], "",
             'no changes added to commit (use "git add" and/or "git commit -a")']  # fmt: skip
    return Sample("git status", "listing", "git status", "\n".join(lines),
                  (lines[0], lines[1], bad, lines[-1]))  # fmt: skip


def blame(pick: random.Random, size: int) -> Sample:
    """Return ``git blame`` of a program."""
    lines = [f"{hexes(pick, 8)} ({word(pick):<8} 2026-05-04 {clock(n)} +0000 {n:>4})     if not "
             f"{name(pick)}({n}):" for n in range(size)]  # fmt: skip
    return Sample(
        "git blame", "code", "git blame src/harbour.py", "\n".join(lines), ends(lines), True
    )


def coverage(pick: random.Random, size: int) -> Sample:
    """Return a coverage table with its total."""
    lines = ["Name                              Stmts   Miss  Cover   Missing", "-" * 66]
    lines += [f"src/{name(pick)}_{n}.py{'':<12}{n % 300:>6}{n % 40:>7}{100 - n % 40:>6}%   {n}-{n + 4}"
              for n in range(size)]  # fmt: skip
    lines += ["-" * 66, "TOTAL                             99412   8121    92%"]
    return Sample("coverage report", "table", "coverage report -m", "\n".join(lines),
                  (lines[0], lines[-1]))  # fmt: skip


def prometheus(pick: random.Random, size: int) -> Sample:
    """Return a process's metrics."""
    lines = []
    for n in range(size // 5):
        metric = f"harbour_{name(pick)}_{n}"
        lines += [f"# HELP {metric} Number of {word(pick)}s.", f"# TYPE {metric} counter"]
        lines += [f'{metric}{{code="{code}"}} {pick.randrange(99999)}' for code in (200, 404, 500)]
    return Sample(
        "metrics", "table", "curl -s localhost:9100/metrics", "\n".join(lines), ends(lines)
    )


def csv(pick: random.Random, size: int) -> Sample:
    """Return a table with quoted cells."""
    lines = ["id,owner,city,amount,note"]
    lines += [f'{n},{name(pick)},"{word(pick)}, north",{n * 7.5},"not ""{word(pick)}"""'
              for n in range(size)]  # fmt: skip
    return Sample("CSV", "table", "cat export.csv", "\n".join(lines), ends(lines))


TABLES: tuple[Maker, ...] = (
    kubectl, psql, processes, files, sizes, found, tree, oneline, commits, stat, status, blame,
    coverage, prometheus, csv,
)  # fmt: skip
