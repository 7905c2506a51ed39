"""Which tokens are accepted while the tokens file changes, and when it is missing."""

from __future__ import annotations

import json
import os
from pathlib import Path

from api.http.auth import Tokens

TOKEN = "token-of-one-0123456789"


def test_rejects_all_tokens_while_file_is_deleted(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    text = json.dumps([{"tenant": "one", "token": TOKEN, "scopes": ["compress"]}])
    path.write_text(text)
    tokens = Tokens(path)
    assert tokens.find(TOKEN) is not None
    path.unlink()
    assert tokens.find(TOKEN) is None
    assert not tokens.knows("one")
    path.write_text(text)
    assert tokens.find(TOKEN) is not None


def test_unparsable_file_keeps_last_good_tenants(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(json.dumps([{"tenant": "one", "token": TOKEN, "scopes": ["compress"]}]))
    tokens = Tokens(path)
    assert tokens.find(TOKEN) is not None
    path.write_text("[")
    assert tokens.find(TOKEN) is not None


def test_file_of_the_same_time_and_size_is_read_again(tmp_path: Path) -> None:
    path, other = tmp_path / "tokens.json", tmp_path / "other.json"
    entries = [{"tenant": "one", "token": TOKEN, "scopes": ["compress"]}]
    path.write_text(json.dumps(entries))
    tokens = Tokens(path)
    assert tokens.find(TOKEN) is not None
    other.write_text(json.dumps([{**entries[0], "token": TOKEN[::-1]}]))
    before = path.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert other.stat().st_size == before.st_size
    other.replace(path)
    assert tokens.find(TOKEN) is None
    assert tokens.find(TOKEN[::-1]) is not None
