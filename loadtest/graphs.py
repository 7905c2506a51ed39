"""Generates Kompress models for tests and measurements: a tokenizer, and a graph with the
expected inputs and outputs.

The small graph embeds a token, mixes in its neighbours (so a score depends on the surroundings)
and ends in a sigmoid; padding is masked out. Its weights come from a seeded generator.

    python -m loadtest.graphs DIR [--base]

``--base`` generates a graph of ModernBERT-base's size (149 million random weights), to measure
speed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

POISON = "poison0token"
"""A word whose token is outside the embedding: ONNX Runtime fails on any row that has it."""
_WIDTH = 16
_VOCABULARY = 800


@cache
def documents() -> list[str]:
    """Return real prose: the descriptions of installed packages, longest first."""
    found = {one.read_text("METADATA") or "" for one in importlib.metadata.distributions()}
    return sorted((t for t in found if len(t.split()) > 120), key=lambda t: (-len(t), t))


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

    def constant(name: str, value: Any) -> onnx.TensorProto:
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
    return _model(nodes, weights, "small-kompress")


def _model(nodes: list[Any], weights: list[Any], name: str) -> onnx.ModelProto:
    """Return a checked model with the expected inputs and outputs."""
    shape = ["batch", "tokens"]
    graph = helper.make_graph(
        nodes,
        name,
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
    """Write a model whose graph has other inputs and outputs, and return ``directory``."""
    build_model(directory)
    path = directory / "onnx" / "kompress-fp32.onnx"
    model = onnx.load(path)
    node = next(n for n in model.graph.node if n.output[0] == "final_scores")
    node.output[0] = model.graph.output[0].name = "logits_of_another"
    onnx.save(model, path)
    return directory


def build_base_model(directory: Path, *, rows: int = 50_368, layers: int = 22) -> Path:
    """Write the tokenizer and an encoder as wide as ModernBERT-base; return ``directory``."""
    build_model(directory)
    onnx.save(base_graph(rows, layers), directory / "onnx" / "kompress-fp32.onnx")
    return directory


def base_graph(rows: int, layers: int) -> onnx.ModelProto:
    """Return an encoder with ModernBERT-base's matrices, global attention and no rotary
    embedding."""
    random = np.random.default_rng(7)
    width, inner = 768, 1152
    weights = [numpy_helper.from_array(np.array(v, dtype=np.int64), n) for n, v in _SHAPES.items()]
    weights += [numpy_helper.from_array(np.ones(width, np.float32), "norm")]
    weights += [numpy_helper.from_array(np.float32(v).reshape(()), n) for n, v in _NUMBERS.items()]
    nodes: list[Any] = []

    def weight(name: str, *shape: int) -> str:
        value = random.normal(0, 0.02, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    node("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    node("Sub", ["one", "mask"], "absent")
    node("Mul", ["absent", "never"], "bias2")
    node("Unsqueeze", ["bias2", "axes12"], "bias")
    x = node("Gather", [weight("table", rows, width), "input_ids"], "x0")
    for n in range(layers):
        y = node("LayerNormalization", [x, "norm"], f"n{n}")
        parts = []
        for part in "qkv":
            flat = node("MatMul", [y, weight(f"w{part}{n}", width, width)], f"{part}f{n}")
            split = node("Reshape", [flat, "split"], f"{part}s{n}")
            perm = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
            parts.append(node("Transpose", [split], f"{part}{n}", perm=perm))
        raw = node("MatMul", parts[:2], f"raw{n}")
        scaled = node("Mul", [raw, "scale"], f"scaled{n}")
        biased = node("Add", [scaled, "bias"], f"biased{n}")
        seen = node("MatMul", [node("Softmax", [biased], f"p{n}"), parts[2]], f"seen{n}")
        back = node("Transpose", [seen], f"back{n}", perm=[0, 2, 1, 3])
        joined = node("Reshape", [back, "join"], f"joined{n}")
        out = node("MatMul", [joined, weight(f"wo{n}", width, width)], f"out{n}")
        x = node("Add", [x, out], f"a{n}")
        y = node("LayerNormalization", [x, "norm"], f"m{n}")
        up = node("MatMul", [y, weight(f"up{n}", width, inner)], f"u{n}")
        gate = node("MatMul", [y, weight(f"gate{n}", width, inner)], f"g{n}")
        open_ = node("Sigmoid", [gate], f"o{n}")
        both = node("Mul", [up, open_], f"b{n}")
        down = node("MatMul", [both, weight(f"down{n}", inner, width)], f"d{n}")
        x = node("Add", [x, down], f"x{n + 1}")
    node("MatMul", [x, weight("head", width, 1)], "logits3")
    node("Squeeze", ["logits3", "axis2"], "logits")
    node("Sigmoid", ["logits"], "final_scores")
    return _model(nodes, weights, "base-kompress")


_SHAPES = {"split": [0, 0, 12, 64], "join": [0, 0, 768], "axes12": [1, 2], "axis2": [2]}
_NUMBERS = {"one": 1.0, "never": -1e4, "scale": 0.125}


def main() -> None:
    """Write a model directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--base", action="store_true")
    options = parser.parse_args()
    print((build_base_model if options.base else build_model)(options.directory))


if __name__ == "__main__":
    main()
