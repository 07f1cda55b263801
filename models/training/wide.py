"""Fits a linear model on n-grams of tokens, which a student's graph carries beside its encoder.

    python wide.py

A "wide" part beside a "deep" one (Cheng et al. 2016): the encoder misses what single words and names tell, a linear model does
not; together they do what the teacher's stack does. Each of a row's runs of one to three tokens finds its weights in a table, runs of
two and three by their remainder (Weinberger et al. 2009), and the row's sum is divided by its length, as TF-IDF does. All of it are
operators of ONNX. Writes work/wide.npz, and work/wide.md for the card: what it is worth beside the member `deep`, both out of
fold on the training split.
"""

import argparse

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from export import WIDE
from graph import BUCKETS
from members import folds
from paths import LABELS, WORK, read_rows
from teacher import read_soft
from train import read_tokenizer, tokens

LEAST = 2  # texts that a run must stand in


def counts(rows: list[list[int]], vocabulary: int) -> csr_matrix:
    """How often each row has each run [rows, vocabulary + BUCKETS]."""
    found = []
    for row in rows:
        one = np.array(row, dtype=np.int64)
        two = one[:-1] * vocabulary + one[1:]
        three = two[:-1] * vocabulary + one[2:]
        found.append(np.concatenate([one, vocabulary + two % BUCKETS, vocabulary + three % BUCKETS]))
    ends = np.cumsum([0, *map(len, found)])
    shape = (len(rows), vocabulary + BUCKETS)
    matrix = csr_matrix((np.ones(ends[-1], np.float32), np.concatenate(found), ends), shape=shape)
    matrix.sum_duplicates()
    return matrix


def weighted(counted: csr_matrix, worth: np.ndarray) -> csr_matrix:
    """Rows of length 1, but for what stands in a row more than once."""
    length = np.sqrt(counted @ worth ** 2)
    return (diags(1 / np.maximum(length, 1e-6)) @ counted @ diags(worth)).tocsr()


def learned(features: csr_matrix, labels: np.ndarray) -> LogisticRegression:
    return LogisticRegression(C=8, max_iter=300).fit(features, labels)


def int8(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns in whole numbers of up to 127, and the scale of each."""
    scale = np.abs(values).max(0) / 127
    return np.rint(values / scale).astype(np.int8), scale.astype(np.float32)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    tokenizer = read_tokenizer()
    rows, labels = tokens("train", tokenizer), np.array([LABELS.index(row["label"]) for row in read_rows("train")])
    counted = counts(rows, tokenizer.get_vocab_size())
    texts = np.asarray((counted > 0).sum(0)).ravel()
    worth = (np.log((1 + len(rows)) / (1 + texts)) + 1) * (texts >= LEAST)  # inverse document frequency
    used = np.flatnonzero(worth)
    features = weighted(counted, worth)[:, used]

    wide, deep = np.zeros((len(labels), len(LABELS))), read_soft("members")["deep/train"].astype(float)
    for seen, held_out in folds(labels):
        wide[held_out] = learned(features[seen], labels[seen]).predict_log_proba(features[held_out])

    def loss(parameters: np.ndarray, *views: np.ndarray) -> float:
        scores = parameters[:4] + sum(weight * view for weight, view in zip(parameters[4:], views))
        return -log_softmax(scores, axis=1)[np.arange(len(labels)), labels].mean()

    lines = ["| views | log loss | weights |", "| --- | --- | --- |"]
    for name, views in (("member deep", [deep]), ("member deep, the linear part", [deep, wide])):
        best = minimize(loss, np.array([0.0] * 4 + [1.0] * len(views)), args=tuple(views), method="L-BFGS-B")
        lines.append(f"| {name} | {best.fun:.4f} | {', '.join(f'{weight:.2f}' for weight in best.x[4:])} |")
    (WORK / "wide.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))

    model = learned(features, labels)
    weights = np.zeros((len(worth), len(LABELS) + 1))
    weights[used, :-1] = model.coef_.T * worth[used, None]
    weights[:, -1] = worth ** 2
    table, scale = int8(weights)
    assert table[rows[0][0], -1] > 0  # the first token is the same in every row, so no row has the length 0
    np.savez_compressed(WIDE, table=table, scale=scale, bias=model.intercept_.astype(np.float32))
    print(f"{len(used):,} runs in {table.nbytes / 1e6:.1f} MB -> {WIDE}")


if __name__ == "__main__":
    main()
