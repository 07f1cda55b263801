"""Step 4. Soft labels for the training text from a second, different view: character n-grams.

    python teacher.py

A TF-IDF of character 1- to 5-grams under logistic regression, fitted on four folds so that every row is
labelled by a model that has not seen it. Writes work/soft.npy, one row of probabilities per training row.
"""

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from paths import LABELS, WORK, read_rows

FOLDS = 4


def character_model():
    return make_pipeline(
        TfidfVectorizer(analyzer="char", ngram_range=(1, 5), min_df=3, sublinear_tf=True, dtype=np.float32),
        LogisticRegression(C=8, max_iter=200),
    )


def main() -> None:
    rows = read_rows("train")
    texts = np.array([row["text"] for row in rows], dtype=object)
    labels = np.array([LABELS.index(row["label"]) for row in rows])
    soft = np.zeros((len(rows), len(LABELS)), np.float32)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=7)
    for number, (seen, held_out) in enumerate(folds.split(texts, labels), 1):
        model = character_model().fit(texts[seen], labels[seen])
        soft[held_out] = model.predict_proba(texts[held_out])
        print(f"fold {number} of {FOLDS}", flush=True)
    guessed = soft.argmax(1)
    print(f"out of fold: micro-F1 {f1_score(labels, guessed, average='micro'):.4f} "
          f"macro-F1 {f1_score(labels, guessed, average='macro'):.4f}")
    np.save(WORK / "soft.npy", soft)


if __name__ == "__main__":
    main()
