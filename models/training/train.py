"""Step 5. Fine-tunes the encoder on the training split, choosing the epoch on the validation split.

    python train.py [--epochs 4] [--seed 1]

About 10 minutes an epoch on one Zen 4 core, which has bf16; 13 on two cores without. Writes work/model.pt.
"""

import argparse
import random
import time

import numpy as np
import torch
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

from encoder import LAYERS, Encoder
from paths import LABELS, MAX_TOKENS, WORK, read_rows
from vocabulary import MASKS

BATCH = 48
PART_TOKENS = 2048
RATE, HEAD_FACTOR, LAYER_DECAY, WEIGHT_DECAY, WARM_UP = 1.5e-4, 5.0, 0.9, 0.01, 0.06
HARD = 0.6  # weight of the annotator's label; the rest is the teacher's
# 97 % of messages with a URL are neutral. So that a mask alone does not decide, it is sometimes taken out
# and sometimes put in.
DROP_MASKS, ADD_MASK = 0.25, 0.05
# Without AVX-512, bf16 on CPU is emulated and sixty times slower than fp32.
AUTOCAST = torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def tokens(split: str, tokenizer: Tokenizer) -> list[list[int]]:
    return [e.ids for e in tokenizer.encode_batch([row["text"] for row in read_rows(split)])]


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(map(len, rows))
    ids = torch.ones(len(rows), length, dtype=torch.long)  # 1 is <pad>
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, :len(row)] = torch.tensor(row)
        mask[index, :len(row)] = 1
    return ids, mask


def batches(lengths: list[int], rng: random.Random | None) -> list[list[int]]:
    """Rows of like length together; with `rng`, shuffled among near lengths and in order."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i] * (rng.uniform(0.9, 1.1) if rng else 1))
    groups = [order[at:at + BATCH] for at in range(0, len(order), BATCH)]
    if rng:
        rng.shuffle(groups)
    return groups


def parts(group: list[int], lengths: list[int]) -> list[list[int]]:
    """A batch in pieces of about PART_TOKENS, whose gradients add up to the batch's: bounds the memory."""
    size = max(1, PART_TOKENS // min(MAX_TOKENS, max(lengths[i] for i in group)))
    return [group[at:at + size] for at in range(0, len(group), size)]


def cut(ids: list[int]) -> list[int]:
    """The first window of a text, closed by its end token."""
    return ids if len(ids) <= MAX_TOKENS else [*ids[:MAX_TOKENS - 1], ids[-1]]


def augment(ids: list[int], masks: list[int], rng: random.Random) -> list[int]:
    body = ids[1:-1]
    if rng.random() < DROP_MASKS:
        body = [token for token in body if token not in masks] or body
    if rng.random() < ADD_MASK:
        body = body + masks[:1]
    return cut([ids[0], *body, ids[-1]])


def parameter_groups(model: Encoder) -> list[dict]:
    """The head learns fastest, the embeddings slowest."""
    def rate(name: str) -> float:
        if name.startswith("head"):
            return RATE * HEAD_FACTOR
        if name.startswith("layers."):
            return RATE * LAYER_DECAY ** (LAYERS - 1 - int(name.split(".")[1]))
        return RATE * LAYER_DECAY ** LAYERS

    return [
        {"params": [p], "lr": rate(name), "base": rate(name),
         "weight_decay": WEIGHT_DECAY if p.dim() > 1 and "ln" not in name else 0.0}
        for name, p in model.named_parameters()
    ]


@torch.no_grad()
def predict(model: Encoder, rows: list[list[int]]) -> np.ndarray:
    model.eval()
    logits = np.zeros((len(rows), len(LABELS)), np.float32)
    for group in batches([len(row) for row in rows], None):
        with torch.autocast("cpu", torch.bfloat16, enabled=AUTOCAST):
            out = model(*padded([cut(rows[i]) for i in group]))
        logits[group] = out.float().numpy()
    return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    rng = random.Random(args.seed)
    tokenizer = Tokenizer.from_file(str(WORK / "tokenizer.json"))
    masks = [tokenizer.token_to_id(mask) for mask in MASKS]

    rows, labels = tokens("train", tokenizer), [LABELS.index(r["label"]) for r in read_rows("train")]
    target = torch.from_numpy(
        HARD * np.eye(len(LABELS), dtype=np.float32)[labels] + (1 - HARD) * np.load(WORK / "soft.npy"))
    valid_rows = tokens("valid", tokenizer)
    valid_labels = [LABELS.index(row["label"]) for row in read_rows("valid")]

    model = Encoder.from_base()
    optimizer = torch.optim.AdamW(parameter_groups(model), lr=RATE, fused=True)
    steps = args.epochs * -(-len(rows) // BATCH)
    lengths = [len(row) for row in rows]
    step, best, started, running = 0, 0.0, time.time(), None
    for epoch in range(1, args.epochs + 1):
        model.train()
        for group in batches([min(length, MAX_TOKENS) for length in lengths], rng):
            step += 1
            progress = step / steps
            factor = min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))
            for parameters in optimizer.param_groups:
                parameters["lr"] = parameters["base"] * factor
            optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for part in parts(group, lengths):
                with torch.autocast("cpu", torch.bfloat16, enabled=AUTOCAST):
                    logits = model(*padded([augment(rows[i], masks, rng) for i in part]))
                loss = torch.nn.functional.cross_entropy(logits.float(), target[part], reduction="sum") / len(group)
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            running = total if running is None else 0.99 * running + 0.01 * total
            if step % 25 == 0:
                print(f"epoch {epoch} step {step}/{steps} loss {running:.4f} {time.time() - started:.0f} s", flush=True)
        guessed = predict(model, valid_rows).argmax(1)
        micro = f1_score(valid_labels, guessed, average="micro")
        macro = f1_score(valid_labels, guessed, average="macro")
        print(f"epoch {epoch} valid micro-F1 {micro:.4f} macro-F1 {macro:.4f}", flush=True)
        if (micro + macro) / 2 > best:
            best = (micro + macro) / 2
            torch.save(model.state_dict(), WORK / "model.pt")


if __name__ == "__main__":
    main()
