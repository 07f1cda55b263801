"""Goes on with pretraining on the texts that the models are for: masked words are to be guessed, labels are not used.

    python pretrain.py      # an hour on a core with bf16

As Gururangan et al. (2020, "Don't stop pretraining") do for a task's own texts. Writes work/pretrained.npz: the encoder that
the member `adapted` starts from, its vocabulary trimmed. What is interrupted goes on after its last whole epoch.
"""

import argparse
import random
import time

import numpy as np
import torch
from torch import nn

from encoder import ALL_LAYERS, HIDDEN, Encoder, base
from paths import MAX_TOKENS, PRETRAINED, WORK, read_rows
from train import AUTOCAST, BATCH, WEIGHT_DECAY, batches, padded, parts, read_tokenizer, save, schedule

EPOCHS, RATE = 5, 3e-4
SPECIAL = 4  # ids below are not words
MASKED, KEPT, SWAPPED = 0.2, 0.1, 0.1  # share of the tokens; of these, shares that stay or become any other (Devlin et al. 2019)


class Guesser(nn.Module):
    """The encoder with what BERT guesses words by; the mask is one word more."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.vocabulary = len(encoder.word.weight)
        words = torch.cat([encoder.word.weight.data, encoder.word.weight.data[SPECIAL:].mean(0, keepdim=True)])
        encoder.word = nn.Embedding.from_pretrained(words, freeze=False)
        self.encoder = encoder
        self.dense, self.ln = nn.Linear(HIDDEN, HIDDEN), nn.LayerNorm(HIDDEN, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(self.vocabulary))
        nn.init.eye_(self.dense.weight)

    def forward(self, ids, mask, wanted):
        states = self.encoder.states(ids, mask)[wanted]
        return self.ln(nn.functional.gelu(self.dense(states))) @ self.encoder.word.weight[:-1].T + self.bias


def masked(ids: torch.Tensor, vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids with some tokens changed, and which are to be guessed."""
    draw, how = torch.rand(ids.shape), torch.rand(ids.shape)
    wanted = (ids >= SPECIAL) & (draw < MASKED)
    changed = torch.where(how < SWAPPED, torch.randint(SPECIAL, vocabulary, ids.shape), torch.full_like(ids, vocabulary))
    return torch.where(wanted & (how < 1 - KEPT), changed, ids), wanted


def window(ids: list[int], rng: random.Random) -> list[int]:
    """Any window of a long text."""
    if len(ids) <= MAX_TOKENS:
        return ids
    start = rng.randint(1, len(ids) - MAX_TOKENS + 1)
    return [ids[0], *ids[start:start + MAX_TOKENS - 2], ids[-1]]


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rng = random.Random(0)
    texts = [row["text"] for row in read_rows("train")] + [row["text"] for row in read_rows("extra") if row["kind"] == "call"]
    rows = [encoding.ids for encoding in read_tokenizer().encode_batch(texts)]
    model = Guesser(Encoder.start(base(), ALL_LAYERS))
    optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "base": RATE}], lr=RATE, weight_decay=WEIGHT_DECAY, fused=True)
    steps, step, first, started, running = EPOCHS * -(-len(rows) // BATCH), 0, 1, time.time(), None
    kept = WORK / "pretrained.checkpoint.pt"
    if kept.exists():
        state = torch.load(kept, weights_only=False)
        if state["of"] != (len(rows), steps):
            raise SystemExit(f"{kept} is of other texts or another number of epochs: remove it to begin anew")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        rng.setstate(state["random"])
        torch.set_rng_state(state["torch"])
        step, first = state["step"], state["epoch"] + 1
    print(f"{len(rows):,} texts", flush=True)
    model.train()
    for epoch in range(first, EPOCHS + 1):
        seen = [window(row, rng) for row in rows]
        lengths = [len(row) for row in seen]
        for group in batches(lengths, rng):
            step += 1
            schedule(optimizer, step / steps)
            optimizer.zero_grad(set_to_none=True)
            drawn = []
            for part in parts(group, lengths):
                ids, mask = padded([seen[i] for i in part])
                drawn.append((ids, mask, *masked(ids, model.vocabulary)))
            count, total = max(1, sum(int(wanted.sum()) for *_, wanted in drawn)), 0.0
            for ids, mask, changed, wanted in drawn:
                with torch.autocast("cpu", torch.bfloat16, enabled=AUTOCAST):
                    logits = model(changed, mask, wanted)
                loss = nn.functional.cross_entropy(logits.float(), ids[wanted], reduction="sum") / count
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            running = total if running is None else 0.99 * running + 0.01 * total
            if step % 50 == 0:
                print(f"epoch {epoch} step {step}/{steps} loss {running:.4f} {time.time() - started:.0f} s", flush=True)
        save(kept, {"of": (len(rows), steps), "epoch": epoch, "step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(),
                    "random": rng.getstate(), "torch": torch.get_rng_state()})
    state = {name: value.numpy() for name, value in model.encoder.state_dict().items() if not name.startswith("head.")}
    state["word.weight"] = state["word.weight"][:-1]
    part = PRETRAINED.with_suffix(".part.npz")
    np.savez(part, **state)
    part.rename(PRETRAINED)
    kept.unlink()


if __name__ == "__main__":
    main()
