"""Pulling a model from a hub (a local one), its manifest, and checking it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtest.graphs import build_model, foreign_model
from shared.errors import ModelError
from shared.model_files import MODEL_ID, REVISIONS, TOKENIZER_ID, in_directory, verify

from ..forked import completed

REVISION = REVISIONS[MODEL_ID]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


shown: set[str] = set()
"""The ``authorization`` headers that the hub received."""


@pytest.fixture
def hub(model: Path) -> Iterator[tuple[str, list[str]]]:
    """A server with the hub's file routes for one model; its address and the requested paths."""
    asked: list[str] = []
    shown.clear()

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            if token := self.headers.get("authorization"):
                shown.add(token)
            _, _, rest = self.path.partition("/resolve/")
            revision, _, name = rest.partition("/")
            file = model / name
            if not self.path.startswith(f"/{MODEL_ID}/") or not file.is_file():
                self.send_response(404)
                self.send_header("X-Error-Code", "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            data = file.read_bytes()
            self.send_response(200)
            self.send_header("X-Repo-Commit", revision)
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        do_GET = do_HEAD

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


def _command(home: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HOME": str(home)}
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # set in this process
        environment.pop(name, None)
    return subprocess.run(
        [sys.executable, "-P", "-m", "deploy.cli", "models", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _without_hub(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that asks no hub: what is loaded may have another hub's address."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:1"}
    return completed(["models", *arguments], environment)


def test_pull_fetches_pinned_revision_with_checksums(
    hub: tuple[str, list[str]], model: Path, tmp_path: Path
) -> None:
    endpoint, asked = hub
    into = tmp_path / "into"
    done = _command(tmp_path, endpoint, "pull", "--into", str(into))
    assert done.returncode == 0, done.stderr
    assert all(f"/resolve/{REVISION}/" in path for path in asked if MODEL_ID in path)
    manifest = json.loads((into / "manifest.json").read_bytes())
    assert (manifest["model"], manifest["revision"]) == (MODEL_ID, REVISION)
    graph = into / "onnx/kompress-fp32.onnx"
    assert graph.read_bytes() == (model / "onnx/kompress-fp32.onnx").read_bytes()
    assert set(manifest["files"]) == {"onnx/kompress-fp32.onnx", "tokenizer.json"}
    verify(graph)
    checked = _without_hub("check", str(into))
    assert checked.returncode == 0, checked.stderr
    assert "provider  cpu" in checked.stdout
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(ModelError, match="checksum"):
        verify(graph)
    spoilt = _without_hub("check", str(into))
    assert spoilt.returncode == 2
    assert "checksum differs" in spoilt.stderr


def test_pull_sends_given_token(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, _ = hub
    token = tmp_path / "hub-token"
    token.write_text("hub-token-1\n")
    into = str(tmp_path / "into")
    assert _command(tmp_path, endpoint, "pull", "--into", into).returncode == 0
    assert not shown
    again = tmp_path / "again"
    done = _command(again, endpoint, "pull", "--into", into, "--token-file", str(token))
    assert done.returncode == 0, done.stderr
    assert shown == {"Bearer hub-token-1"}
    assert "hub-token-1" not in done.stdout + done.stderr
    token.write_text("")
    for file, said in [(token, "empty token file"), (tmp_path / "none", "unreadable token file")]:
        done = _without_hub("pull", "--into", into, "--token-file", str(file))
        assert done.returncode == 2
        assert said in done.stderr


def test_pull_reports_error_in_one_line(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, _ = hub
    into = str(tmp_path / "into")
    for arguments, said in [
        (("--model", "nobody/nothing"), "no pinned revision"),
        (("--model", "nobody/nothing", "--revision", "abc"), "has none of"),
    ]:
        done = _command(tmp_path, endpoint, "pull", "--into", into, *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_check_rejects_model_of_another_contract(tmp_path: Path) -> None:
    done = _without_hub("check", str(foreign_model(tmp_path / "m")))
    assert done.returncode == 2
    assert "another contract" in done.stderr


def test_rejects_directory_without_tokenizer(model: Path, tmp_path: Path) -> None:
    (tmp_path / "kompress-fp32.onnx").write_bytes((model / "onnx/kompress-fp32.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        in_directory(tmp_path)


def test_finds_model_in_hugging_face_cache(model: Path, tmp_path: Path) -> None:
    """A worker finds the pinned revisions in the hub client's cache without the network."""
    program = "from shared.model_files import in_cache; print(*in_cache()[0].values(), sep=chr(10))"
    files = {MODEL_ID: "onnx/kompress-fp32.onnx", TOKENIZER_ID: "tokenizer.json"}
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:1"}

    def look() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)

    places = {}
    for name, file in files.items():
        assert "is not in the Hugging Face cache" in look().stderr  # until the model is complete
        snapshots = tmp_path / "hub" / f"models--{name.replace('/', '--')}" / "snapshots"
        places[name] = snapshots / REVISIONS[name] / file
        places[name].parent.mkdir(parents=True)
        places[name].write_bytes((model / file).read_bytes())
    assert look().stdout.split() == [str(places[MODEL_ID])]
