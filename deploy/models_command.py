"""``headroom-farm models``: the only code that downloads a model, and only on request."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec

from shared.errors import ModelError
from shared.model_files import (
    GRAPHS,
    MANIFEST,
    REVISIONS,
    TOKENIZER,
    TOKENIZER_ID,
    Manifest,
    sha256,
)
from shared.settings import Settings


def pull(model: str, revision: str | None, directory: Path, token_file: Path | None = None) -> str:
    """Fetch the graphs of ``model`` and its tokenizer into ``directory``; return a summary.

    Files go through the Hugging Face cache. The tokenizer is the model's own if it has one, else
    ModernBERT's at the pinned revision. ``token_file`` holds a token for the hub;
    without it the hub library looks for one itself (``HF_TOKEN``).

    Raises:
        ModelError: The token file cannot be used, the hub cannot be reached, or the model has
            no known graph.
    """
    revision = revision or REVISIONS.get(model)
    if revision is None:
        raise ModelError(f"{model} has no pinned revision: give one with --revision")
    token = _token(token_file) if token_file else None
    (directory / "onnx").mkdir(parents=True, exist_ok=True)
    files = {}
    for name in GRAPHS:
        found = _fetched(model, f"onnx/{name}", revision, directory, token)
        if found:
            files[f"onnx/{name}"] = found
    if not files:
        raise ModelError(f"{model} at {revision} has none of {', '.join(GRAPHS)}")
    tokenizer = _fetched(model, TOKENIZER, revision, directory, token) or _fetched(
        TOKENIZER_ID, TOKENIZER, REVISIONS[TOKENIZER_ID], directory, token
    )
    if tokenizer is None:
        raise ModelError(f"neither {model} nor {TOKENIZER_ID} has a {TOKENIZER}")
    files[TOKENIZER] = tokenizer
    manifest = Manifest(model, revision, files)
    (directory / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    lines = [f"{digest}  {name}" for name, digest in files.items()]
    return "\n".join([f"{model} at {revision} is in {directory}", *lines])


def _token(file: Path) -> str:
    try:
        token = file.read_text().strip()
    except (OSError, ValueError):
        raise ModelError(f"unreadable token file {file}") from None
    if not token:
        raise ModelError(f"empty token file {file}")
    return token


def _fetched(
    model: str, name: str, revision: str, directory: Path, token: str | None
) -> str | None:
    """Copy one file from the hub to ``directory``; return its SHA-256, or None if it is missing."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        cached = hf_hub_download(model, name, revision=revision, token=token)
    except LocalEntryNotFoundError as error:
        raise ModelError(f"the hub cannot be reached for {model}/{name}") from error
    except EntryNotFoundError:
        return None
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"the hub refused {model}/{name}: {type(error).__name__}") from error
    partial = directory / f"{name}.part"
    shutil.copyfile(cached, partial)
    partial.replace(directory / name)
    return sha256(directory / name)


def check(settings: Settings, directory: Path) -> str:
    """Load the model in ``directory``, run one text, and return a line with provider and time.

    Raises:
        ModelError: The model cannot be used; the message says why.
    """
    from workers.compress_block import warm_up_texts
    from workers.engines import kompress

    started = time.perf_counter()
    engine, status = kompress(settings.model_copy(update={"model_dir": directory}))
    loaded = time.perf_counter()
    text = warm_up_texts()[-1]
    engine.kept(text, "", None)
    ran = time.perf_counter()
    lines = [
        f"graph     {status.graph}",
        f"provider  {status.provider}" + (f" ({status.reason})" if status.reason else ""),
        f"loaded    {loaded - started:.2f} s",
        f"one text  {(ran - loaded) * 1000:.1f} ms ({len(text.split())} words)",
    ]
    return "\n".join(lines)
