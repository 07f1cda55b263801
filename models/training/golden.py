"""Writes the reference that the Rust path is tested against.

    python golden.py

Reads tests/golden/texts.jsonl and writes tests/golden/reference.jsonl: for each text, the token ids of every window and the
logits that each bundle gives it, made by Python's tokenizers and onnxruntime.
"""

import argparse
import json
import subprocess

from tokenizers import Tokenizer

from export import logits, session
from paths import AROM, MAX_TOKENS, OVERLAP, REPOSITORY, STUDENTS, bundle

GOLDEN = REPOSITORY / "tests" / "golden"
BEGIN, END = 0, 2
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


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    texts = (GOLDEN / "texts.jsonl").read_bytes()
    normalized = subprocess.run([str(AROM), "normalize", "--json"], input=texts, capture_output=True, check=True)
    files = {bundle(name).name: bundle(name) for name in STUDENTS if bundle(name).exists()}
    tokenizers = {(folder / "tokenizer.json").read_bytes() for folder in files.values()}
    assert len(tokenizers) == 1, "the bundles have different tokenizers"
    tokenizer = Tokenizer.from_buffer(tokenizers.pop())
    models = {name: session(folder / "model.onnx", threads=1) for name, folder in files.items()}
    with open(GOLDEN / "reference.jsonl", "w", encoding="utf-8") as out:
        for line in normalized.stdout.decode().splitlines():
            text = json.loads(line)["text"]
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            rows = windows([token for token in ids if token not in CONTROL])
            scores = {name: [[round(float(value), 5) for value in row] for row in logits(model, rows)]
                      for name, model in models.items()}
            out.write(json.dumps({"normalized": text, "windows": rows, "logits": scores}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
