"""A recording stand-in for ``oc`` and ``kubectl``, against which ``deploy/deploy.sh`` runs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .kustomize import documents

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "deploy" / "deploy.sh"
_CUDA = "graph     kompress-fp32.onnx\nprovider  cuda\nloaded    2.10 s"

# A shell script that starts few processes, because it is run a thousand times. Each call leaves a
# folder with its command line, its standard input, and the files it was given.
_FAKE = """\
#!/bin/sh
read -r number < "{record}.next"
echo $((number + 1)) > "{record}.next"
call="{record}/$number"
mkdir "$call"
printf %s "$*" > "$call/line"
for argument; do
    case "$argument" in
        -i) cat > "$call/stdin" ;;
        --filename=*) cat "${{argument#*=}}" > "$call/applied" ;;
        --from-file=*) pair=${{argument#*=}}; cat "${{pair#*=}}" > "$call/${{pair%%=*}}" ;;
    esac
done
[ "$1" != kustomize ] || exec {python} "$2"
case "$*" in
{world}
esac
"""
_KUSTOMIZE = """\
import json, sys
from pathlib import Path
from tests.manifests.kustomize import in_python
for item in in_python(Path(sys.argv[1])):
    print("---", json.dumps(item), sep="\\n")
"""
_TOOLS = (
    "bash cat chmod cut dirname git grep gzip head ls mkdir mktemp od realpath rm sed sort tr wc"
)

# Answers of a healthy cluster, as (part of a command, status, output); the first match counts. A
# test puts its own lines before these.
WORLD: list[tuple[str, int, str]] = [
    ("get namespace", 1, ""),
    ("get secret", 1, ""),
    ("--dry-run=client", 0, "kind: Secret"),
    ("--api-group=", 0, "things"),
    ("get nodes", 0, "1"),
    ("imagestreamtag", 0, "registry.example/farm/image@sha256:abc"),
    ("secret.yaml", 0, "secret/x created"),
    ("apply", 0, "configmap/headroom-settings created"),
    ("bypass status", 0, "off: conversations are compressed"),
    ("models check", 0, _CUDA),
]


class Cluster:
    """A stand-in for the cluster's command line that records its calls."""

    def __init__(self, folder: Path, name: str = "kubectl") -> None:
        self.folder = folder
        self._calls = folder / "calls"
        self._program = folder / "bin" / name if name else None
        (folder / "bin").mkdir()
        # Only the tools that the script needs, so that an installed kubectl is not found.
        for tool in _TOOLS.split():
            path = shutil.which(tool)
            assert path, tool
            (folder / "bin" / tool).symlink_to(path)
        (folder / "kustomize.py").write_text(
            f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n" + _KUSTOMIZE
        )

    def run(
        self, *arguments: str, world: list[tuple[str, int, str]] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the script; answers in ``world`` take precedence over those of a healthy cluster."""
        shutil.rmtree(self._calls, ignore_errors=True)
        self._calls.mkdir()
        # As many digits for each, so that the calls' names are in the order of the calls.
        self._calls.with_suffix(".next").write_text("1000\n")
        if self._program is not None:
            lines = [
                f"    *{shlex.quote(part)}*) printf %s {shlex.quote(said)}; exit {status} ;;"
                for part, status, said in [*(world or []), *WORLD]
            ]
            python = f"{sys.executable} {self.folder}/kustomize.py"
            text = _FAKE.format(record=self._calls, python=python, world="\n".join(lines))
            self._program.write_text(text)
            self._program.chmod(0o755)
        return subprocess.run(
            [str(SCRIPT), *arguments],
            env={"PATH": str(self.folder / "bin"), "TMPDIR": str(self.folder)},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )

    @property
    def calls(self) -> list[tuple[str, dict[str, str]]]:
        """The recorded calls: command line, and files and standard input by name."""
        found = []
        for call in sorted(self._calls.iterdir()):
            sent = {path.name: path.read_text() for path in call.iterdir()}
            found.append((sent.pop("line"), sent))
        return found

    def asked(self, part: str) -> list[str]:
        """Return the command lines that contain ``part``."""
        return [line for line, _ in self.calls if part in line]

    def sent(self, part: str) -> dict[str, str]:
        """Return the files and input of the first command line that contains ``part``."""
        return next(sent for line, sent in self.calls if part in line)


def objects_in(text: str) -> dict[tuple[str, str], Any]:
    """Return the objects in YAML text by kind and name."""
    items = [item for item in documents(text) if "metadata" in item]
    return {(item["kind"], item["metadata"]["name"]): item for item in items}
