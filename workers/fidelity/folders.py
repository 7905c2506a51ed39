"""In which folders omitted lines are, where these are paths: paths of one make are not alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

_PATH = re.compile(r"(?:\S*/)\S+")
_LEAST_PATHS = 0.8
"""The share of omitted lines that are paths, from which on they are counted by folder."""
_MOST_FOLDERS = 24
_LONGEST = 200


def by_folder(lines: Sequence[str]) -> list[tuple[str, int]]:
    """Return the folders of paths, ``src/api/*``, each with how many of ``lines`` are in it.

    The fullest ones are told apart first, and the fullest in one; what is left of it is said of
    itself. Empty where the lines are no paths.
    """
    paths = [line for line in lines if _PATH.fullmatch(line) and len(line) <= _LONGEST]
    if len(paths) < _LEAST_PATHS * len(lines):
        return []
    found = {"": paths}
    whole: set[str] = set()
    while len(whole) < len(found):
        fullest = max((one for one in found if one not in whole), key=lambda one: len(found[one]))
        found.update(_parted(found.pop(fullest), fullest, _MOST_FOLDERS - len(found)))
        if fullest in found:
            whole.add(fullest)
    counted = [(f"{folder}*", len(those)) for folder, those in found.items()]
    return sorted(counted, key=lambda one: -one[1])


def _parted(paths: Sequence[str], folder: str, most: int) -> dict[str, list[str]]:
    """Return the paths by the fullest folders inside of ``folder``, the others by itself."""
    inside: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        end = path.find("/", len(folder))
        inside[path[: end + 1] if end >= 0 else folder].append(path)
    if len(inside) > most:
        deeper = sorted(inside.keys() - {folder}, key=lambda one: (-len(inside[one]), one))
        for one in deeper[most - 1 :]:
            inside[folder] += inside.pop(one)
    return inside
