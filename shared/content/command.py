"""Finds the programs whose output a text holds, by parsing the shell command just far enough.

``bash -lc 'cd x && git show HEAD:a.py | sed -n 1,80p'`` printed lines of ``a.py``. Commands that
print nothing (``cd``) are skipped, and filters (``head``) do not change the kind of their input.
"""

from __future__ import annotations

import re
import shlex
from itertools import dropwhile, pairwise
from typing import NamedTuple

_LONGEST = 2000
"""Characters of a command that are read; the rest is an inline script."""
_DEEPEST = 5
"""Commands in commands that are looked into."""
_SHELLS = frozenset({"bash", "sh", "zsh", "dash", "ash", "ksh", "fish"})
_PREFIXES = frozenset(
    {"sudo", "env", "time", "nice", "nohup", "command", "exec", "stdbuf", "builtin", "npx", "pnpx",
     "bunx", "doas", "unbuffer", "chronic", "!", "{", "do", "then", "else", "if", "for", "while"}
)  # fmt: skip
_RUNNERS = {"poetry": "run", "uv": "run", "pipenv": "run", "hatch": "run", "rye": "run",
            "pdm": "run", "pnpm": "exec", "yarn": "exec", "bundle": "exec"}  # fmt: skip
_SILENT = frozenset(
    {"cd", "export", "set", "unset", "source", ".", "mkdir", "true", ":", "sleep", "pushd", "popd",
     "touch", "cp", "mv", "rm", "chmod", "chown", "ln", "umask", "shopt", "alias", "trap", "wait",
     "test", "[", "[[", "kill", "local", "read", "ulimit"}
)  # fmt: skip
_QUIET = frozenset({"echo", "printf", "pwd", "date", "whoami", "hostname", "clear", "which"})
"""Commands that print a line or two between others, which tells nothing about the rest."""
_FILTERS = frozenset(
    {"head", "tail", "less", "more", "tee", "sort", "uniq", "tac", "nl", "cat", "bat", "sed", "rev",
     "grep", "egrep", "fgrep", "rg", "ag", "awk", "gawk", "fold", "expand", "sponge", "pv",
     "strings", "ts", "col"}
)  # fmt: skip
"""Programs that select, sort or decorate lines: the output is of the same kind as the input."""
_WITH_VALUE = {
    "head": "-n -c", "tail": "-n -c -s", "sed": "-e -f -i -l", "bat": "-r -l -p --line-range",
    "batcat": "-r -l --line-range", "grep": "-e -f -m -A -B -C --include --exclude",
    "rg": "-e -f -m -A -B -C -g -t -T --glob --type", "nl": "-b -w -s -v", "awk": "-F -v -f",
    "gawk": "-F -v -f", "less": "-p", "cat": "", "more": "", "tac": "", "zcat": "", "strings": "-n",
}  # fmt: skip
_PRINTERS = frozenset(
    {"cat", "bat", "batcat", "head", "tail", "sed", "less", "more", "nl", "tac", "zcat", "awk",
     "gawk", "strings", "type", "gc", "get-content", "xxd"}
)  # fmt: skip
_TWO_VERBS = frozenset({"gh", "glab", "docker", "npm", "yarn"})
_WEB_PAGE = re.compile(r"://[^/]*/?$|\.(?:x?html?|php|aspx?|jspx?|cgi|pl)$|/[^/.]*$")
_OPERATOR = re.compile(r"[|&;<>()]+")
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?")
_SHELL_C = re.compile(r"^\s*(?:/usr/bin/env\s+|/usr/bin/|/bin/)?(\w+)\s+-\w*c\s+", re.ASCII)
_TIMEOUT_VALUE = re.compile(r"\d+(?:\.\d+)?[smhd]?")


class Printed(NamedTuple):
    """One program whose output is in the text.

    ``program`` is its name, with the subcommand if it has one (``git log``), ``words`` are all
    words of its command line, ``files`` the names of files that it prints unchanged.
    """

    program: str
    words: tuple[str, ...]
    files: tuple[str, ...]


def printed_by(command: str, depth: int = 0) -> tuple[Printed, ...]:
    """Return the programs that printed the output of ``command``, in order.

    It stands inside of ``depth`` other commands.
    """
    text = _unquoted(command[:_LONGEST])
    try:
        tokens = _tokens(text)
    except ValueError:  # an open quote, as in a command that was cut
        tokens = text.split()
    found = []
    for pipeline in _pipelines(tokens):
        printed = _of_pipeline(pipeline, depth)
        if printed is not None:
            found.append(printed)
    return tuple(found)


