"""The model's tokenizer with the interface that headroom expects: words in, one row of ids out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tokenizers

from shared.errors import ModelError
from shared.headroom import MAX_TOKENS


class OneRow:
    """A tokenized chunk: ``input_ids`` and ``attention_mask`` of one row, and its word ids."""

    def __init__(self, encoding: tokenizers.Encoding) -> None:
        self._encoding = encoding

    def __getitem__(self, name: str) -> list[list[int]]:
        return [self._encoding.ids if name == "input_ids" else self._encoding.attention_mask]

    def word_ids(self, batch_index: int = 0) -> list[int | None]:
        """Return for each token the word it came from; None for special tokens."""
        word_ids: list[int | None] = self._encoding.word_ids
        return word_ids


class Tokenizer:
    """A ``tokenizer.json``; truncates to :data:`MAX_TOKENS`, never pads."""

    def __init__(self, path: Path) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"unreadable tokenizer {path}") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)

    def __call__(self, words: list[str], **options: Any) -> OneRow:
        """Tokenize one chunk; headroom always passes the same options, so they are ignored."""
        return OneRow(self._tokenizer.encode(words, is_pretokenized=True))
