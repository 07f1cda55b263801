"""Stacks the members into one teacher and writes its labels.

    python teacher.py

A multinomial logistic regression on the members' log-probabilities, itself fitted on four folds of the training split,
never on the validation split: neither a row's member nor its stack was fitted to its label. Writes

- ../soft-labels/members.npz: each member's log-probabilities, in half precision, in the order of the rows (committed);
- ../soft-labels/teacher.npz: the teacher's probabilities, `train` and `extra` (committed; what the students learn from);
- work/members.md: what the members do alone and together, for the card.

Both files have the SHA-256 of the texts of `train` and `extra` that they are of, and are refused beside others. Members of which ../soft-labels has
the numbers need not be trained again.
"""

import argparse

import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, log_loss

from calibrate import calibration_error
from members import FOLDER, FOLDS, MEMBERS, folds
from paths import LABELS, TRAINING, WORK, digest, read_rows

SOFT = TRAINING.parent / "soft-labels"


def read_soft(name: str) -> dict[str, np.ndarray]:
    """Numbers of ../soft-labels, if they are of the rows in work/."""
    found = dict(np.load(SOFT / f"{name}.npz"))
    for split in ("train", "extra"):
        if str(found.pop(f"sha256/{split}")) != digest(split):
            raise SystemExit(f"{SOFT / name}.npz has the labels of other texts than work/{split}.jsonl. Give data.py the splits "
                             "as published, in their order; if they, `arom normalize` or compose.py have changed, remove the file and work/members, and run members.py and teacher.py again.")
    return found


def write_soft(name: str, found: dict[str, np.ndarray]) -> None:
    SOFT.mkdir(exist_ok=True)
    np.savez_compressed(SOFT / f"{name}.npz", **found, **{f"sha256/{split}": digest(split) for split in ("train", "extra")})


def collect(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Log-probabilities by "MEMBER/SPLIT". What no fold's model may not see is the mean of the four."""
    kept = read_soft("members") if (SOFT / "members.npz").exists() else {}
    for name in MEMBERS:
        paths = [FOLDER / f"{name}-{fold}.npz" for fold in range(FOLDS)]
        if not all(path.exists() for path in paths):
            continue
        parts = [np.load(path) for path in paths]
        train = np.zeros((len(labels), len(LABELS)), np.float32)
        for part, (_, held_out) in zip(parts, folds(labels)):
            train[held_out] = part["held_out"]
        kept[f"{name}/train"] = train
        for split in ("valid", "extra"):
            kept[f"{name}/{split}"] = np.mean([part[split] for part in parts], axis=0)
    return {name: np.clip(values, -20, 0).astype(np.float16) for name, values in kept.items()}


def features(found: dict[str, np.ndarray], names: list[str], split: str) -> np.ndarray:
    return np.concatenate([found[f"{name}/{split}"].astype(float) for name in names], axis=1)


def stack(found: dict[str, np.ndarray], names: list[str], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Probabilities of the stacked members for every split; those of `train` by cross-fitting."""
    def fit(rows: np.ndarray, truth: np.ndarray):
        return LogisticRegression(C=0.1, max_iter=2000).fit(rows, truth)

    train = features(found, names, "train")
    crossed = np.zeros((len(labels), len(LABELS)))
    for seen, held_out in folds(labels):
        crossed[held_out] = fit(train[seen], labels[seen]).predict_proba(train[held_out])
    whole = fit(train, labels)
    others = {split: whole.predict_proba(features(found, names, split)) for split in ("valid", "extra")}
    return {"train": crossed, **others}


def row(name: str, scored: dict[str, np.ndarray], truths: dict[str, np.ndarray]) -> str:
    cells = []
    for split in ("train", "valid"):
        truth, probabilities = truths[split], scored[split]
        guessed = probabilities.argmax(1)
        cells += [f"{f1_score(truth, guessed, average='micro'):.4f}", f"{f1_score(truth, guessed, average='macro'):.4f}",
                  f"{log_loss(truth, probabilities):.4f}", f"{calibration_error(probabilities, truth):.4f}"]
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    truths = {split: np.array([LABELS.index(r["label"]) for r in read_rows(split)]) for split in ("train", "valid")}
    found = collect(truths["train"])
    names = [name for name in MEMBERS if f"{name}/train" in found]
    lines = [
        "| teacher | micro-F1 | macro-F1 | log loss | ECE | valid micro-F1 | macro-F1 | log loss | ECE |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in names:
        alone = {split: softmax(features(found, [name], split), axis=1) for split in ("train", "valid")}
        lines.append(row(name, alone, truths))
    for left_out in names:
        others = [name for name in names if name != left_out]
        lines.append(row(f"all but {left_out}, stacked", stack(found, others, truths["train"]), truths))
    teacher = stack(found, names, truths["train"])
    lines.append(row("**all, stacked**", teacher, truths))
    (WORK / "members.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
    write_soft("members", found)
    write_soft("teacher", {split: teacher[split].astype(np.float16) for split in ("train", "extra")})


if __name__ == "__main__":
    main()
