"""A text-classification pipeline as Python services have it: `tokenizers` and `onnxruntime`, batch after batch.

    python benches/peers/pipeline.py --tokenizer tokenizer.json --model model.onnx --batch 32 --texts texts.jsonl

Batches in the order of the texts, padded to the longest, cut at 256 tokens; ONNX Runtime takes every core. Prints the
median texts per second of the rounds.
"""

import argparse
import json
import statistics
import time

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(args.tokenizer)
    tokenizer.enable_truncation(256)
    tokenizer.enable_padding(pad_id=1)
    session = onnxruntime.InferenceSession(args.model, providers=["CPUExecutionProvider"])
    with open(args.texts, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]

    def score(batch: list[str]) -> np.ndarray:
        rows = tokenizer.encode_batch(batch)
        feed = {"input_ids": np.array([row.ids for row in rows], np.int64),
                "attention_mask": np.array([row.attention_mask for row in rows], np.int64)}
        logits = session.run(["logits"], feed)[0]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    rates = []
    for texts_of_round in [texts[:100], *[texts] * args.rounds]:
        started = time.perf_counter()
        for start in range(0, len(texts_of_round), args.batch):
            score(texts_of_round[start:start + args.batch])
        rates.append(len(texts_of_round) / (time.perf_counter() - started))
    print(statistics.median(rates[1:]))


if __name__ == "__main__":
    main()
