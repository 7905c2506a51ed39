"""Detection of sources and configuration that look like few others, with no name to tell."""

from __future__ import annotations

import pytest

from shared.content import classify
from shared.content.kind_by_name import kind_of_file
from shared.jobs import ToolCall

_CODE = {
    "haskell": "quay{n} :: Int -> Either String Int\nquay{n} x\n"
    '  | x < {n}   = Left "no berth"\n'
    "  | otherwise = Right (x * {n})\n",
    "ocaml": 'let rec quay_{n} acc = function\n  | [] -> Error "no berth"\n'
    "  | x :: rest when x <> {n} -> quay_{n} (x + acc) rest\n  | _ -> Ok (acc * {n})\n",
    "clojure": "(defn quay-{n} [x]\n  (when-not (zero? x)\n"
    '    (throw (ex-info "none" {{:n x}})))\n'
    "  (+ x {n}))\n",
    "assembler": "quay_{n}:\n\tpushq\t%rbp\n\tmovl\t${n}, %eax\n\tjne\t.L{n}\n\tret\n",
    "erlang": "quay_{n}(X) when X =/= {n} ->\n    {{error, none}};\n"
    "quay_{n}(X) ->\n    {{ok, X * {n}}}.\n",
    "prolog": "quay_{n}(X, Y) :-\n    X \\= {n},\n    \\+ berth(X),\n    Y is X + {n}.\n",
    "fortran": "subroutine quay{n}(x, y)\n  integer, intent(in) :: x\n"
    "  if (x .ne. {n}) stop 'none'\n  y = x * {n}\nend subroutine\n",
    "cobol": "       QUAY-{n}.\n           IF X NOT = {n}\n               DISPLAY 'NONE'\n"
    "               STOP RUN\n           END-IF.\n",
    "batch": "rem quay\nif not exist %BERTH% goto end{n}\nset N={n}\ncall :quay %N%\n:end{n}\n",
    "tex": "\\section{{Quay {n}}}\nNot \\emph{{here}}.\n"
    "\\begin{{equation}}\nx = {n}\n\\end{{equation}}\n",
    "json with comments": '{{\n  // the quay\n  "quay{n}": {n},\n  "berths": []\n}}\n',
    "starlark": 'cc_library(\n    name = "quay{n}",\n    srcs = ["quay.cc"],\n)\n',
}
_CONFIG = {
    "apache": "<VirtualHost *:{n}>\n    ServerName quay.org\n    Require not ip 10.0.0.{n}\n"
    "</VirtualHost>\n",
    "properties": "quay.{n}.error\\ page=/no\nquay.{n}.berths=3\n",
    "vue": '<template v-if="!quay">\n  <div :id="{n}">{{{{ quay }}}}</div>\n</template>\n',
    "ssh": "Host quay{n}\n  HostName 10.1.0.{n}\n  User root\n  StrictHostKeyChecking no\n",
    "haproxy": "backend quay{n}\n    balance roundrobin\n    option httpchk GET /health\n"
    "    server s1 10.3.0.{n}:80 check\n",
    "crontab": "{n} * * * 1 /usr/local/bin/quay --id {n} >/dev/null 2>&1\n",
    "iptables": "-A INPUT -s 10.0.{n}.0/24 -p tcp --dport {n} -j DROP\n",
    "zone": "quay{n}\t3600\tIN\tA\t10.2.0.{n}\n",
    "gettext": '#: src/quay.c:{n}\nmsgid "no quay {n}"\nmsgstr "kein Kai {n}"\n',
}
_OUTPUT = {
    "table": "{n}  2  3  4  5  quay{n}  up\n",
    "numbers": "{n} {n} 3 4 5 /srv/quay{n}\n",
    "links": "'quay{n}' -> '/srv/quay{n}'\n",
    "report": "Quay {n} is open.\n  berths: {n}\n  Ferry Anna leaves\n",
    "steps": "call quay {n}\ntest berth {n} done\ncopied {n} files\n",
    "build": "building quay_{n} (debug)\n  linked quay_{n}, not stripped\n",
}


def _kind(text: str) -> tuple[str, bool]:
    whole = "".join(text.format(n=n) for n in range(59)) * 12
    found = classify(whole, ToolCall("Bash", "./x", "./x"))
    return found.kind, found.lossy


@pytest.mark.parametrize("name", _CODE)
def test_source_without_a_name_is_code(name: str) -> None:
    assert _kind(_CODE[name]) == ("code", False)


@pytest.mark.parametrize("name", _CONFIG)
def test_configuration_without_a_name_is_configuration(name: str) -> None:
    assert _kind(_CONFIG[name]) == ("config", False)


@pytest.mark.parametrize("name", _OUTPUT)
def test_output_of_a_program_is_neither(name: str) -> None:
    assert _kind(_OUTPUT[name])[0] not in ("code", "config")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("src/solver.f90", "code"), ("Main.elm", "code"), ("pay.cbl", "code"),
        ("a/Form.cls", "code"),
        ("/etc/bind/db.example", "config"), ("~/.ssh/config", "config"),
        ("/etc/cron.d/backup", "config"),
        ("C:\\Users\\ada\\.aws\\credentials", "config"), ("Makefile.in", "config"),
        (".cursor/rules/style.mdc", "rules"), (".github/instructions/go.instructions.md", "rules"),
        ("prompts/review.txt", "rules"), ("/var/log/etc/a.log", "log"), ("notes.txt", None),
    ],
)  # fmt: skip
def test_name_of_a_file_tells_its_kind(name: str, kind: str | None) -> None:
    assert kind_of_file(name) == kind


def test_file_of_unknown_kind_loses_no_lines() -> None:
    text = "".join(f"quay {n % 7} of berth {n * 31 % 97}\n" for n in range(1200))

    assert classify(text, ToolCall("Bash", "", "./show.sh")).lossy
    assert not classify(text, ToolCall("Bash", "", "cat berths.xyz")).lossy
