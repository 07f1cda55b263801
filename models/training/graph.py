"""The encoder as an ONNX graph, written operator by operator.

Exporters leave attention and GELU as a dozen small operators. Here they are ONNX Runtime's fused ones, around four
matrix products a layer, and the way the products are done is the caller's choice.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from encoder import HEADS
from quantize import Scales

CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
BUCKETS = 262_139  # a prime: of the linear model's runs of two and three tokens


@dataclass(frozen=True)
class Wide:
    """The linear model of wide.py: its weights, and last what a run adds to the square of a row's length."""

    table: np.ndarray  # int8 [vocabulary + BUCKETS, 5]
    scale: np.ndarray  # float32 [5]
    bias: np.ndarray  # float32 [4]

    @property
    def vocabulary(self) -> int:
        return len(self.table) - BUCKETS


class Graph:
    def __init__(self):
        self.nodes, self.weights = [], []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str | list[str], domain: str = "", **attributes):
        outputs = [output] if isinstance(output, str) else output
        self.nodes.append(helper.make_node(operator, inputs, outputs, domain=domain, **attributes))
        return output

    def model(self) -> onnx.ModelProto:
        tensor = helper.make_tensor_value_info
        inputs = [tensor(name, TensorProto.INT64, ["batch", "length"]) for name in ("input_ids", "attention_mask")]
        outputs = [tensor("logits", TensorProto.FLOAT, ["batch", 4])]
        graph = helper.make_graph(self.nodes, "arom", inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        onnx.checker.check_model(model)
        return model


class Fp32:
    """Arithmetic in fp32."""

    def embed(self, graph: Graph, table: np.ndarray) -> str:
        return graph.add("Gather", [graph.constant("word.weight", table), "input_ids"], "word")

    def product(self, graph: Graph, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        product = graph.add("MatMul", [x, graph.constant(f"{name}.weight", weight.T)], f"{name}.product")
        return graph.add("Add", [product, graph.constant(f"{name}.bias", bias)], name)


class Int8:
    """Embeddings in int8 with a scale per token; products in int8 with scales fixed beforehand."""

    def __init__(self, scales: dict[str, Scales]):
        self.scales = scales

    def embed(self, graph: Graph, table: np.ndarray) -> str:
        scale = np.abs(table).max(1, keepdims=True) / 127
        weight = graph.constant("word.weight", np.rint(table / scale).astype(np.int8))
        weight_scale = graph.constant("word.weight_scale", scale.astype(np.float32))
        graph.add("Gather", [weight, "input_ids"], "word.int8")
        graph.add("Cast", ["word.int8"], "word.float", to=TensorProto.FLOAT)
        graph.add("Gather", [weight_scale, "input_ids"], "word.scale")
        return graph.add("Mul", ["word.float", "word.scale"], "word")

    def product(self, graph: Graph, x: str, name: str, weight: np.ndarray, bias: np.ndarray) -> str:
        of = self.scales[name]
        if of.smooth is not None:
            smooth = graph.constant(f"{name}.smooth", (1 / of.smooth).astype(np.float32))
            x = graph.add("Mul", [x, smooth], f"{name}.smoothed")
        scale = graph.constant(f"{name}.scale", np.float32(of.scale))
        zero = graph.constant(f"{name}.zero", np.uint8(of.zero))
        x = graph.add("QuantizeLinear", [x, scale, zero], f"{name}.quantized")
        weights = graph.constant(f"{name}.weight", of.weight.T)
        weight_scale = graph.constant(f"{name}.weight_scale", of.weight_scale)
        inputs = [x, weights, scale, weight_scale, zero, "", graph.constant(f"{name}.bias", bias)]
        return graph.add("MatMulIntegerToFloat", inputs, name, CONTRIB)


def add_wide(graph: Graph, wide: Wide) -> str:
    """The linear model's share of the logits. Sums of whole numbers: neither order nor padding moves them."""
    add, constant = graph.add, graph.constant
    begin, far, one = constant("wide.begin", np.array([1])), constant("wide.far", np.array([2 ** 31])), constant("wide.axis", np.array([1]))
    last, two = constant("wide.last", np.array([-1])), constant("wide.two", np.array([2]))

    def shifted(x: str) -> list[str]:
        padded = add("Pad", [x, constant(f"wide.{x}.pads", np.array([0, 0, 0, 2]))], f"wide.{x}.padded")
        return [x, add("Slice", [padded, begin, last, one], f"wide.{x}.1"), add("Slice", [padded, two, far, one], f"wide.{x}.2")]

    first, second, third = shifted("input_ids")
    vocabulary, buckets = constant("wide.vocabulary", np.array(wide.vocabulary)), constant("wide.buckets", np.array(BUCKETS))
    grams = [first]
    for number, following in ((2, second), (3, third)):
        raised = add("Mul", [first if number == 2 else "wide.key2", vocabulary], f"wide.raised{number}")
        key = add("Add", [raised, following], f"wide.key{number}")
        rest = add("Mod", [key, buckets], f"wide.rest{number}")
        grams.append(add("Add", [rest, vocabulary], f"wide.gram{number}"))
    add("Concat", grams, "wide.grams", axis=1)
    add("Concat", shifted("attention_mask"), "wide.kept", axis=1)
    add("Cast", ["wide.kept"], "wide.kept32", to=TensorProto.INT32)
    add("Unsqueeze", ["wide.kept32", two], "wide.column")
    add("Gather", [constant("wide.table", wide.table), "wide.grams"], "wide.found")
    add("Cast", ["wide.found"], "wide.found32", to=TensorProto.INT32)
    add("Mul", ["wide.found32", "wide.column"], "wide.terms")
    add("ReduceSum", ["wide.terms", one], "wide.sums", keepdims=0)
    add("Cast", ["wide.sums"], "wide.float", to=TensorProto.FLOAT)
    add("Mul", ["wide.float", constant("wide.scale", wide.scale)], "wide.scaled")
    add("Split", ["wide.scaled", constant("wide.parts", np.array([len(wide.bias), 1]))], ["wide.weights", "wide.squares"], axis=1)
    add("Sqrt", ["wide.squares"], "wide.norm")
    add("Div", ["wide.weights", "wide.norm"], "wide.normed")
    return add("Add", ["wide.normed", constant("wide.bias", wide.bias)], "wide")


def build(state: dict[str, np.ndarray], arithmetic: Fp32 | Int8, wide: Wide | None = None) -> onnx.ModelProto:
    """The graph of a trained encoder; with `wide`, of its logits and the linear model's added up."""
    graph = Graph()
    add, constant = graph.add, graph.constant

    # Not ONNX Runtime's fused SkipLayerNormalization: on a CPU it takes three times as long as these two.
    def skip_norm(x: str, skip: str, name: str) -> str:
        weights = [constant(f"{name}.{part}", state[f"{name}.{part}"]) for part in ("weight", "bias")]
        add("Add", [x, skip], f"{name}.sum")
        return add("LayerNormalization", [f"{name}.sum", *weights], name, axis=-1, epsilon=1e-12)

    word = arithmetic.embed(graph, state["word.weight"])
    add("Shape", ["input_ids"], "length", start=1, end=2)
    zero = constant("zero", np.array([0]))
    add("Slice", [constant("pos.weight", state["pos.weight"]), zero, "length", zero], "pos")
    x = add("Add", [word, "pos"], "embedded")
    norm = [constant(f"ln.{part}", state[f"ln.{part}"]) for part in ("weight", "bias")]
    x = add("LayerNormalization", [x, *norm], "ln", axis=-1, epsilon=1e-12)

    add("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    for name in (f"layers.{number}" for number in range(sum(name.endswith(".q.bias") for name in state))):
        product = lambda x, part: arithmetic.product(graph, x, f"{name}.{part}", *parameters(state, f"{name}.{part}"))
        heads = [f"{name}.q", f"{name}.k", f"{name}.v"]
        add("Split", [product(x, "qkv")], heads, axis=-1, num_outputs=3)
        mixed = add("MultiHeadAttention", [*heads, "", "mask"], f"{name}.mixed", CONTRIB, num_heads=HEADS)
        x = skip_norm(product(mixed, "ao"), x, f"{name}.aln")
        inner = add("Gelu", [product(x, "fi")], f"{name}.gelu", CONTRIB)
        x = skip_norm(product(inner, "fo"), x, f"{name}.oln")

    # The mean over the tokens that are not padding, as a product with the mask. The mask is there twice, because
    # ONNX Runtime's product with a single row adds up in another order when padding makes the row longer.
    one, two = constant("one", np.array([1])), constant("two", np.array([2]))
    add("Cast", ["attention_mask"], "mask.float", to=TensorProto.FLOAT)
    add("Unsqueeze", ["mask.float", one], "mask.row")
    add("Concat", ["mask.row", "mask.row"], "mask.rows", axis=1)
    add("MatMul", ["mask.rows", x], "sums")
    add("Gather", ["sums", zero], "sum", axis=1)
    add("ReduceSum", ["mask.row", two], "count")
    add("Div", ["sum", "count"], "mean")
    add("Squeeze", ["mean", one], "pooled")
    head = [constant(f"head.{part}", state[f"head.{part}"]) for part in ("weight", "bias")]
    add("Gemm", ["pooled", *head], "deep" if wide else "logits", transB=1)
    if wide:
        add("Add", ["deep", add_wide(graph, wide)], "logits")
    return graph.model()


def state(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The weights that an int8 graph was built of, as far as int8 tells them."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if not tensor.name.startswith("wide.")}
    found = {name: value for name, value in held.items() if name.endswith((".weight", ".bias")) and value.dtype == np.float32}
    found["word.weight"] = held["word.weight"] * held["word.weight_scale"]
    for name in [name.removesuffix(".weight_scale") for name in held if name.startswith("layers.") and name.endswith(".weight_scale")]:
        weight = (held[f"{name}.weight"] * held[f"{name}.weight_scale"]).T * held.get(f"{name}.smooth", np.float32(1))
        bias, (layer, part) = found.pop(f"{name}.bias"), name.rsplit(".", 1)
        parts = ("q", "k", "v") if part == "qkv" else (part,)
        for of, rows, terms in zip(parts, np.split(weight, len(parts)), np.split(bias, len(parts))):
            found |= {f"{layer}.{of}.weight": rows, f"{layer}.{of}.bias": terms}
    return {name: value.astype(np.float32) for name, value in found.items()}


def parameters(state: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight [out, in] and bias of a product; those of query, key and value are one."""
    layer, part = name.rsplit(".", 1)
    names = ("q", "k", "v") if part == "qkv" else (part,)
    weight, bias = ([state[f"{layer}.{name}.{kind}"] for name in names] for kind in ("weight", "bias"))
    return np.concatenate(weight), np.concatenate(bias)
