"""Step 6. Exports the trained encoder to ONNX, in fp32 and in int8.

    python export.py

Writes work/model-fp32.onnx and work/model.onnx, and prints the size and the F1 of both on the validation split.
"""

import numpy as np
import onnx
import onnxruntime
import torch
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

import graph
import quantize
from encoder import Encoder
from paths import LABELS, WORK, read_rows
from train import cut, tokens

FP32, INT8 = WORK / "model-fp32.onnx", WORK / "model.onnx"
SAMPLE = 80  # every so-manieth training text sets the scales


def trained(tokenizer: Tokenizer) -> Encoder:
    model = Encoder(tokenizer.get_vocab_size())
    model.load_state_dict(torch.load(WORK / "model.pt", weights_only=True))
    return model.eval()


def weights(model: Encoder) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def sample(model: Encoder, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """What comes into every product on the texts that set the scales."""
    return quantize.activations(model, [cut(row) for row in tokens("train", tokenizer)[::SAMPLE]])


def int8(state: dict[str, np.ndarray], seen: dict[str, np.ndarray], **choices) -> onnx.ModelProto:
    """The int8 graph; `choices` are those of `quantize.scales`."""
    scales = {name: quantize.scales(of, graph.parameters(state, name)[0], **choices) for name, of in seen.items()}
    return graph.build(state, graph.Int8(scales))


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
    model = trained(tokenizer)
    state = weights(model)
    onnx.save(graph.build(state, graph.Fp32()), FP32)
    onnx.save(int8(state, sample(model, tokenizer)), INT8)
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
