"""Programs, configuration, queries, pages and diffs."""

from __future__ import annotations

import random

from .sample import Maker, Sample, ends, hexes, name, paragraph, sentence, word


def _whole(title: str, family: str, command: str, lines: list[str]) -> Sample:
    return Sample(
        title, family, command, "\n".join(lines), tuple(x for x in lines if x.strip()), True
    )


def python(pick: random.Random, size: int) -> Sample:
    """Return a Python module by ``cat``."""
    lines = ["from __future__ import annotations", "", "import logging", ""]
    while len(lines) < size:
        lines += [f"def {name(pick)}(items, *, limit={pick.randrange(90)}):",
                  f'    """{sentence(pick)}"""', "    try:", "        for item in items:",
                  f"            if not item.{word(pick)} and item.{word(pick)} != {pick.randrange(9)}:",
                  f'                logging.warning("no {word(pick)} in %s", item)',
                  "    except ValueError as error:", f"        raise {word(pick).title()}Error from error",
                  "    return items[:limit]", "", ""]  # fmt: skip
    return _whole("Python by cat", "code", "cat src/harbour.py", lines)


def go(pick: random.Random, size: int) -> Sample:
    """Return a part of a Go file by ``bash -lc`` and ``sed``."""
    lines = ["package harbour", "", 'import "fmt"', ""]
    while len(lines) < size:
        lines += [f"// {sentence(pick)}", f"func (s *Store) {name(pick)}(ctx context.Context) error {{",
                  "\tif err := s.lock(ctx); err != nil {",
                  f'\t\treturn fmt.Errorf("{word(pick)}: %w", err)', "\t}",
                  f"\ts.{word(pick)} = {pick.randrange(99)}", "\treturn nil", "}", ""]  # fmt: skip
    return _whole("Go by sed", "code", "bash -lc \"sed -n '1,400p' pkg/harbour.go\"", lines)


def typescript(pick: random.Random, size: int) -> Sample:
    """Return TypeScript as it was in a commit."""
    lines = ['import { open } from "./store";', ""]
    while len(lines) < size:
        lines += [f"export const {name(pick)} = async (id: string): Promise<number> => {{",
                  f"  const {word(pick)} = await open(id);", f"  // {sentence(pick)}",
                  f"  if (!{word(pick)}) throw new Error(`no {word(pick)} for ${{id}}`);",
                  "  return 1;", "};", ""]  # fmt: skip
    return _whole("TypeScript by git show", "code", "git show HEAD~2:web/store.ts", lines)


def shell(pick: random.Random, size: int) -> Sample:
    """Return a shell script by a name without an extension."""
    lines = ["#!/bin/sh", "set -eu", ""]
    while len(lines) < size:
        lines += [f"if [ ! -f /var/lib/{name(pick)} ]; then", f'  echo "{sentence(pick)}" >&2',
                  f"  exit {pick.randrange(9)}", "fi", f"{name(pick)}() {{", f"  rm -rf ./{word(pick)}",
                  "}"]  # fmt: skip
    return _whole("script by cat", "code", "cat bin/deploy", lines)


def sql(pick: random.Random, size: int) -> Sample:
    """Return SQL."""
    lines: list[str] = []
    while len(lines) < size:
        table = name(pick)
        lines += [f"CREATE TABLE {table} (", "  id bigint PRIMARY KEY,",
                  f"  {word(pick)} text NOT NULL DEFAULT '{word(pick)}',", ");",
                  f"-- {sentence(pick)}", f"DELETE FROM {table} WHERE id NOT IN ({pick.randrange(99)});",
                  ""]  # fmt: skip
    return _whole("SQL", "code", "cat migrations/0042.sql", lines)


def yaml(pick: random.Random, size: int) -> Sample:
    """Return alert rules: configuration that speaks of warnings and errors."""
    lines = ["groups:", "- name: harbour", "  rules:"]
    while len(lines) < size:
        lines += [f"  - alert: {word(pick).title()}Errors{pick.randrange(99)}",
                  f"    expr: rate({name(pick)}_errors_total[5m]) > {pick.randrange(1, 9)}",
                  "    for: 10m", "    labels:", "      severity: warning", "    annotations:",
                  f"      summary: {sentence(pick)}"]  # fmt: skip
    return _whole("YAML alert rules", "config", "cat deploy/alerts.yaml", lines)


def toml(pick: random.Random, size: int) -> Sample:
    """Return TOML whose command says nothing of it."""
    lines: list[str] = []
    while len(lines) < size:
        lines += [f"[tool.{name(pick)}]", f'mode = "{word(pick)}"', f"retries = {pick.randrange(9)}",
                  f"# {sentence(pick)}", f'paths = ["{word(pick)}/*", "!{word(pick)}"]', ""]  # fmt: skip
    return _whole("TOML", "config", "cat settings", lines)


def env(pick: random.Random, size: int) -> Sample:
    """Return environment variables."""
    lines = [f"{name(pick).upper()}_{n}={word(pick)}:{pick.randrange(9000)}" for n in range(size)]
    return _whole(".env", "config", "cat .env", lines)


def dockerfile(pick: random.Random, size: int) -> Sample:
    """Return a Dockerfile."""
    lines = ["FROM python:3.12-slim AS build", "WORKDIR /srv"]
    while len(lines) < size:
        lines += [f"RUN apt-get install -y lib{word(pick)}{pick.randrange(99)} \\",
                  "    && rm -rf /var/lib/apt/lists/*", f"COPY {word(pick)}/ /srv/{name(pick)}/",
                  f"ENV {name(pick).upper()}={pick.randrange(99)}"]  # fmt: skip
    return _whole("Dockerfile", "config", "cat Dockerfile", lines)


