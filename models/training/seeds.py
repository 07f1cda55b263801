"""How much the seed matters: each student alone, int8, calibrated, through the Rust binary.

    python seeds.py base|fast FOLDER      # FOLDER holds wisesight-valid.jsonl and pythainlp-small.jsonl

Writes work/NAME/seeds.md, which `bundle.py` puts into the card, and prints it: every seed, their mean and standard deviation, and the
mean of their weights, which ships.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx

from bundle import LAYERS, evaluate, read_calibration, write
from calibrate import fit, scaling
from export import int8, int8_digest, int8_path, lean, logits, read_wide, seed_path, session
from paths import BEHAVIOUR, LABELS, SEEDS, STUDENTS, WORK, read_rows, student
from train import load, read_tokenizer, tokens


FIGURES = {"micro-F1": "micro_f1", "macro-F1": "macro_f1", "ECE": "expected_calibration_error", "log loss": "log_loss"}


def alone(name: str, seed: int, data_folder: Path) -> list[float]:
    """What one seed does."""
    tokenizer = read_tokenizer()
    model, path = load(seed_path(name, seed)), student(name) / f"model-{seed}.onnx"
    onnx.save(int8(*lean(name, model, tokenizer), read_wide(name)), path)
    labels = np.array([LABELS.index(row["label"]) for row in read_rows("valid")])
    factor = fit(logits(session(path), tokens("valid", tokenizer)).astype(float), labels)
    return measured(name, str(seed), path, scaling(factor), data_folder)


def measured(name: str, of: str, model: Path, calibration: dict, data_folder: Path) -> list[float]:
    """Micro-F1, macro-F1, calibration error and log loss on wisesight-valid; micro-F1 on pythainlp-small; behavioural tests passed."""
    folder = WORK / "seeds" / f"arom-{name}-{of}"
    write(folder, model, LAYERS[name], calibration)
    valid = evaluate(folder, str(data_folder / "wisesight-valid.jsonl"))
    small = evaluate(folder, str(data_folder / "pythainlp-small.jsonl"))
    behaviour = evaluate(folder, "--behaviour", str(BEHAVIOUR))
    return [*(valid[figure] for figure in FIGURES.values()), small["micro_f1"], behaviour["pass_rate"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=STUDENTS)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    name, data_folder = args.name, args.folder
    found = np.array([alone(name, seed, data_folder) for seed in SEEDS])
    ships = measured(name, "ships", int8_path(name), read_calibration(name), data_folder)
    rows = {**{str(seed): row for seed, row in zip(SEEDS, found)}, "mean": found.mean(0),
            "standard deviation": found.std(0, ddof=1), "**mean of the weights**": ships}
    head = [*FIGURES, "pythainlp-small", "behaviour"]
    lines = [f"<!-- {int8_digest(name)} -->", "| seed | " + " | ".join(head) + " |", "| --- |" + " --- |" * len(head)]
    lines += [f"| {title} | " + " | ".join(f"{figure:.4f}" for figure in row) + " |" for title, row in rows.items()]
    (student(name) / "seeds.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
