"""Which tokens are accepted while the tokens file changes, and when it is missing."""

from __future__ import annotations

import json
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
