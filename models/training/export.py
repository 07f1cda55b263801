"""Exports a student to ONNX, in fp32 and in int8.

    python export.py base [--seeds 1 2 3]
    python export.py fast

The weights are the mean of those of the seeds (Wortsman et al. 2022), which began alike.
The linear part of wide.py is in both. Writes work/NAME/model-fp32.onnx, work/NAME/model.onnx and, for the card, work/NAME/parts.md: F1 on the
validation split.
"""

import argparse
import hashlib
import os
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it while it is imported

import numpy as np
import onnx
import onnxruntime
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

import graph
import quantize
from encoder import Encoder
from paths import LABELS, SEEDS, STUDENTS, WORK, needed, read_rows, student
from prune import pruned
from train import load, read_tokenizer, tokens

WIDE = WORK / "wide.npz"
SAMPLE = 40  # every so-manieth training text sets the scales
# Of the linear part's logits, what is added to the encoder's. Beside the teacher's members more would be right, but students know part
# of it from the teacher; and more of it costs six layers on texts of other kinds.
MIX = {"base": 0.3, "fast": 0.1}
UNITS = {"fast": 1280}  # inner units of a feed-forward layer, of 1,536: without these it is not twice as fast as base


def fp32(name: str) -> Path:
    return student(name) / "model-fp32.onnx"


def int8_path(name: str) -> Path:
    return student(name) / "model.onnx"


def int8_digest(name: str) -> str:
    """Which int8 model what was measured is of."""
    return hashlib.sha256(int8_path(name).read_bytes()).hexdigest()


def seed_path(name: str, seed: int) -> Path:
    return WORK / "students" / f"{name}-{seed}.pt"


def read_wide(name: str) -> graph.Wide:
    found, mix = np.load(needed(WIDE, "wide.py")), np.float32(MIX[name])
    scale = found["scale"] * np.array([mix] * len(LABELS) + [1], np.float32)  # the last column is the row's length
    return graph.Wide(found["table"], scale, found["bias"] * mix)


def averaged(paths: list[Path]) -> Encoder:
    models = [load(needed(path, "student.py {} --seed {}".format(*path.stem.split("-")))) for path in paths]
    states = [model.state_dict() for model in models]
    models[0].load_state_dict({key: sum(state[key] for state in states) / len(states) for key in states[0]})
    return models[0].eval()


def weights(model: Encoder) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in model.state_dict().items()}


def sample(model: Encoder, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """What comes into every product on the texts that set the scales."""
    return quantize.activations(model, tokens("train", tokenizer)[::SAMPLE])


def lean(name: str, model: Encoder, tokenizer: Tokenizer) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What is exported of a student: its weights, and what comes into its products."""
    state, seen = weights(model), sample(model, tokenizer)
    return pruned(state, seen, UNITS[name]) if name in UNITS else (state, seen)


def int8(state: dict[str, np.ndarray], seen: dict[str, np.ndarray], wide: graph.Wide | None, **choices) -> onnx.ModelProto:
    """The int8 graph; `choices` are those of `quantize.scales`."""
    scales = {name: quantize.scales(of, graph.parameters(state, name)[0], **choices) for name, of in seen.items()}
    return graph.build(state, graph.Int8(scales), wide)


def session(path, threads: int = 0) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def logits(model: onnxruntime.InferenceSession, rows: list[list[int]]) -> np.ndarray:
    """One row a run, as the server does it."""
    out = [model.run(None, {"input_ids": np.array([row], np.int64),
                                  "attention_mask": np.ones((1, len(row)), np.int64)})[0][0] for row in rows]
    return np.array(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=STUDENTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    args = parser.parse_args()
    tokenizer = read_tokenizer()
    rows = tokens("valid", tokenizer)
    labels = [LABELS.index(row["label"]) for row in read_rows("valid")]

    def judged(guessed: np.ndarray) -> str:
        return " | ".join(f"{f1_score(labels, guessed, average=average):.4f}" for average in ("micro", "macro"))

    model = averaged([seed_path(args.name, seed) for seed in args.seeds])
    state, seen = lean(args.name, model, tokenizer)
    wide = read_wide(args.name)
    onnx.save(graph.build(state, graph.Fp32(), wide), fp32(args.name))
    onnx.save(int8(state, seen, wide), int8_path(args.name))
    encoder = onnx.load(int8_path(args.name))
    encoder.graph.output[0].name = "deep"
    alone = student(args.name) / "encoder.onnx"
    onnx.save(encoder, alone)
    lines = ["| graph | micro-F1 | macro-F1 |", "| --- | --- | --- |"]
    for title, path in (("fp32", fp32(args.name)), ("int8", int8_path(args.name)), ("int8, the encoder alone", alone)):
        lines.append(f"| {title} | {judged(logits(session(path), rows).argmax(1))} |")
    (student(args.name) / "parts.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    print(f"{int8_path(args.name)}: {int8_path(args.name).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
