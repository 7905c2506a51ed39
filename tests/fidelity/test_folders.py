"""Omitted paths are counted by the folders in which they are."""

from __future__ import annotations

import random

import pytest

from workers.fidelity.folders import by_folder


def _paths(seed: int) -> list[str]:
    rng = random.Random(seed)
    depth, width = rng.randrange(1, 7), rng.choice([2, 5, 40])
    return [
        "/".join(
            [f"d{rng.randrange(width)}" for _ in range(rng.randrange(1, depth + 1))] + [f"{n}"]
        )
        for n in range(rng.choice([5, 300]))
    ]


@pytest.mark.parametrize("seed", range(40))
def test_each_path_is_counted_in_a_folder_that_it_is_in(seed: int) -> None:
    paths = _paths(seed)
    found = by_folder(paths)

    assert sum(count for _, count in found) == len(paths)
    assert 0 < len(found) <= 24
    for folder, count in found:
        assert sum(path.startswith(folder[:-1]) for path in paths) >= count


def test_fullest_folders_are_told_apart_and_the_others_together() -> None:
    paths = [f"./src/part{n}/{i}.java" for n in range(60) for i in range(3 + 9 * (n < 4))]
    found = dict(by_folder(paths))

    assert [found[f"./src/part{n}/*"] for n in range(4)] == [12] * 4
    assert found["./src/*"] > 100


def test_lines_that_are_no_paths_have_no_folders() -> None:
    assert by_folder(["src/a.py", "three words here", "more of them"]) == []
