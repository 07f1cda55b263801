"""Int8 scales of the encoder's matrix products, from what flows through them on training texts.

Static: a scale is fixed here, not taken from the batch at hand. So a text scores the same whatever it shares a
batch with, to the bit, and no pass over the activations is spent on finding their range.

A few channels of the activations are tens of times larger than the rest and would leave the others no steps.
SmoothQuant (Xiao et al. 2023) divides every channel by a factor and multiplies the weights by it. Weights are
rounded one input after the other, the error of each made up for by those still to come: GPTQ (Frantar et al. 2023).
"""

from dataclasses import dataclass

import numpy as np
import torch

from encoder import Encoder

MIGRATION = 0.75  # SmoothQuant's alpha: how much of the spread goes from the activations to the weights
# Weights take 7 bits: CPUs without VNNI add two 8-bit products in 16 bits and saturate, so the eighth bit would
# make one bundle score differently on two machines.
WEIGHT_TOP = 63
DAMPING = 0.01  # GPTQ's: keeps channels that hardly move from being turned upside down
BLOCK = 128  # columns whose errors are handed on together


@dataclass
class Scales:
    smooth: np.ndarray | None  # [in]: what the activations are divided by
    scale: float  # of the activations, uint8
    zero: int
    weight: np.ndarray  # [out, in], int8
    weight_scale: np.ndarray  # [out]


def activations(model: Encoder, rows: list[list[int]]) -> dict[str, np.ndarray]:
    """What comes into every product, as [tokens, in], by the product's name."""
    seen: dict[str, list[np.ndarray]] = {}

    def watch(name: str):
        def look(_, inputs):
            seen.setdefault(name, []).append(inputs[0][0].numpy())
        return look

    hooks = [
        # Query, key and value read the same activations.
        getattr(layer, part).register_forward_pre_hook(watch(f"layers.{number}.{'qkv' if part == 'q' else part}"))
        for number, layer in enumerate(model.layers) for part in ("q", "ao", "fi", "fo")
    ]
    with torch.no_grad():
        for row in rows:
            model(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))
    for hook in hooks:
        hook.remove()
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def scales(seen: np.ndarray, weight: np.ndarray, *, smoothquant: bool = True, gptq: bool = True,
           weight_top: int = WEIGHT_TOP) -> Scales:
    """Scales for one product from what comes into it and its weight [out, in]."""
    smooth = None
    if smoothquant:
        spread = np.maximum(np.abs(seen).max(0), 1e-6)
        reach = np.maximum(np.abs(weight).max(0), 1e-6)
        smooth = spread ** MIGRATION / reach ** (1 - MIGRATION)
        seen, weight = seen / smooth, weight * smooth
    low, high = min(0.0, seen.min()), max(0.0, seen.max())
    scale = (high - low) / 255
    weight_scale = np.abs(weight).max(1) / weight_top
    # Inputs that have nothing to do with one another make up for no error: that is plain rounding.
    moment = seen.T @ seen if gptq else np.eye(seen.shape[1])
    return Scales(
        smooth=smooth,
        scale=scale,
        zero=int(np.rint(-low / scale)),
        weight=rounded(weight / weight_scale[:, None], moment, weight_top),
        weight_scale=weight_scale.astype(np.float32),
    )


def rounded(weight: np.ndarray, moment: np.ndarray, top: int) -> np.ndarray:
    """Whole numbers up to `top` for `weight` [out, in] whose product with the activations errs least."""
    weight, size = weight.copy(), len(moment)
    damped = moment + np.eye(size) * DAMPING * np.trace(moment) / size
    inverse = np.linalg.cholesky(np.linalg.inv(damped)).T  # upper triangular
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        errors = np.zeros((len(weight), end - start))
        for column in range(start, end):
            whole = np.clip(np.rint(weight[:, column]), -top, top)
            error = (weight[:, column] - whole) / inverse[column, column]
            weight[:, column:end] -= np.outer(error, inverse[column, column:end])
            weight[:, column] = whole
            errors[:, column - start] = error
        weight[:, end:] -= errors @ inverse[start:end, end:]
    return weight.astype(np.int8)
