"""A text-classification pipeline as Python services have it: `tokenizers` and `onnxruntime`, batch after batch.

    python benches/peers/pipeline.py --tokenizer tokenizer.json --model model.onnx --batch 32 --texts texts.jsonl

Batches in the order of the texts, padded to the longest, cut at 256 tokens; ONNX Runtime takes every core. Prints the
median texts per second of the rounds.
"""

import argparse
import json
import statistics
import time

from scoring import Scorer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--texts", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    score = Scorer(args.tokenizer, args.model)
    with open(args.texts, encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    rates = []
    for texts_of_round in [texts[:100], *[texts] * args.rounds]:
        started = time.perf_counter()
        for start in range(0, len(texts_of_round), args.batch):
            score(texts_of_round[start:start + args.batch])
        rates.append(len(texts_of_round) / (time.perf_counter() - started))
    print(statistics.median(rates[1:]))


if __name__ == "__main__":
    main()
