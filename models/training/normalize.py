"""Text as the model sees it: training and serving go through the same code, so they cannot differ."""

import json
import subprocess
from pathlib import Path

import numpy as np

from paths import AROM, LABELS


def normalized(texts: list[str]) -> list[str]:
    """What `arom normalize` makes of the texts."""
    if not AROM.exists():
        raise SystemExit(f"{AROM} is missing: run `cargo build --release` first, or name the binary in AROM")
    lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    done = subprocess.run([str(AROM), "normalize", "--json"], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    result = [json.loads(line)["text"] for line in done.stdout.decode().splitlines()]
    assert len(result) == len(texts), "a row for each row"
    # What is left of an emoji alone may be nothing.
    return [new or old for new, old in zip(result, texts)]


def labelled(path: Path) -> tuple[list[str], np.ndarray]:
    """Texts of the user's own as the model sees them, and their labels."""
    texts, truth = [], []
    if not path.exists():
        raise SystemExit(f"{path} is missing")
    with open(path, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as fault:
                raise SystemExit(f"{path}, line {number}: not JSON: {fault}") from None
            if not isinstance(row, dict) or row.get("label") not in LABELS or not isinstance(row.get("text"), str):
                raise SystemExit(f"{path}, line {number}: needs a field `text` and a field `label`: {', '.join(LABELS)}")
            texts.append(row["text"])
            truth.append(LABELS.index(row["label"]))
    if not texts:
        raise SystemExit(f"{path} has no rows")
    return normalized(texts), np.array(truth)