def _unquoted(command: str) -> str:
    """Return the script inside ``bash -lc SCRIPT``, even if its quotes have been lost."""
    for _ in range(3):
        start = _SHELL_C.match(command)
        if start is None or start[1] not in _SHELLS:
            break
        rest = command[start.end() :].strip()
        quoted = rest[:1] in "'\"" and rest[-1:] == rest[:1] and rest[:1] not in rest[1:-1]
        if not quoted:
            try:
                words = shlex.split(rest)
            except ValueError:
                words = []
            if len(words) == 1:
                command = words[0]
                continue
        command = rest[1:-1] if quoted else rest
    return command


def _tokens(text: str) -> list[str]:
    heredoc = _HEREDOC.search(text)
    if heredoc is not None:
        end = text.find(f"\n{heredoc[1]}", heredoc.end())
        line_end = text.find("\n", heredoc.end())
        head = text[: heredoc.start()] + (
            text[heredoc.end() : line_end] if line_end >= 0 else text[heredoc.end() :]
        )
        text = head + (f"\n{text[end + 1 + len(heredoc[1]) :]}" if end >= 0 else "")
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars="|&;<>()\n")
    lexer.whitespace = " \t\r"
    lexer.whitespace_split = True
    lexer.commenters = ""
    return list(lexer)


def _pipelines(tokens: list[str]) -> list[list[list[str]]]:
    """Return the pipelines, each a list of stages, each a list of words without redirections."""
    pipelines: list[list[list[str]]] = [[[]]]
    skip = False
    for token in tokens:
        if skip:
            skip = False
        elif token.strip() == "":
            pipelines.append([[]])
        elif not _OPERATOR.fullmatch(token.strip("\n") or ";"):
            pipelines[-1][-1].append(token)
        elif "<" in token or ">" in token:
            words = pipelines[-1][-1]
            if words and words[-1].isdigit():
                words.pop()
            skip = True
        elif token in ("|", "|&"):
            pipelines[-1].append([])
        else:
            pipelines.append([[]])
    return pipelines


def _of_pipeline(stages: list[list[str]], depth: int) -> Printed | None:
    """Return what the pipeline printed: its last stage that is not a filter."""
    shown: Printed | None = None
    for place, raw in enumerate(stages):
        words = _bare(raw)
        if not words or words[0] in _SILENT or (words[0] in _QUIET and len(stages) == 1):
            continue
        printed = _printed(words, depth)
        if place and shown is not None and words[0] in _FILTERS and not printed.files:
            continue
        shown = printed
    return shown


def _bare(words: list[str]) -> list[str]:
    """Return the words without what only sets up the program: ``sudo``, ``env A=b``, paths."""
    words = list(words)
    while words:
        name = words[0].rsplit("/", 1)[-1]
        if re.fullmatch(r"\w+=.*", words[0]):
            del words[0]
        elif name in _PREFIXES:
            del words[0]
            while words and words[0].startswith("-"):
                del words[0]
        elif name == "timeout":
            del words[0]
            while words and (words[0].startswith("-") or _TIMEOUT_VALUE.fullmatch(words[0])):
                del words[0]
        elif name == "xargs":
            del words[0]
            while words and (words[0].startswith("-") or words[0].isdigit() or words[0] == "{}"):
                del words[0]
        elif name in _RUNNERS and words[1:2] == [_RUNNERS[name]]:
            del words[:2]
        elif name in ("docker", "podman", "kubectl", "oc") and words[1:2] == ["exec"]:
            words = _inner_of_exec(words)
        elif re.fullmatch(r"python[\d.]*|pypy3?", name) and "-m" in words[:4]:
            del words[: words.index("-m") + 1]
            return ["json.tool" if words[:1] == ["json.tool"] else w for w in words[:1]] + words[1:]
        else:
            words[0] = name
            return words
    return words


def _inner_of_exec(words: list[str]) -> list[str]:
    """Return the command that ``docker exec`` or ``kubectl exec`` ran in the container."""
    if "--" in words:
        return words[words.index("--") + 1 :]
    rest = words[2:]
    while rest and rest[0].startswith("-"):
        takes = rest[0] in ("-e", "-u", "-w", "-c", "-n", "--env", "--user", "--workdir")
        rest = rest[2:] if takes else rest[1:]
    return rest[1:]


