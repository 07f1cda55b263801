"""The shipped model as a usual exporter would leave it, for servers that do no graph work of their own.

    python benches/peers/graphs.py models/arom-base OUT

Takes the int8 weights of the bundle's encoder back to fp32 and writes OUT/plain-fp32.onnx, every layer in the separate operators
that PyTorch's exporter writes, and OUT/plain-int8.onnx, ONNX Runtime's dynamic quantization of it (int8 weights per
channel). Checks that the fp32 logits lie near the bundle's own.
"""

import os
import sys
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it while it is imported

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

HEADS, HIDDEN = 12, 384


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The fp32 weights [in, out] behind the shipped graph."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    state = {name: value for name, value in held.items() if name.split(".")[-1] in ("bias", "weight") and value.dtype == np.float32}
    state["word.weight"] = held["word.weight"] * held["word.weight_scale"]
    for name in (name[:-len(".smooth")] for name in held if name.endswith(".smooth")):
        smooth = held[f"{name}.smooth"]  # what the activations are multiplied by
        state[f"{name}.weight"] = smooth[:, None] * held[f"{name}.weight"] * held[f"{name}.weight_scale"]
    return {name: value.astype(np.float32) for name, value in state.items()}


def plain(shipped: onnx.ModelProto) -> onnx.ModelProto:
    state = weights(shipped)
    # The linear part, which is of plain operators already.
    wide = [node for node in shipped.graph.node if node.output[0].split(".")[0] == "wide"]
    nodes, tensors = list(wide), [tensor for tensor in shipped.graph.initializer if tensor.name.startswith("wide.")]

    def constant(name: str, value) -> str:
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(operator: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def linear(x: str, name: str, weight, bias) -> str:
        product = add("MatMul", [x, constant(f"{name}.weight", weight)], f"{name}.product")
        return add("Add", [product, constant(f"{name}.bias", bias)], name)

    def norm(x: str, name: str) -> str:
        parts = [constant(f"{name}.{part}", state[f"{name}.{part}"]) for part in ("weight", "bias")]
        return add("LayerNormalization", [x, *parts], name, axis=-1, epsilon=1e-12)

    zero = constant("zero", np.array([0]))
    split = constant("split", np.array([0, 0, HEADS, HIDDEN // HEADS]))
    joined = constant("joined", np.array([0, 0, HIDDEN]))
    one, two, root2, half = (constant(*pair) for pair in (
        ("one", np.float32(1)), ("axes", np.array([1, 2])), ("root2", np.float32(2 ** 0.5)), ("half", np.float32(0.5))))
    scale = constant("scale", np.float32((HIDDEN // HEADS) ** 0.5))
    add("Gather", [constant("word.weight", state["word.weight"]), "input_ids"], "word")
    add("Shape", ["input_ids"], "length", start=1, end=2)
    add("Slice", [constant("pos.weight", state["pos.weight"]), zero, "length", zero], "pos")
    x = norm(add("Add", ["word", "pos"], "embedded"), "ln")
    add("Cast", ["attention_mask"], "mask", to=TensorProto.FLOAT)
    add("Unsqueeze", ["mask", two], "mask.wide")
    add("Sub", [one, "mask.wide"], "hidden")
    add("Mul", ["hidden", constant("lowest", np.float32(np.finfo(np.float32).min))], "masked")
    layers = sum(name.endswith(".qkv.weight") for name in state)
    for layer in (f"layers.{number}" for number in range(layers)):
        heads = {}
        weight, bias = state[f"{layer}.qkv.weight"], state[f"{layer}.qkv.bias"]
        for at, part in enumerate("qkv"):
            cut = slice(at * HIDDEN, (at + 1) * HIDDEN)
            out = linear(x, f"{layer}.{part}", weight[:, cut], bias[cut])
            out = add("Reshape", [out, split], f"{layer}.{part}.split")
            heads[part] = add("Transpose", [out], f"{layer}.{part}.heads", perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3])
        scores = add("MatMul", [heads["q"], heads["k"]], f"{layer}.scores")
        scores = add("Div", [scores, scale], f"{layer}.scaled")
        scores = add("Add", [scores, "masked"], f"{layer}.masked")
        scores = add("Softmax", [scores], f"{layer}.shares", axis=-1)
        mixed = add("MatMul", [scores, heads["v"]], f"{layer}.mixed")
        mixed = add("Transpose", [mixed], f"{layer}.mixed.back", perm=[0, 2, 1, 3])
        mixed = add("Reshape", [mixed, joined], f"{layer}.mixed.joined")
        out = linear(mixed, f"{layer}.ao", state[f"{layer}.ao.weight"], state[f"{layer}.ao.bias"])
        x = norm(add("Add", [out, x], f"{layer}.aln.sum"), f"{layer}.aln")
        inner = linear(x, f"{layer}.fi", state[f"{layer}.fi.weight"], state[f"{layer}.fi.bias"])
        error = add("Erf", [add("Div", [inner, root2], f"{layer}.gelu.in")], f"{layer}.gelu.erf")
        inner = add("Mul", [inner, add("Add", [error, one], f"{layer}.gelu.one")], f"{layer}.gelu.twice")
        inner = add("Mul", [inner, half], f"{layer}.gelu")
        out = linear(inner, f"{layer}.fo", state[f"{layer}.fo.weight"], state[f"{layer}.fo.bias"])
        x = norm(add("Add", [out, x], f"{layer}.oln.sum"), f"{layer}.oln")
    last = constant("last", np.array([2]))
    add("Unsqueeze", ["mask", last], "mask.column")
    add("ReduceSum", [add("Mul", [x, "mask.column"], "kept"), constant("rows", np.array([1]))], "sum", keepdims=0)
    add("ReduceSum", ["mask.column", "rows"], "count", keepdims=0)
    add("Div", ["sum", "count"], "pooled")
    head = [constant(f"head.{part}", state[f"head.{part}"]) for part in ("weight", "bias")]
    add("Gemm", ["pooled", *head], "deep", transB=1)
    add("Add", ["deep", "wide"], "logits")
    tensor = helper.make_tensor_value_info
    inputs = [tensor(name, TensorProto.INT64, ["batch", "length"]) for name in ("input_ids", "attention_mask")]
    outputs = [tensor("logits", TensorProto.FLOAT, ["batch", 4])]
    graph = helper.make_graph(nodes, "plain", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model


def difference(left: Path, right: Path) -> float:
    """The most that a logit of one graph lies from the other's, over rows of made-up ids of every length."""
    sessions = [onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]) for path in (left, right)]
    random, most = np.random.default_rng(1), 0.0
    for length in (4, 9, 17, 33, 65, 129):
        ids = random.integers(4, 14_000, (4, length))
        mask = (np.arange(length) < np.array([[length], [length], [length // 2], [length - 1]])).astype(np.int64)
        feed = {"input_ids": np.where(mask == 1, ids, 1), "attention_mask": mask}
        first, second = (session.run(["logits"], feed)[0] for session in sessions)
        most = max(most, float(np.abs(first - second).max()))
    return most


def main(bundle: str, out: str) -> None:
    shipped, folder = Path(bundle) / "model.onnx", Path(out)
    fp32, int8 = folder / "plain-fp32.onnx", folder / "plain-int8.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    newest = max(shipped.stat().st_mtime, Path(__file__).stat().st_mtime)
    if not all(file.is_file() and file.stat().st_mtime > newest for file in (fp32, int8)):
        onnx.save(plain(onnx.load(shipped)), fp32)
        half = folder / "half.onnx"
        quantize_dynamic(fp32, half, per_channel=True, weight_type=QuantType.QInt8)
        half.rename(int8)
    most = difference(shipped, fp32)
    assert most < 0.5, f"plain fp32 is {most:.2f} from the shipped logits"


if __name__ == "__main__":
    main(*sys.argv[1:])
