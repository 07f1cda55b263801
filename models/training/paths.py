"""Where each step finds what the one before it made."""

import hashlib
import json
import os
from pathlib import Path

TRAINING = Path(__file__).resolve().parent
REPOSITORY = TRAINING.parent.parent
WORK = TRAINING / "work"
PRETRAINED = WORK / "pretrained.npz"
BEHAVIOUR = REPOSITORY / "tests" / "behaviour" / "pairs.jsonl"
STUDENTS = ("base", "fast")
AROM = Path(os.environ.get("AROM", REPOSITORY / "target" / "release" / "arom"))

# The order of the model's outputs, and of every list of labels in this pipeline.
LABELS = ["positive", "neutral", "negative", "question"]

# Tokens in one window, special tokens included: what the model is trained with and served with; and those that neighbouring
# windows of a long text share at least.
MAX_TOKENS, OVERLAP = 256, 64

SEEDS = (1, 2, 3)  # whose weights' mean ships


def student(name: str) -> Path:
    """Where the files of a student are made."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def bundle(name: str) -> Path:
    """Where the bundle of a student is."""
    return REPOSITORY / "models" / f"arom-{name}"


def needed(path: Path, step: str) -> Path:
    """A file that another step writes."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: run `python {step}` first")
    return path


def digest(split: str) -> str:
    """SHA-256 of a split's texts in their order: what numbers without texts belong to."""
    texts = "\n".join(row["text"].replace("\n", "\r") for row in read_rows(split))
    return hashlib.sha256(texts.encode()).hexdigest()


def read_rows(split: str) -> list[dict]:
    """The normalised rows of a split, as `data.py` wrote them."""
    with open(needed(WORK / f"{split}.jsonl", "wider.py" if split == "wider" else "data.py FOLDER"), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
