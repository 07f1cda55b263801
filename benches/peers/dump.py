"""The job of `arom batch` as a data scientist would write it: pandas, `tokenizers` and `onnxruntime`.

    python benches/peers/dump.py --tokenizer tokenizer.json --model model.onnx --dump dump.csv --out scored.csv

Reads the CSV file in pieces, scores batches of 32 texts sorted by length within each piece, padded to the longest, cut
at 256 tokens, on every core, and writes the rows with label and score. Prints rows per second, the start left out.
"""

import argparse
import time

import numpy as np
import pandas
from scoring import Scorer

LABELS = np.array(["positive", "neutral", "negative", "question"])


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("tokenizer", "model", "dump", "out"):
        parser.add_argument(f"--{name}", required=True)
    args = parser.parse_args()
    score = Scorer(args.tokenizer, args.model)
    score(["อุ่นเครื่อง"] * 32)
    started, rows = time.perf_counter(), 0
    for number, piece in enumerate(pandas.read_csv(args.dump, chunksize=1024, keep_default_na=False)):
        texts = piece["text"].tolist()
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        shares = np.empty((len(texts), 4), np.float32)
        for start in range(0, len(order), 32):
            batch = order[start:start + 32]
            shares[batch] = score([texts[at] for at in batch])
        piece["label"] = LABELS[shares.argmax(1)]
        piece["score"] = shares[:, 0] - shares[:, 2]
        piece.to_csv(args.out, mode="a" if number else "w", header=not number, index=False)
        rows += len(texts)
    print(rows / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
