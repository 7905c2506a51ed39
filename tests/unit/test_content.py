"""Detection of a text's kind from its command, its envelope, and the text itself."""

from __future__ import annotations

import json
import pydoc
from pathlib import Path

import pytest

from shared.content import classify, printed_by, unwrap
from shared.jobs import ToolCall

CODE = Path(pydoc.__file__).read_text("utf-8")[:12_000]
LOG = "\n".join(f"2026-03-01 00:{i % 60:02d}:07 INFO step {i} took {i} ms" for i in range(200))
FIREWALL = "\n".join(
    f"{i:<5} {i * 7:>6} {i}K ACCEPT  tcp  --  eth0   *   10.0.0.{i % 250}/32   0.0.0.0/0"
    for i in range(400)
)
STATUS = "\n".join(
    f"\u25cf quay-{i}.service - Quay {i}\n     Loaded: loaded\n     Active: active since {i}h ago\n"
    for i in range(300)
)
KERNEL = "\n".join(f"[{i * 1.3:12.6f}] usb 1-{i % 4}: new device number {i}" for i in range(400))
PHONE = "\n".join(
    f"03-14 09:{i % 60:02d}:07.120  812  {i} D OkHttp  : --> GET /v1/items/{i}" for i in range(200)
)
CHECKED = "\n".join(
    f"orders.Model{i}: (models.W042) Auto-created key used when the model defines none itself.\n"
    "\tHINT: Configure the setting or the attribute to point to a subclass of the field."
    for i in range(30)
)
LAGS = "\n".join(
    f"orders      topic-{i:<8} {i:<8} {i * 7919 % 10**6:<12} {i % 7:<6} consumer-{i % 3}-{i}-a4"
    for i in range(200)
)
LOCK = "\n".join(
    f'[[package]]\nname = "a{i}"\nversion = "{i}.0"\noptional = false\n' for i in range(300)
)
PAGE = "<!DOCTYPE html><html><body>" + "<p class='x'>Ten units.</p>" * 200 + "</body></html>"
PLAY = "\n".join(
    f"TASK [step {i}] ****\n"
    + "\n".join(f"{'ok' if (i + n) % 3 else 'changed'}: [web-{n}]" for n in range(9))
    for i in range(12)
)
DRAWN = "\n".join(
    ["+------+--------+", "|        Alarms         |", "+------+--------+--------+"]
    + [f"|  {i:<4}|  ok    |  {i * 7 % 90:<6}|" for i in range(30)]
    + ["-----------------"]
)
STACK = "\n---\n".join(f"kind: Service\nname: web-{i}\nstate: ok" for i in range(40))
RULES = "groups:\n" + "\n".join(
    f"  - alert: Failed{i}\n    expr: errors > {i}\n    for: 5m\n    labels: {{severity: warning}}"
    for i in range(90)
)


def _ran(command: str) -> ToolCall:
    return ToolCall("Bash", command, command)


SUITE = "\n".join(
    [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<testsuite name="orders" errors="0" failures="0" tests="60" time="4.1">',
        *(
            f'  <testcase classname="test_a{n % 7}" name="test_{n}" time="0.{n}" />'
            for n in range(60)
        ),
        "</testsuite>",
    ]
)
BUILD = "\n".join(
    f"#{n // 40 + 5} {n * 0.12:.3f} Collecting package-{n}=={n % 7}.1.{n}\n"
    f"#{n // 40 + 5} {n * 0.12 + 0.02:.3f}   Downloading package_{n}-{n % 7}.1.{n}.whl ({n * 7} kB)"
    for n in range(80)
)


