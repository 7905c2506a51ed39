"""A small Kompress model for tests: graph and tokenizer of the contract, made here.

The graph embeds a token, mixes in its neighbours (so a score hangs on its surroundings) and
ends in a sigmoid; padding is masked out. Its weights come from a seeded generator.

    python -m tests.models DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from .texts import documents

POISON = "poison0token"
"""A word whose token is outside the embedding: any row with it makes ONNX Runtime fail."""
_WIDTH = 16
_VOCABULARY = 800


def build_model(directory: Path, *, name: str = "kompress-fp32.onnx", poison: bool = True) -> Path:
    """Write tokenizer and graph into ``directory`` and return it."""
    (directory / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(poison)
    tokenizer.save(str(directory / "tokenizer.json"))
    rows = tokenizer.get_vocab_size() - (1 if poison else 0)
    onnx.save(_graph(rows), directory / "onnx" / name)
    return directory


def _tokenizer(poison: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=_VOCABULARY,
        special_tokens=["[PAD]", "[CLS]", "[SEP]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents()[:20], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    if poison:
        tokenizer.add_tokens([POISON])
    return tokenizer


def _graph(rows: int) -> onnx.ModelProto:
    random = np.random.default_rng(7)

    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    weights = [
        constant("table", random.normal(0, 1, (rows, _WIDTH)).astype(np.float32)),
        constant("mix", random.normal(0, 0.4, (_WIDTH, _WIDTH, 3)).astype(np.float32)),
        constant("head", random.normal(0, 1, (_WIDTH, 1)).astype(np.float32)),
        constant("last", np.array([2], dtype=np.int64)),
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["embedded"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["embedded", "mask3"], ["masked"]),
        helper.make_node("Transpose", ["masked"], ["channels"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["channels", "mix"], ["mixed"], pads=[1, 1]),
        helper.make_node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1]),
        helper.make_node("Tanh", ["back"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "head"], ["logits3"]),
        helper.make_node("Squeeze", ["logits3", "last"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["final_scores"]),
    ]
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        "small-kompress",
        [
            helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, shape),
        ],
        [helper.make_tensor_value_info("final_scores", TensorProto.FLOAT, shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def foreign_model(directory: Path) -> Path:
    """Write a model whose graph has another contract, and return ``directory``."""
    build_model(directory)
    path = directory / "onnx" / "kompress-fp32.onnx"
    model = onnx.load(path)
    node = next(n for n in model.graph.node if n.output[0] == "final_scores")
    node.output[0] = model.graph.output[0].name = "logits_of_another"
    onnx.save(model, path)
    return directory


if __name__ == "__main__":
    print(build_model(Path(sys.argv[1])))