def plan(pick: random.Random, size: int) -> Sample:
    """Return a terraform plan: what it would destroy is in sight, as a line or as a row."""
    must: list[str] = []
    lines = ["Terraform will perform the following actions:", ""]
    while len(lines) < size:
        what = f"aws_{name(pick)}_{len(must)}"
        must.append(what)
        lines += [f"  # {what}.main will be destroyed", f'  - resource "{what}" "main" {{',
                  f'      - arn  = "{hexes(pick, 12)}" -> null',
                  f"      ~ size = {pick.randrange(9)} -> {pick.randrange(9)}", "    }", ""]  # fmt: skip
    lines.append("Plan: 3 to add, 1 to change, 40 to destroy.")
    text, must = "\n".join(lines), [*must, *ends(lines)]
    return Sample("terraform plan", "config", "terraform plan", text, tuple(must))


def xml(pick: random.Random, size: int) -> Sample:
    """Return XML."""
    lines = ['<?xml version="1.0"?>', "<project>"]
    while len(lines) < size:
        lines += ["  <dependency>", f"    <artifactId>{word(pick)}-{word(pick)}</artifactId>",
                  f"    <version>{pick.randrange(9)}.{pick.randrange(99)}</version>",
                  "  </dependency>"]  # fmt: skip
    return _whole("XML", "config", "cat pom.xml", [*lines, "</project>"])


def diff(pick: random.Random, size: int) -> Sample:
    """Return a diff with removed comments that look like headers."""
    lines: list[str] = []
    while len(lines) < size:
        path = f"src/{name(pick)}.sql"
        lines += [f"diff --git a/{path} b/{path}", f"--- a/{path}", f"+++ b/{path}",
                  "@@ -1,44 +1,44 @@",
                  *[f" select {name(pick)} from {word(pick)};" for _ in range(20)],
                  f"--- {sentence(pick)}", f"-delete from {word(pick)};", f"+++{name(pick)};",
                  *[f" insert into {name(pick)} values ({n});" for n in range(20)]]  # fmt: skip
    must = [x for x in lines if x[:1] in "+-" or x.startswith(("@@", "diff"))]
    return Sample("git diff", "diff", "git diff main", "\n".join(lines), tuple(must))


def search(pick: random.Random, size: int) -> Sample:
    """Return matches with the code around them."""
    lines, must = [], []
    for n in range(size // 6):
        path = f"src/{word(pick)}-v2/{name(pick)}.py"
        hit = f"{path}:{n + 4}:    if not {name(pick)}({n}):"
        must.append(hit.split(":", 1)[1])
        lines += [
            hit,
            *[f"{path}-{n + 5 + k}-        return not {name(pick)}" for k in range(4)],
            "--",
        ]
    return Sample("grep -A4", "search", "grep -rn -A4 'if not' src", "\n".join(lines[:-1]),
                  (must[0], must[-1]))  # fmt: skip


def markdown(pick: random.Random, size: int) -> Sample:
    """Return a report: numbered headings, lists, a table, a block of code, prose."""
    lines = ["# Report", ""]
    must = ["# Report"]
    n = 0
    while len(lines) < size:
        n += 1
        heading = f"## {n}. {sentence(pick)}"
        item = f"{n}. {sentence(pick)}"
        row = f"| {word(pick)} | {pick.randrange(900)} | {word(pick)} |"
        lines += [heading, "", paragraph(pick, 9), "", item, f"   - {sentence(pick)}", "",
                  "| what | how many | where |", "|---|---|---|", row, "", "```sh",
                  f"make {word(pick)} --{word(pick)}", "```", ""]  # fmt: skip
        must += [heading, item, row]
    return Sample("report", "markdown", "cat docs/report.md", "\n".join(lines), tuple(must))


def page(pick: random.Random, size: int) -> Sample:
    """Return a web page with navigation and an article."""
    body = "\n".join(f"<h2>{word(pick).title()} {n}</h2>\n<p>{paragraph(pick, 6)}</p>"
                     for n in range(max(3, size // 12)))  # fmt: skip
    menu = "".join(f'<li><a href="/{name(pick)}">{word(pick)}</a></li>' for _ in range(40))
    text = (f"<!DOCTYPE html>\n<html><head><title>Harbour</title><style>p{{margin:0}}</style></head>"
            f"<body><nav><ul>{menu}</ul></nav><article><h1>The harbour</h1>{body}</article></body>"
            f"</html>")  # fmt: skip
    return Sample("web page", "html", "curl -s https://example.org/harbour", text)


def manual(pick: random.Random, size: int) -> Sample:
    """Return a manual page."""
    lines = ["HARBOUR(1)            User Commands            HARBOUR(1)", "", "NAME",
             "       harbour - open and close the harbour", "", "OPTIONS"]  # fmt: skip
    while len(lines) < size:
        lines += [f"       --{word(pick)}-{word(pick)}=N", f"              {sentence(pick)}",
                  f"              {sentence(pick)}", ""]  # fmt: skip
    return Sample("man page", "prose", "man harbour", "\n".join(lines),
                  (*ends(lines), *[x for x in lines if x.startswith("       --")]))  # fmt: skip


def essay(pick: random.Random, size: int) -> Sample:
    """Return plain prose."""
    text = "\n\n".join(paragraph(pick, 7) for _ in range(max(3, size // 6)))
    return Sample("essay", "prose", "cat notes.txt", text)


PROGRAMS: tuple[Maker, ...] = (
    python, go, typescript, shell, sql, yaml, toml, env, dockerfile, plan, xml, diff, search,
    markdown, page, manual, essay,
)  # fmt: skip
