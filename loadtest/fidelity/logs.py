"""Logs of services, packages, containers and builds."""

from __future__ import annotations

import random

from .sample import Maker, Sample, clock, ends, hexes, word

_JAVA = """java.lang.IllegalStateException: pool {0} is closed
\tat org.harbour.Pool.take(Pool.java:118)
\tat org.harbour.Worker.run(Worker.java:44)
\tat org.harbour.Worker$Loop.step(Worker.java:61)
\tat java.base/java.lang.Thread.run(Thread.java:840)
Caused by: java.net.SocketTimeoutException: connect to {0}:5432 timed out after 3000 ms
\tat org.harbour.Net.open(Net.java:31)
\t... 3 more"""


def service(pick: random.Random, size: int) -> Sample:
    """Return a Java service's log with rare failures and one trace with its cause."""
    lines = []
    for n in range(size):
        unit, took = word(pick), pick.randrange(3, 480)
        lines.append(f"2026-05-04 {clock(n)},{pick.randrange(1000):03d} INFO  [{unit}-{n % 8}] "
                     f"served request id={hexes(pick, 12)} in {took} ms")  # fmt: skip
    must = []
    for n in range(3):
        line = (
            f"2026-05-04 {clock(n * 40)},001 ERROR [ledger] cannot write block {n}{hexes(pick, 6)}"
        )
        lines.insert(pick.randrange(5, len(lines) - 5), line)
        must.append(line)
    trace = _JAVA.format(word(pick)).split("\n")
    at = pick.randrange(5, len(lines) - 5)
    lines[at:at] = trace
    must += [trace[0], trace[5], *ends(lines)]
    return Sample("java service log", "log", "tail -5000 /srv/app/app.log", "\n".join(lines),
                  tuple(must))  # fmt: skip


def packages(pick: random.Random, size: int) -> Sample:
    """Return a package manager's log: one kind of line."""
    lines = [
        f"2026-02-11 {clock(n)} status installed lib{word(pick)}{n}:amd64 {n % 9}.{n % 31}-{n % 4}"
        for n in range(size)
    ]
    return Sample("dpkg log", "log", "cat /var/log/dpkg.log", "\n".join(lines), ends(lines))


