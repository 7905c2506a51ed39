"""Where a Kompress model is on disk, which revisions are pinned, and its checksums.

A model directory holds ``tokenizer.json`` and, in it or in ``onnx/``, one or more of the
graphs named in :data:`GRAPHS`. ``headroom-farm models pull`` writes one, with a manifest.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from .errors import ModelError

MODEL_ID = "chopratejas/kompress-v2-base"
TOKENIZER_ID = "answerdotai/ModernBERT-base"
REVISIONS = {
    MODEL_ID: "b1563631b35bfdcee37587ad530147497d820d4c",
    TOKENIZER_ID: "8949b909ec900327062f0ebf497f51aef5e6f0c8",
}
"""The revisions headroom 0.42 pins: graph and tokenizer must belong together."""

GRAPHS = ("kompress-fp32.onnx", "kompress-fp16.onnx", "kompress-int8-wo.onnx")
TOKENIZER = "tokenizer.json"
MANIFEST = "manifest.json"


class Manifest(msgspec.Struct, frozen=True):
    """A pulled model: its id and revision, and SHA-256 (hex) by file."""

    model: str
    revision: str
    files: dict[str, str]


class Model(NamedTuple):
    """A model on disk: its graphs by file name, its tokenizer, its origin."""

    graphs: dict[str, Path]
    tokenizer: Path
    origin: str


def sha256(path: Path) -> str:
    """Return the file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_directory(directory: Path) -> Model:
    """Return the model in ``directory``.

    Raises:
        ModelError: Something is missing.
    """
    if not directory.is_dir():
        raise ModelError(f"no model directory {directory}")
    graphs: dict[str, Path] = {}
    for name in GRAPHS:
        for path in (directory / "onnx" / name, directory / name):
            if path.is_file():
                graphs.setdefault(name, path)
    if not graphs:
        raise ModelError(f"no graph in {directory}: none of {', '.join(GRAPHS)}")
    if not (directory / TOKENIZER).is_file():
        raise ModelError(f"no {TOKENIZER} in {directory}")
    return Model(graphs, directory / TOKENIZER, str(directory))


def in_cache() -> Model:
    """Return the pinned model from the Hugging Face cache; never uses the network.

    Raises:
        ModelError: It is not there, or not complete.
    """
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        raise ModelError("huggingface_hub is not installed") from None
    graphs: dict[str, Path] = {}
    for name in GRAPHS:
        found = try_to_load_from_cache(MODEL_ID, f"onnx/{name}", revision=REVISIONS[MODEL_ID])
        if isinstance(found, str):
            graphs[name] = Path(found)
    tokenizer = try_to_load_from_cache(TOKENIZER_ID, TOKENIZER, revision=REVISIONS[TOKENIZER_ID])
    if not graphs or not isinstance(tokenizer, str):
        raise ModelError(f"no model: {MODEL_ID} is not in the Hugging Face cache")
    return Model(graphs, Path(tokenizer), MODEL_ID)


def verify(path: Path) -> None:
    """Compare a file with the manifest of its model directory, if there is one.

    Raises:
        ModelError: The checksum differs, or the manifest cannot be read.
    """
    for directory in (path.parent, path.parent.parent):
        if (directory / MANIFEST).is_file():
            try:
                manifest = msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
            except (msgspec.DecodeError, OSError) as error:
                raise ModelError(f"unreadable manifest in {directory}") from error
            wanted = manifest.files.get(path.relative_to(directory).as_posix())
            if wanted is not None and wanted != sha256(path):
                raise ModelError(f"{path.name} is not the file that was pulled: checksum differs")
            return
