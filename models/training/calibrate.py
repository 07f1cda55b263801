"""Step 9. Fits vector scaling to the int8 model's logits on the validation split.

    python calibrate.py base|fast

Writes work/NAME/calibration.json: a scale and a bias per class, and the calibration error before, after, and after when
each half is judged by a fit on the other half. The last of the three was not measured on the texts it was fitted to;
work/NAME/reliability.png shows it bin by bin.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from export import int8_path, logits, session
from paths import LABELS, read_rows, student
from train import read_tokenizer, tokens


BINS = 15
# How firmly factors and terms are held at 1 and 0. The terms firmly: 42 questions cannot tell theirs, and a
# loose one trades the recall of questions for nothing (half fitted, other half measured).
SCALE_PRIOR, BIAS_PRIOR = 1e-3, 3e-2


def fit(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least negative log-likelihood, held near the identity where the data says little."""
    count = len(LABELS)

    def loss(parameters):
        scale, bias = np.exp(parameters[:count]), parameters[count:]
        likelihood = log_softmax(scores * scale + bias, axis=1)[np.arange(len(labels)), labels]
        return -likelihood.mean() + SCALE_PRIOR * (parameters[:count] ** 2).sum() + BIAS_PRIOR * (bias ** 2).sum()

    best = minimize(loss, np.zeros(2 * count), method="L-BFGS-B").x
    return np.exp(best[:count]), best[count:]


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


def main(name: str) -> None:
    labels = np.array([LABELS.index(row["label"]) for row in read_rows("valid")])
    scores = logits(session(int8_path(name)), tokens("valid", read_tokenizer())).astype(float)
    scale, bias = fit(scores, labels)
    crossed = np.zeros_like(scores)
    for half in (0, 1):
        held_out = np.arange(len(labels)) % 2 == half
        other = fit(scores[~held_out], labels[~held_out])
        crossed[held_out] = softmax(scores[held_out] * other[0] + other[1], axis=1)
    result = {
        "scale": scale.round(6).tolist(),
        "bias": bias.round(6).tolist(),
        "error_before": calibration_error(softmax(scores, axis=1), labels),
        "error_after": calibration_error(softmax(scores * scale + bias, axis=1), labels),
        "error_crossed": calibration_error(crossed, labels),
    }
    (student(name) / "calibration.json").write_text(json.dumps(result, indent=2))
    reliability(crossed, labels, student(name) / "reliability.png")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
