"""Step 6. Exports the trained encoder to ONNX and quantizes it to int8.

    python export.py

Writes work/model-fp32.onnx and work/model.onnx, and prints the micro-F1 of both on the validation split.
"""

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

from encoder import Encoder
from paths import LABELS, WORK, read_rows
from train import cut, tokens

FP32, INT8 = WORK / "model-fp32.onnx", WORK / "model.onnx"


def export(model: Encoder) -> None:
    ids = torch.randint(5, 1000, (2, 16))
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length", max=512)
    torch.onnx.export(
        model.eval(), (ids, torch.ones_like(ids)), str(FP32), dynamo=True, external_data=False,
        input_names=["input_ids", "attention_mask"], output_names=["logits"],
        dynamic_shapes=({0: batch, 1: length}, {0: batch, 1: length}), opset_version=18,
    )
    # The exporter's notes on intermediate shapes contradict themselves and stop the quantizer.
    graph = onnx.load(FP32)
    del graph.graph.value_info[:]
    onnx.save(graph, FP32)


def quantize() -> None:
    """Weights to 7 bits of signed int8 per channel, activations to uint8 while running.

    Seven bits (`reduce_range`), because CPUs without VNNI add two 8-bit products in 16 bits and saturate:
    the eighth bit would cost accuracy there and make one bundle score differently on two machines.
    """
    quantize_dynamic(
        str(FP32), str(INT8), per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


def session(path, threads: int = 0) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits(model: onnxruntime.InferenceSession, rows: list[list[int]]) -> np.ndarray:
    """One row a run, as the server does it."""
    out = [model.run(["logits"], {"input_ids": np.array([row], np.int64),
                                  "attention_mask": np.ones((1, len(row)), np.int64)})[0][0] for row in rows]
    return np.array(out)


def main() -> None:
    tokenizer = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    model = Encoder(tokenizer.get_vocab_size())
    model.load_state_dict(torch.load(WORK / "model.pt", weights_only=True))
    export(model)
    quantize()
    rows = [cut(row) for row in tokens("valid", tokenizer)]
    labels = [LABELS.index(row["label"]) for row in read_rows("valid")]
    for path in (FP32, INT8):
        guessed = logits(session(path), rows).argmax(1)
        operators = len(onnx.load(path).graph.node)
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, {operators} operators, "
              f"micro-F1 {f1_score(labels, guessed, average='micro'):.4f} "
              f"macro-F1 {f1_score(labels, guessed, average='macro'):.4f}")


if __name__ == "__main__":
    main()
