"""The policy is read again when its file changes, and kept while the file is invalid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.runtime.policy_reload import PolicySource
from shared.policy.rules import Subject
from shared.settings import Settings

ANYBODY = Subject.of("a", "m")
GOOD = "[[rule]]\nname = 'pilot'\nshare = 50\n"


def _source(path: Path) -> PolicySource:
    return PolicySource(Settings(policy_file=path))


def _mode(source: PolicySource) -> str:
    assert source.policy is not None
    return source.policy.ruling(ANYBODY).mode


def test_no_file_set_means_no_policy() -> None:
    source = PolicySource(Settings())
    source.look()
    assert source.policy is None
    assert source.state is None
    assert not source.fault


def test_empty_setting_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADROOM_POLICY_FILE", "")
    assert PolicySource(Settings()).policy is None


def test_changed_file_applies_after_next_check(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(GOOD)
    source = _source(path)
    assert _mode(source) == "on"
    path.write_text(GOOD.replace("share = 50", "mode = 'audit'"))
    source.look()
    assert _mode(source) == "audit"
    assert source.state is not None
    assert source.state["fault"] is None


@pytest.mark.parametrize("spoil", ["text", "gone", "folder", "unreadable"])
def test_last_good_policy_is_kept_and_fault_shown(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(GOOD)
    source = _source(path)
    before = source.policy
    if spoil == "text":
        path.write_text("[[rule]]\nmode = 'x'\n")
    elif spoil == "unreadable":
        path.write_bytes(b"\xff\xfe")
    else:
        path.unlink()
        if spoil == "folder":
            path.mkdir()
    source.look()
    assert source.policy is before
    assert source.fault == ("invalid" if spoil in ("text", "unreadable") else "missing")
    assert source.state is not None
    assert source.state["fault"] == source.fault
    if spoil == "folder":
        path.rmdir()
    path.write_text(GOOD + "fold = false\n")
    source.look()
    assert not source.fault
    assert source.policy is not before


def test_without_any_good_policy_nothing_is_compressed(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    source = _source(path)
    assert _mode(source) == "off"
    assert source.state is not None
    assert source.state["all_left_as_they_came"] is True
    path.write_text(GOOD)
    source.look()
    assert _mode(source) == "on"


def test_notices_replaced_file_of_same_size_and_time(tmp_path: Path) -> None:
    """Updating a ConfigMap makes a symbolic link point to another file."""
    path, other = tmp_path / "policy.toml", tmp_path / "other"
    path.write_text(GOOD)
    source = _source(path)
    stat = path.stat()
    other.write_text(GOOD.replace("50", "51"))
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)
    source.look()
    assert source.policy is not None
    assert source.policy.ruling(ANYBODY).share == 51
