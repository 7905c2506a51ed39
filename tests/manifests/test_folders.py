"""The picture of the folders in docs/architecture.md agrees with the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

from ..documented import ROOT, page

TOPS = ("api", "shared", "workers")
Edges = set[tuple[str, str]]


def folders() -> set[str]:
    """Return the folders with files of the three packages, two levels deep."""
    found = {
        str(Path(*path.relative_to(ROOT).parts[:2]))
        for top in TOPS
        for path in ROOT.glob(f"{top}/*/*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    return found | set(TOPS)


@cache
def drawn() -> tuple[dict[str, str], Edges]:
    """Return the picture's folders by node and its arrows, folder to folder."""
    picture = re.findall(r"^```mermaid\n(.*?)^```$", page("docs/architecture.md"), re.S | re.M)[0]
    nodes = dict(re.findall(r'(\w+)\["?([a-z_]+(?:/[a-z_]+)?)\b', picture))
    arrows: Edges = set()
    for line in picture.splitlines():
        if "-->" in line:
            stages = [re.findall(r"\b[a-z_]+\b", stage) for stage in line.split("-->")]
            for left, right in pairwise(stages):
                arrows |= {(nodes[a], nodes[b]) for a in left for b in right}
    return nodes, arrows


def imports() -> Edges:
    """Return the imports between folders of the three packages."""
    found: Edges = set()
    known = folders()

    def folder(parts: tuple[str, ...]) -> str | None:
        two = "/".join(parts[:2])
        return two if two in known else parts[0] if parts and parts[0] in known else None

    for top in TOPS:
        for path in (ROOT / top).rglob("*.py"):
            here = path.relative_to(ROOT).parts[:-1]
            for node in ast.walk(ast.parse(path.read_text())):
                names: list[tuple[str, ...]] = []
                if isinstance(node, ast.Import):
                    names = [tuple(alias.name.split(".")) for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    start = here[: len(here) - node.level + 1] if node.level else ()
                    module = tuple(node.module.split(".")) if node.module else ()
                    names = [(*start, *module, alias.name) for alias in node.names]
                for name in names:
                    left, right = folder(here), folder(name)
                    if left and right and left != right:
                        found.add((left, right))
    return found


def reachable(arrows: Edges) -> Edges:
    """Return the transitive closure of ``arrows``."""
    closed = set(arrows)
    while more := {(a, d) for a, b in closed for c, d in closed if b == c} - closed:
        closed |= more
    return closed


def test_picture_names_exactly_the_folders() -> None:
    nodes, _ = drawn()
    assert set(nodes.values()) == folders()


def test_every_arrow_is_an_import() -> None:
    _, arrows = drawn()
    assert arrows - imports() == set()


def test_every_import_follows_the_arrows() -> None:
    _, arrows = drawn()
    assert imports() - reachable(arrows) == set()
