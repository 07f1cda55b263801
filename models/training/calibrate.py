"""Fits temperature scaling to the int8 model's logits on the validation split.

    python calibrate.py base
    python calibrate.py base --own held-out.jsonl      # on texts of your own that were not trained with

Writes work/NAME/calibration.json: the factor, and calibration error and F1 before, after, and when each
half is judged by a fit on the other half (mean of several ways to halve). The last was not measured on the texts it was
fitted to; work/NAME/reliability.png shows one such way bin by bin. `error_by_chance` is the error that the calibrated model
would have on so many texts if its probabilities were exactly right, the mean of labels drawn from them; `as_large_by_chance` is the
share of these draws whose error is as large as the one after or larger. `error_shifted` and the figures beside it are crossed, too, of
a fit that also moves the logit of question by a term, as a correction of its prior would; it is not what ships.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.metrics import f1_score

from export import int8_digest, int8_path, logits, session
from normalize import labelled
from paths import LABELS, STUDENTS, needed, read_rows, student
from train import ids, read_tokenizer, tokens

BINS = 15
HALVINGS, DRAWS = 20, 1000
QUESTION = np.array([label == "question" for label in LABELS], float)


def fit(scores: np.ndarray, labels: np.ndarray) -> float:
    """The factor of the scores with the least negative log-likelihood."""
    def loss(logarithm: float) -> float:
        return -log_softmax(scores * np.exp(logarithm), axis=1)[np.arange(len(labels)), labels].mean()

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def fit_shifted(scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """The factor, and the term for question beside it."""
    def loss(at: np.ndarray) -> float:
        shifted = scores * np.exp(at[0]) + at[1] * QUESTION
        return -log_softmax(shifted, axis=1)[np.arange(len(labels)), labels].mean()

    logarithm, term = minimize(loss, [0.0, 0.0], method="Nelder-Mead").x
    return float(np.exp(logarithm)), float(term)


def scaling(factor: float) -> dict:
    """As the manifest has it: a factor and a term for each class."""
    return {"scale": [round(factor, 6)] * len(LABELS), "bias": [0.0] * len(LABELS)}


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.ceil(sure * BINS).astype(int)
    return sum(abs((sure - right)[bins == b].sum()) for b in range(1, BINS + 1)) / len(labels)


def reliability(probabilities: np.ndarray, labels: np.ndarray, path: Path) -> None:
    """Reliability diagram (DeGroot and Fienberg 1983): how often answers are right, by how sure they are."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.ceil(sure * BINS).astype(int)
    filled = [b for b in range(1, BINS + 1) if (bins == b).any()]
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(5, 6), sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="0.6", linestyle="--", label="perfectly calibrated")
    upper.plot([sure[bins == b].mean() for b in filled], [right[bins == b].mean() for b in filled], "o-", label="this model")
    upper.set(ylabel="share that is right", xlim=(0.2, 1), ylim=(0.2, 1))
    upper.legend(loc="upper left")
    lower.bar([(b - 0.5) / BINS for b in filled], [(bins == b).sum() for b in filled], width=0.9 / BINS)
    lower.set(xlabel="probability of the label", ylabel="texts")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})


def crossed(scores: np.ndarray, labels: np.ndarray, order: np.ndarray, fitter) -> np.ndarray:
    """Probabilities of each half of `order` by a fit of factor and term on the other."""
    probabilities = np.zeros_like(scores)
    for half in (0, 1):
        held_out, seen = order[half::2], order[1 - half::2]
        factor, term = fitter(scores[seen], labels[seen])
        probabilities[held_out] = softmax(scores[held_out] * factor + term * QUESTION, axis=1)
    return probabilities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=STUDENTS)
    parser.add_argument("--own", type=Path, help="labelled texts, JSON Lines with `text` and `label`")
    args = parser.parse_args()
    name, tokenizer = args.name, read_tokenizer()
    if args.own:
        texts, labels = labelled(args.own)
        rows = ids(tokenizer, texts)
    else:
        rows, labels = tokens("valid", tokenizer), np.array([LABELS.index(row["label"]) for row in read_rows("valid")])
    scores = logits(session(needed(int8_path(name), f"export.py {name}")), rows).astype(float)
    factor = fit(scores, labels)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(labels)) for _ in range(HALVINGS)]
    ways = [crossed(scores, labels, order, lambda *seen: (fit(*seen), 0.0)) for order in orders]
    shifted = [crossed(scores, labels, order, fit_shifted) for order in orders]
    after = softmax(scores * factor, axis=1)
    judged = {"before": [softmax(scores, axis=1)], "after": [after], "crossed": ways, "shifted": shifted}
    result = {**scaling(factor), "model": int8_digest(name)}
    result["term_of_question"] = fit_shifted(scores, labels)[1]
    for when, several in judged.items():
        result[f"error_{when}"] = float(np.mean([calibration_error(one, labels) for one in several]))
        for average in ("micro", "macro"):
            result[f"{average}_f1_{when}"] = float(
                np.mean([f1_score(labels, one.argmax(1), average=average) for one in several]))
        result[f"question_f1_{when}"] = float(
            np.mean([f1_score(QUESTION[labels], QUESTION[one.argmax(1)]) for one in several]))
    draws = [(after.cumsum(1) > rng.random((len(after), 1))).argmax(1) for _ in range(DRAWS)]
    by_chance = np.array([calibration_error(after, drawn) for drawn in draws])
    result["error_by_chance"] = float(by_chance.mean())
    result["as_large_by_chance"] = float((by_chance >= result["error_after"]).mean())
    (student(name) / "calibration.json").write_text(json.dumps(result, indent=2))
    reliability(ways[0], labels, student(name) / "reliability.png")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
