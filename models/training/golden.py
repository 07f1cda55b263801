"""Step 11. Writes the reference that the Rust path is tested against.

    python golden.py ../arom-base

Reads tests/golden/texts.jsonl and writes tests/golden/reference.jsonl: for each text, the token ids and the logits of every
window, made by Python's tokenizers and onnxruntime from the bundle in that folder, the one that ships.
"""

import json
import subprocess
import sys
from pathlib import Path

from tokenizers import Tokenizer

from export import logits, session
from paths import AROM, MAX_TOKENS, REPOSITORY

GOLDEN = REPOSITORY / "tests" / "golden"
BEGIN, END = 0, 2
OVERLAP = 64
CONTROL = (0, 1, 2)  # <s>, <pad>, </s>: not read where a customer writes them


def windows(ids: list[int]) -> list[list[int]]:
    """The fewest windows that cover the text with at least the overlap, spread evenly."""
    size = MAX_TOKENS - 2
    if len(ids) <= size:
        parts = [ids]
    else:
        steps = -(-(len(ids) - size) // (size - OVERLAP))
        starts = [(len(ids) - size) * step // steps for step in range(steps + 1)]
        parts = [ids[start:start + size] for start in starts]
    return [[BEGIN, *part, END] for part in parts]


def main(bundle: str) -> None:
    texts = (GOLDEN / "texts.jsonl").read_bytes()
    normalized = subprocess.run([str(AROM), "normalize", "--json"], input=texts, capture_output=True, check=True)
    tokenizer = Tokenizer.from_file(str(Path(bundle) / "tokenizer.json"))
    model = session(Path(bundle) / "model.onnx", threads=1)
    with open(GOLDEN / "reference.jsonl", "w", encoding="utf-8") as out:
        for line in normalized.stdout.decode().splitlines():
            text = json.loads(line)["text"]
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            rows = windows([token for token in ids if token not in CONTROL])
            scores = [[round(float(value), 5) for value in row] for row in logits(model, rows)]
            out.write(json.dumps({"normalized": text, "windows": rows, "logits": scores}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