def _printed(words: list[str], depth: int) -> Printed:
    name = words[0]
    inner = printed_by(_command_in(words), depth + 1) if depth < _DEEPEST else ()
    if inner:
        return inner[-1]
    if name in ("git", "kubectl", "oc", "docker", "podman", "cargo", "go", "npm", "yarn", "pnpm",
                "gh", "glab", "helm", "terraform", "tofu", "pip", "pip3", "apt", "apt-get",
                "docker-compose", "bun", "dotnet", "mvn", "gradle", "gradlew", "make", "aws", "az",
                "gcloud", "systemctl", "deno", "nx", "turbo", "rake", "rails", "adb"):  # fmt: skip
        verbs = _verbs(words[1:])
        program = " ".join([name, *verbs[: 2 if name in _TWO_VERBS else 1]])
        return Printed(program, tuple(words), _git_files(words) if name == "git" else ())
    return Printed(name, tuple(words), _printed_files(words))


def _command_in(words: list[str]) -> str:
    """Return the command that a shell, ``ssh``, ``find`` or a new container runs; empty if none."""
    name, rest = words[0], words[1:]
    if name in _SHELLS and len(rest) > 1 and re.fullmatch(r"-\w*c", rest[0]):
        return rest[1]
    if name == "ssh":
        while rest and rest[0].startswith("-"):
            rest = rest[2:] if rest[0][1:] and rest[0][-1] in "bcDEeFIiJLlmOopQRSWw" else rest[1:]
        return " ".join(rest[1:])
    if name == "find" and not {"-exec", "-execdir"}.isdisjoint(rest):
        start = next(at for at, word in enumerate(rest) if word in ("-exec", "-execdir"))
        named = [n for flag, n in pairwise(rest[:start]) if flag in ("-name", "-iname", "-path")]
        inner = [word for word in rest[start + 1 :] if word not in ("{}", "+", ";")]
        return shlex.join([*inner, *named])
    if name in ("docker", "podman", "kubectl", "oc") and rest[:1] == ["run"]:
        return shlex.join(dropwhile(lambda word: word not in _PRINTERS | _SHELLS, rest))
    return ""


def _verbs(words: list[str]) -> list[str]:
    found = []
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("-C", "-c", "-n", "--namespace", "-f", "--file", "--git-dir", "--context"):
            skip = True
        elif not word.startswith("-"):
            found.append(word)
    return found


def _git_files(words: list[str]) -> tuple[str, ...]:
    """Return FILE of ``git show REV:FILE`` and of ``git blame FILE``."""
    verbs = _verbs(words[1:])
    if verbs[:1] == ["show"]:
        return tuple(w.split(":", 1)[1] for w in verbs[1:] if ":" in w and w.split(":", 1)[1])
    if verbs[:1] in (["blame"], ["annotate"]):
        named = [w for w in verbs[1:] if "." in w.rsplit("/", 1)[-1]]
        return tuple(named[-1:])
    if verbs[:1] == ["cat-file"]:
        return tuple(w.split(":", 1)[1] for w in verbs[1:] if ":" in w)
    return ()


def _printed_files(words: list[str]) -> tuple[str, ...]:
    """Return the files among the words of a program that prints files unchanged."""
    name = words[0]
    free = [word for word in words[1:] if not word.startswith("-")]
    if name in ("curl", "wget"):
        urls = (word.split("?", 1)[0] for word in words[1:] if "://" in word)
        return tuple(url for url in urls if not _WEB_PAGE.search(url))
    if name == "unzip":
        return tuple(free[1:]) if not {"-p", "-c"}.isdisjoint(words) else ()
    if name == "tar":
        to_stdout = any(re.fullmatch(r"-?[a-zA-Z]*O[a-zA-Z]*|--to-stdout", w) for w in words[1:3])
        return tuple(free[-1:]) if to_stdout and len(free) > 1 else ()
    if name not in _PRINTERS:
        return ()
    valued = _WITH_VALUE.get(name, "").split()
    free = []
    script = name in ("sed", "awk", "gawk")
    skip = False
    for word in words[1:]:
        if skip:
            skip = False
        elif word.startswith("-") and len(word) > 1:
            if word in valued:
                skip = True
                script = script and word not in ("-e", "-f")
        else:
            free.append(word)
    return tuple(free[1:] if script else free)
