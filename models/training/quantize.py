"""Int8 scales of the encoder's matrix products, from what flows through them on training texts.

Static: a scale is fixed here, not taken from the batch at hand. So a text scores the same whatever it shares a
batch with, to the bit, and no pass over the activations is spent on finding their range.

A few channels of the activations are tens of times larger than the rest and would leave the others no steps.
SmoothQuant (Xiao et al. 2023) divides every channel by a factor and multiplies the weights by it.
"""

from dataclasses import dataclass

import numpy as np
import torch

from encoder import Encoder

MIGRATION = 0.75  # SmoothQuant's alpha: how much of the spread goes from the activations to the weights
# Weights take 7 bits: CPUs without VNNI add two 8-bit products in 16 bits and saturate, so the eighth bit would
# make one bundle score differently on two machines.
WEIGHT_TOP = 63


@dataclass
class Scales:
    smooth: np.ndarray  # [in]: what the activations are divided by
    scale: float  # of the activations, uint8
    zero: int
    weight: np.ndarray  # [out, in], int8
    weight_scale: np.ndarray  # [out]


def activations(model: Encoder, rows: list[list[int]]) -> dict[str, np.ndarray]:
    """Least and most of every channel at the entrance of every product, as [2, in]."""
    seen: dict[str, np.ndarray] = {}

    def watch(name: str):
        def look(_, inputs):
            x = inputs[0][0].numpy()
            low, high = seen.get(name, (np.inf, -np.inf))
            seen[name] = np.stack([np.minimum(low, x.min(0)), np.maximum(high, x.max(0))])
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
    return seen


def scales(seen: np.ndarray, weight: np.ndarray) -> Scales:
    """Scales for one product from the range of its input and its weight [out, in]."""
    spread = np.maximum(np.abs(seen).max(0), 1e-6)
    reach = np.maximum(np.abs(weight).max(0), 1e-6)
    smooth = spread ** MIGRATION / reach ** (1 - MIGRATION)
    low, high = min(0.0, (seen[0] / smooth).min()), max(0.0, (seen[1] / smooth).max())
    scale = (high - low) / 255
    smoothed = weight * smooth
    weight_scale = np.abs(smoothed).max(1) / WEIGHT_TOP
    return Scales(
        smooth=smooth,
        scale=scale,
        zero=int(np.rint(-low / scale)),
        weight=np.rint(smoothed / weight_scale[:, None]).astype(np.int8),
        weight_scale=weight_scale.astype(np.float32),
    )
