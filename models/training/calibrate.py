"""Step 7. Fits vector scaling to the int8 model's logits on the validation split.

    python calibrate.py

Writes work/calibration.json: a scale and a bias per class, and the calibration error before, after, and
after when each half is judged by a fit on the other half. The last of the three was not measured on
the texts it was fitted to, though the epoch was chosen on all of them.
"""

import json

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from tokenizers import Tokenizer

from export import INT8, logits, session
from paths import LABELS, WORK, read_rows
from train import cut, tokens

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


def main() -> None:
    tokenizer = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    labels = np.array([LABELS.index(row["label"]) for row in read_rows("valid")])
    scores = logits(session(INT8), [cut(row) for row in tokens("valid", tokenizer)]).astype(float)
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
    (WORK / "calibration.json").write_text(json.dumps(result, indent=2))
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
