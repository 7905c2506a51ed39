"""The embedded Valkey keeps its data in the given directory, whatever its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..farm import Farm


@pytest.mark.parametrize("name", ["with space", 'with "quotes" and \\x20'])
def test_serves_from_directory_whatever_its_name(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    with Farm(directory) as farm:
        farm.start_redis()
        farm.redis.set("kept", b"1")
        assert list((directory / "valkey").glob("appendonlydir/*.aof"))
        assert "\n" in (directory / "valkey/valkey.log").read_text()