@pytest.mark.parametrize(
    ("command", "program", "files"),
    [
        ("cat src/a.py", "cat", ("src/a.py",)),
        ("bash -lc 'cd x && git show HEAD:a.py | sed -n 1,80p'", "git show", ("a.py",)),
        ("bash -lc cat x.py | head -3", "cat", ("x.py",)),
        ("FOO=1 sudo env X=2 timeout 30 cat a.yaml", "cat", ("a.yaml",)),
        ("sed -n '1,80p' cmd/main.go 2>/dev/null", "sed", ("cmd/main.go",)),
        ("tail -n 50 /var/log/syslog | grep -v x", "tail", ("/var/log/syslog",)),
        ("kubectl -n web get deploy -o yaml | less", "kubectl get", ()),
        ("python -m pytest -q 2>&1 | tail -50", "pytest", ()),
        ("docker exec -it web cat /etc/nginx/nginx.conf", "cat", ("/etc/nginx/nginx.conf",)),
        ("curl -s http://x/y | jq .", "jq", ()),
        ("ssh -p 22 web-1 'cat /etc/app.conf | head -90'", "cat", ("/etc/app.conf",)),
        ("ssh web-1 sudo cat /etc/app.conf", "cat", ("/etc/app.conf",)),
        ("find src -name '*.py' -exec cat {} +", "cat", ("*.py",)),
        ("find src -name '*.py' -exec grep -n total {} +", "grep", ()),
        ("docker run --rm -v x:/y python:3 cat /app/a.rb", "cat", ("/app/a.rb",)),
        ("tar -xOf a.tgz src/a.lua", "tar", ("src/a.lua",)),
        ("tar tf a.tgz", "tar", ()),
        ("unzip -p a.zip src/a.lua", "unzip", ("src/a.lua",)),
        ("unzip -l a.zip", "unzip", ()),
        (
            "curl -sL https://example.org/main/a.lua?raw=1",
            "curl",
            ("https://example.org/main/a.lua",),
        ),
        ("curl -s https://example.org/index.html", "curl", ()),
        ("curl -s https://example.org/v1.2/items", "curl", ()),
        ("curl -s https://example.org", "curl", ()),
        ("ssh a " * 300, "ssh", ()),
    ],
)
def test_finds_program_and_file_of_a_command(
    command: str, program: str, files: tuple[str, ...]
) -> None:
    printed = printed_by(command)
    assert (printed[-1].program, printed[-1].files) == (program, files)


@pytest.mark.parametrize(
    ("text", "command", "kind", "lossy"),
    [
        (CODE, "cat lib/pydoc.py", "code", False),
        (CODE, "nl -ba lib/pydoc.py | sed -n 1,400p", "code", False),
        (CODE, "./show.sh", "code", False),
        (CODE, "grep -v '^$' lib/pydoc.py", "code", False),
        (LOCK, "ssh web-1 ./show.sh", "config", False),
        (LOG, "find . -name '*.py' -exec cat {} +", "code", False),
        (RULES, "kubectl get prometheusrules -o yaml", "config", False),
        (RULES, "fetch rules", "config", False),
        (STACK, "./stack.sh", "config", False),
        (PLAY, "ansible-playbook site.yml", "other", False),
        (DRAWN, "./alarms.sh", "table", False),
        (RULES, "cat a.yaml; cat b.md", "config", False),
        (FIREWALL, "sudo iptables -L -n -v --line-numbers", "state", False),
        (FIREWALL, "docker exec web nginx -T", "config", False),
        (STATUS, "systemctl status 'quay-*'", "state", False),
        (KERNEL, "dmesg", "log", True),
        (PHONE, "adb logcat -d", "log", True),
        (PHONE, "./phone.sh", "log", True),
        (CHECKED, "python manage.py check", "other", False),
        (LOG, "tail -200 /var/log/app.log", "log", True),
        (LOG, "./run.sh", "log", True),
        (LAGS, "kafka-consumer-groups.sh --describe --group orders", "table", False),
        (LOG, "cat CLAUDE.md", "rules", False),
        (SUITE, "./report.sh", "test_run", True),
        (SUITE, "cat target/TEST-org.example.OrdersTest.xml", "test_run", True),
        (
            SUITE.replace("testcase", "dependency").replace("testsuite", "project"),
            "cat pom.xml",
            "config",
            False,
        ),
        (
            SUITE.replace("testcase", "dependency").replace("testsuite", "project"),
            "./show.sh",
            "config",
            False,
        ),
        (BUILD, "docker build -t web .", "log", True),
        (BUILD, "make image", "log", True),
        (PAGE, "curl -s https://example.org/", "html", True),
        (PAGE, "cat templates/index.html", "code", False),
        (json.dumps([{"id": i, "name": f"n{i}"} for i in range(900)]), "curl x", "json", True),
    ],
)
def test_kind_comes_from_command_and_text(text: str, command: str, kind: str, lossy: bool) -> None:
    found = classify(text, _ran(command))
    assert (found.kind, found.lossy) == (kind, lossy), found.evidence
    assert found.evidence