def docker(pick: random.Random, size: int) -> Sample:
    """Return compose's joined logs of three services, coloured."""
    lines = []
    for n in range(size):
        unit = ("web", "worker", "cache")[pick.randrange(3)]
        lines.append(f"\x1b[3{n % 6 + 1}m{unit}-1  | \x1b[0m2026-05-04T{clock(n)}Z level=info "
                     f"msg=\"{word(pick)} handled\" shard={pick.randrange(16)}")  # fmt: skip
    bad = f'worker-1  | 2026-05-04T09:00:00Z level=error msg="shard {hexes(pick, 6)} lost"'
    lines.insert(size // 2, bad)
    return Sample("docker compose logs", "log", "docker compose logs", "\n".join(lines), (bad,))


def journal(pick: random.Random, size: int) -> Sample:
    """Return journalctl's output with an out-of-memory kill."""
    lines = [
        f"May 04 {clock(n)} harbour {word(pick)}d[{300 + n % 7}]: session {n} of uid {n % 40} opened"
        for n in range(size)
    ]
    bad = f"May 04 09:12:44 harbour kernel: Out of memory: Killed process 4711 ({word(pick)}d)"
    failed = (
        f"May 04 09:12:45 harbour systemd[1]: {word(pick)}.service: Failed with result 'oom-kill'."
    )
    lines[size // 3 : size // 3] = [bad, failed]
    return Sample("journalctl", "log", "journalctl -u harbour --no-pager", "\n".join(lines),
                  (bad, failed, *ends(lines)))  # fmt: skip


def access(pick: random.Random, size: int) -> Sample:
    """Return a web server's access log with a few server errors."""
    lines, must = [], []
    for n in range(size):
        status = 200 if pick.random() > 0.02 else 502
        line = (f"10.0.{n % 7}.{pick.randrange(255)} - - [04/May/2026:{clock(n)} +0000] \"GET /v1/"
                f"{word(pick)}/{pick.randrange(9000)} HTTP/1.1\" {status} {pick.randrange(90, 9000)}"
                f' "-" "curl/8.5.0"')  # fmt: skip
        lines.append(line)
        if status == 502:
            must.append(line)
    return Sample("nginx access log", "log", "tail -n 4000 /var/log/nginx/access.log",
                  "\n".join(lines), (*must, *ends(lines)))  # fmt: skip


def ndjson(pick: random.Random, size: int) -> Sample:
    """Return a log of JSON lines with failures."""
    lines, must = [], []
    for n in range(size):
        bad = pick.random() < 0.02
        level, message = ("error", f"upload {n} refused") if bad else ("info", f"{word(pick)} ok")
        line = (f'{{"ts":"2026-05-04T{clock(n)}Z","level":"{level}","msg":"{message}",'
                f'"span":"{hexes(pick, 16)}","ms":{pick.randrange(700)}}}')  # fmt: skip
        lines.append(line)
        if bad:
            must.append(f"upload {n} refused")
    return Sample("JSON lines log", "log", "kubectl logs deploy/web", "\n".join(lines), tuple(must))


def npm(pick: random.Random, size: int) -> Sample:
    """Return npm's log of an installation that failed."""
    lines = [f"npm http fetch GET 200 https://registry.example/{word(pick)}-{n} {n % 90}ms (cache hit)"
             for n in range(size)]  # fmt: skip
    bad = [
        "npm ERR! code ERESOLVE",
        f"npm ERR! Could not resolve dependency: peer {word(pick)}@^17.0.0 from {word(pick)}@2.1.4",
    ]
    lines += [*bad, f"npm ERR! A complete log of this run: /root/.npm/_logs/{hexes(pick, 8)}.log"]
    return Sample("npm install", "log", "npm install --loglevel http", "\n".join(lines),
                  (*bad, lines[-1]))  # fmt: skip


def cargo(pick: random.Random, size: int) -> Sample:
    """Return cargo's output: compiled crates, then one error with its source."""
    lines = [f"   Compiling {word(pick)}-{word(pick)} v0.{n}.{n % 7}" for n in range(size)]
    error = ["error[E0502]: cannot borrow `queue` as mutable because it is also borrowed",
             f"  --> src/{word(pick)}.rs:88:9", "   |", "88 |         queue.push(job);",
             "   |         ^^^^^^^^^^^^^^^ mutable borrow occurs here",
             "error: could not compile `harbour` (lib) due to 1 previous error"]  # fmt: skip
    return Sample("cargo build", "log", "cargo build 2>&1", "\n".join([*lines, *error]),
                  tuple(error))  # fmt: skip


def ci(pick: random.Random, size: int) -> Sample:
    """Return a build server's log with groups, a warning and a failed step."""
    lines = []
    for n in range(size):
        lines.append(f"2026-05-04T{clock(n)}.{pick.randrange(10**7):07d}Z copied layer sha256:"
                     f"{hexes(pick, 24)} {pick.randrange(900)} kB")  # fmt: skip
    bad = f"2026-05-04T09:30:00.0000000Z ##[error]Process completed with exit code 137 in {word(pick)}"
    warn = "2026-05-04T08:20:00.0000000Z ##[warning]The cache is not readable; it is skipped"
    lines[size // 4 : size // 4] = ["2026-05-04T08:19:00.0000000Z ##[group]Set up", warn]
    lines.append(bad)
    return Sample(
        "build server log", "log", "gh run view 4411 --log", "\n".join(lines), (bad, warn)
    )


def apt(pick: random.Random, size: int) -> Sample:
    """Return apt's progress with carriage returns, as a terminal gets it."""
    lines = [f"Get:{n} http://deb.example bookworm/main amd64 lib{word(pick)}{n} all 1.{n} [{n} kB]\r"
             for n in range(size)]  # fmt: skip
    bad = "E: Failed to fetch http://deb.example/pool/x.deb  404  Not Found [IP: 10.0.0.9 80]"
    return Sample("apt with CRLF", "log", "apt-get install -y harbour", "\n".join([*lines, bad]),
                  (bad,))  # fmt: skip


LOGS: tuple[Maker, ...] = (
    service, packages, docker, journal, access, ndjson, npm, cargo, ci, apt,
)  # fmt: skip
