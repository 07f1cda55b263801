"""Fine-tuning of the encoder: what the members of the teacher and the students share."""

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from encoder import ALL_LAYERS, Encoder, base
from noise import noised
from paths import LABELS, MAX_TOKENS, WORK, needed, read_rows

BATCH = 48
PART_TOKENS = 2048
HEAD_FACTOR, WEIGHT_DECAY, WARM_UP = 5.0, 0.01, 0.06
# Without AVX-512, bf16 on CPU is emulated and sixty times slower than fp32.
AUTOCAST = torch.backends.cpu.get_cpu_capability().startswith("AVX512")


@dataclass(frozen=True)
class Recipe:
    """How an encoder is taught."""

    start: Callable[[], dict[str, np.ndarray]] = field(default=base, compare=False)  # gives the weights to begin at
    layers: tuple[int, ...] = ALL_LAYERS  # of that encoder
    epochs: int = 3
    rate: float = 1.5e-4
    layer_decay: float = 0.9  # each layer learns this much more slowly than the one above it
    noise: float = 0.0  # how often texts are changed, times the probabilities of noise.py
    average: float = 0.995  # decay of the moving average of the weights; the average is what is kept
    max_tokens: int = MAX_TOKENS


def read_tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(needed(WORK / "tokenizer.json", "vocabulary.py")))


def ids(tokenizer: Tokenizer, texts: list[str], max_tokens: int = MAX_TOKENS) -> list[list[int]]:
    """Token ids of the first window of each text, special tokens included."""
    return [cut(encoding.ids, max_tokens) for encoding in tokenizer.encode_batch(texts)]


def tokens(split: str, tokenizer: Tokenizer) -> list[list[int]]:
    """Those of a split."""
    return ids(tokenizer, [row["text"] for row in read_rows(split)])


def cut(ids: list[int], max_tokens: int = MAX_TOKENS) -> list[int]:
    """The first window of a text, closed by its end token."""
    return ids if len(ids) <= max_tokens else [*ids[:max_tokens - 1], ids[-1]]


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
    size = max(1, PART_TOKENS // max(lengths[i] for i in group))
    return [group[at:at + size] for at in range(0, len(group), size)]


def parameter_groups(model: Encoder, recipe: Recipe) -> list[dict]:
    """The head learns fastest, the embeddings slowest."""
    top = len(recipe.layers)

    def rate(name: str) -> float:
        if name.startswith("head"):
            return recipe.rate * HEAD_FACTOR
        below = top - 1 - int(name.split(".")[1]) if name.startswith("layers.") else top
        return recipe.rate * recipe.layer_decay ** below

    return [
        {"params": [p], "lr": rate(name), "base": rate(name),
         "weight_decay": WEIGHT_DECAY if p.dim() > 1 and "ln" not in name else 0.0}
        for name, p in model.named_parameters()
    ]


def schedule(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Rates rise from 0 to each group's `base`, then fall to 0."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = parameters["base"] * min(progress / WARM_UP, (1 - progress) / (1 - WARM_UP))


def loss_of(model: Encoder, rows: list[list[int]], target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the cross-entropies."""
    with torch.autocast("cpu", torch.bfloat16, enabled=AUTOCAST):
        logits = model(*padded(rows)).float()
    return -(weight * (target * logits.log_softmax(1)).sum(1)).sum()


def load(path: Path) -> Encoder:
    """An encoder out of its weights."""
    state = torch.load(path, weights_only=True)
    layers = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
    model = Encoder(len(state["word.weight"]), layers)
    model.load_state_dict(state)
    return model.eval()


@torch.no_grad()
def predict(model: Encoder, rows: list[list[int]]) -> np.ndarray:
    """Logits [rows, 4]."""
    model.eval()
    logits = np.zeros((len(rows), len(LABELS)), np.float32)
    for group in batches([len(row) for row in rows], None):
        with torch.autocast("cpu", torch.bfloat16, enabled=AUTOCAST):
            out = model(*padded([rows[i] for i in group]))
        logits[group] = out.float().numpy()
    return logits


def fit(recipe: Recipe, texts: list[str], target: np.ndarray, weight: np.ndarray, seed: int, path: Path,
        after_epoch: Callable[[int, Encoder], None] = lambda *_: None) -> None:
    """Writes to `path` an encoder taught `target` [texts, 4] on `texts`, each counting as much as its `weight` beside the others of its batch.

    After every epoch all that is needed to go on is kept beside it, so that an interrupted run loses one epoch at most.
    """
    torch.manual_seed(0)  # the head too begins alike, for the mean of several seeds' weights
    model = Encoder.start(recipe.start(), recipe.layers)
    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer = read_tokenizer()
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average))
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), lr=recipe.rate, fused=True)
    target, weight = torch.from_numpy(target.astype(np.float32)), torch.from_numpy(weight.astype(np.float32))
    of = hashlib.sha256("\n".join(texts).encode() + target.numpy().tobytes() + weight.numpy().tobytes()).hexdigest()
    steps = recipe.epochs * -(-len(texts) // BATCH)
    step, started, running, first = 0, time.time(), None, 1
    kept = path.with_suffix(".checkpoint.pt")
    if kept.exists():
        state = torch.load(kept, weights_only=False)
        if state["of"] != (recipe, of, seed):
            raise SystemExit(f"{kept} is of another recipe or other texts: remove it to begin anew")
        for part, into in (("model", model), ("averaged", averaged), ("optimizer", optimizer)):
            into.load_state_dict(state[part])
        rng.setstate(state["random"])
        torch.set_rng_state(state["torch"])
        step, first = state["step"], state["epoch"] + 1
        print(f"goes on after epoch {state['epoch']}", flush=True)
    for epoch in range(first, recipe.epochs + 1):
        model.train()
        rows = ids(tokenizer, noised(texts, rng, recipe.noise) if recipe.noise else texts, recipe.max_tokens)
        lengths = [len(row) for row in rows]
        for group in batches(lengths, rng):
            step += 1
            schedule(optimizer, step / steps)
            optimizer.zero_grad(set_to_none=True)
            total, count = 0.0, float(weight[group].sum())
            for part in parts(group, lengths):
                loss = loss_of(model, [rows[i] for i in part], target[part], weight[part]) / count
                loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            averaged.update_parameters(model)
            running = total if running is None else 0.99 * running + 0.01 * total
            if step % 50 == 0:
                print(f"epoch {epoch} step {step}/{steps} loss {running:.4f} {time.time() - started:.0f} s", flush=True)
        after_epoch(epoch, averaged.module)
        save(kept, {"of": (recipe, of, seed), "epoch": epoch, "step": step, "model": model.state_dict(),
                    "averaged": averaged.state_dict(), "optimizer": optimizer.state_dict(), "random": rng.getstate(),
                    "torch": torch.get_rng_state()})
    save(path, averaged.module.state_dict())
    kept.unlink(missing_ok=True)


def save(path: Path, state: dict) -> None:
    """Writes all of a file or nothing."""
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.rename(path)