@pytest.mark.parametrize(
    ("command", "coloured"),
    [("terraform plan", True), ("./plan.sh", True), ("cat plan.tf", False), ("cat a.py", False)],
)
def test_program_writes_colours_and_a_file_holds_them(command: str, coloured: bool) -> None:
    plan = "\n".join(f'  \x1b[32m+\x1b[0m ami_{n} = "{n}"' for n in range(40))
    found = classify(plan, _ran(command))
    assert (found.coloured, found.exactly) == (coloured, coloured)


@pytest.mark.parametrize("name", ["Read", "read_file", "mcp__files__view_file"])
def test_knows_file_read_by_a_tool(name: str) -> None:
    call = ToolCall(name, json.dumps({"file_path": "deploy/values.yaml"}))
    assert classify("whatever it holds", call).kind == "config"


HEADS = [
    "Chunk ID: 94c086\nWall time: 0.1 seconds\nProcess exited with code 1\n"
    "Original token count: 9\nOutput:\n",
    "Exit code 1\n",
    "<returncode>1</returncode>\n<output>\n",
    "Exit code: 3\nWall time: 4.2 seconds\nOutput:\n",
    "Process exited with code 0\nOutput:\nWarning: truncated output (original token count: 14394)\n"
    "Total output lines: 1406\n\n",
    "HTTP/1.1 301 Moved Permanently\r\nLocation: /b\r\n\r\n"
    "HTTP/2 200 \r\ncontent-type: text/plain\r\nx-request-id: 7\r\n\r\n",
    "Process exited with code 22\nOutput:\nHTTP/1.1 404 Not Found\nServer: a\n\n",
    "",
]
TAILS = [
    "",
    "\n</output>\n",
    "\n[The command completed with exit code 0.]\n[Current working directory: /w]\n"
    "[Command finished with exit code 0]",
    "\n(Open file: /a/b.py)\n(Current directory: /a)\nbash-$",
    "\n<system-reminder>\nnever do that\n</system-reminder>\n",
    "\n\n<system-reminder>a</system-reminder>\n\n<system-reminder>b\n</system-reminder>",
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tail", TAILS)
def test_splits_envelope_from_body(head: str, tail: str) -> None:
    found = unwrap(head + LOG + tail)
    assert found.around(found.body) == head + LOG + tail
    assert found.head == head
    assert found.body.strip() == LOG
    assert found.tail.strip() == tail.strip()


def test_json_envelope_gives_its_string() -> None:
    text = json.dumps({"output": LOG, "metadata": {"exit_code": 3}})
    found = unwrap(text)
    assert found.body == LOG
    assert found.around(LOG) == text
    assert json.loads(found.around('one "line"\n'))["output"] == 'one "line"\n'


def test_tail_begins_a_line_whatever_the_body_becomes() -> None:
    envelope = unwrap(f"<returncode>0</returncode>\n<output>\n{LOG}\n</output>")

    assert envelope.around("less\n[2 lines omitted in all.]").endswith("all.]\n</output>")


@pytest.mark.parametrize(
    "head",
    [
        "[File: /src/Depot.java (812 lines total)]\n(60 more lines above)\n",
        "Here's the result of running `cat -n` on /src/depot.java:\n",
    ],
)
def test_knows_file_that_a_harness_shows(head: str) -> None:
    lines = "".join(f"{n}:the depot holds {n} crates\n" for n in range(61, 90))
    content = classify(head + lines, ToolCall(name="bash", args="{}", command="goto 61"))

    assert content.kind == "code"


def _failed_program(traces: int) -> str:
    frames = "".join(
        f'  File "/lib/pip/part_{n}.py", line {n}, in step_{n}\n    self.part_{n}(step)\n'
        for n in range(30)
    )
    trace = f"Traceback (most recent call last):\n{frames}TimeoutError: The read timed out\n"
    return "ERROR: Exception:\n" + trace * traces


@pytest.mark.parametrize(("traces", "kind"), [(2, "error"), (12, "log")])
def test_program_that_failed_prints_no_log(traces: int, kind: str) -> None:
    call = ToolCall(name="bash", args="{}", command="pip install harbour")

    assert classify(_failed_program(traces), call).kind == kind
