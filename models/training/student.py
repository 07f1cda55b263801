"""Teaches a student from the annotators' labels and the teacher's.

    python student.py base --seed 1      # 12 layers; an hour on a core with bf16
    python student.py half --seed 1      # 6 layers of arom-base, which is made first; half an hour
    python student.py fast --seed 1      # the same, taught on by arom-base on more texts (wider.py); a quarter of an hour
    python student.py base --seed 4 --own labelled.jsonl      # with texts of your own, fields `text` and `label`

Writes work/students/NAME-SEED.pt. What every epoch reaches on the validation split is printed and decides nothing:
the last epoch's averaged weights are kept. What is interrupted goes on after its last whole epoch when the command is repeated.
"""

import argparse
import dataclasses
import functools
import random
from pathlib import Path

import numpy as np
import onnx
import torch
from sklearn.metrics import f1_score

from export import seed_path, weights
from graph import state
from members import SMOOTHING
from normalize import labelled
from paths import LABELS, bundle, needed, read_rows
from teacher import read_soft
from train import Recipe, fit, load, predict, read_tokenizer, tokens


def shipped() -> dict[str, np.ndarray]:
    """arom-base."""
    model = bundle("base") / "model.onnx"
    if not model.exists():
        raise SystemExit(f"{model} is missing, and half begins at its layers: make arom-base first")
    return state(onnx.load(model))


RECIPES = {
    "base": Recipe(epochs=4, noise=2.0, rate=2e-4),
    "half": Recipe(start=shipped, layers=(0, 1, 3, 5, 8, 11), epochs=4, noise=2.0, rate=2.5e-4),
    "fast": Recipe(layers=(0, 1, 2, 3, 4, 5), epochs=1, noise=2.0, rate=2e-4),  # of the half with the same seed
}
HARD = 0.5  # weight of the annotator's label; the rest is the teacher's
# A label counts for less if a teacher that has not seen the row gives it less than this share of what it gives such labels on
# average, as confident learning does (Northcutt et al. 2021), but never less than the second.
DOUBTED, LEAST = 0.3, 0.2
QUESTIONS = 1.5  # a question's weight; they are 2 % of the corpus
COMPOSED = 0.7  # weight of the label of a sentence that was made to have it
SHARE = 0.5  # of what is neither of the corpus nor of the telephone is taught; each seed draws its own
EXTRA = 0.5  # weight of a row that is not of the corpus
SURE = 0.6  # the teacher's least probability for what is said on the telephone, composed or not, to be kept


def half(seed: int) -> dict[str, np.ndarray]:
    return weights(load(needed(seed_path("half", seed), f"student.py half --seed {seed}")))


def trusted(truth: np.ndarray, guess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What a teacher that has not seen the rows gives each label on average, and how much each row's label counts."""
    given = guess[np.arange(len(truth)), truth]
    usual = np.array([given[truth == label].mean() for label in range(len(LABELS))])
    return usual, np.clip(given / (DOUBTED * usual[truth]), LEAST, 1)


def corpus(wider: bool, own: list[Path], seed: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, targets [texts, 4] and weights; with what arom-base has labelled if `wider`."""
    soft = read_soft("teacher")
    train, extra = read_rows("train"), read_rows("extra")
    one = np.eye(len(LABELS))

    truth = np.array([LABELS.index(row["label"]) for row in train])
    guess = soft["train"].astype(float)
    usual, trust = trusted(truth, guess)
    for label, name in enumerate(LABELS):
        print(f"{name}: {usual[label]:.2f} by the teacher on average, {(trust[truth == label] < 1).mean():.1%} doubted", flush=True)
    hard = (HARD * trust)[:, None]
    texts, targets = [row["text"] for row in train], [hard * one[truth] + (1 - hard) * guess]
    counts = [np.where(truth == LABELS.index("question"), QUESTIONS, 1.0)]

    rng = random.Random(seed)
    rows = list(zip(extra, soft["extra"].astype(float), strict=True))
    if wider:
        rows += [({**row, "kind": "wider"}, np.array(row["guess"])) for row in read_rows("wider")]
    for row, guess in rows:
        if guess.max() < SURE if row["kind"] == "call" else rng.random() >= SHARE:
            continue
        made = COMPOSED if row["label"] else 0.0
        target = made * one[LABELS.index(row["label"])] + (1 - made) * guess if made else guess
        texts.append(row["text"])
        targets.append(target[None])
        counts.append(np.array([EXTRA]))
    for path in own:
        rows, truth = labelled(path)
        shares = ", ".join(f"{(truth == at).sum()} {label}" for at, label in enumerate(LABELS))
        print(f"{path}: {len(rows)} of your own, {shares}", flush=True)
        texts += rows
        targets.append(one[truth] * (1 - SMOOTHING) + SMOOTHING / len(LABELS))
        counts.append(np.ones(len(truth)))
    return texts, np.concatenate(targets), np.concatenate(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=1, help="of the order, the noise and the sentences that are drawn (1)")
    parser.add_argument("--epochs", type=int, help="instead of those of the recipe")
    parser.add_argument("--own", type=Path, nargs="+", default=[], help="labelled texts of your own, JSON Lines")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = tokens("valid", read_tokenizer())
    truth = [LABELS.index(row["label"]) for row in read_rows("valid")]
    path = seed_path(args.name, args.seed)
    if path.exists():
        raise SystemExit(f"{path} is there already: remove it to teach it anew")
    path.parent.mkdir(exist_ok=True)

    def after_epoch(epoch, model):
        guessed = predict(model, rows).argmax(1)
        print(f"epoch {epoch} valid micro-F1 {f1_score(truth, guessed, average='micro'):.4f} "
              f"macro-F1 {f1_score(truth, guessed, average='macro'):.4f}", flush=True)

    texts, target, weight = corpus(args.name == "fast", args.own, args.seed)
    print(f"{len(texts):,} texts", flush=True)
    recipe = RECIPES[args.name]
    recipe = dataclasses.replace(recipe, epochs=args.epochs or recipe.epochs)
    if args.name == "fast":
        recipe = dataclasses.replace(recipe, start=functools.partial(half, args.seed))
    fit(recipe, texts, target, weight, args.seed, path, after_epoch)


if __name__ == "__main__":
    main()
