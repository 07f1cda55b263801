"""Takes the units that matter least out of the feed-forward layers.

Optimal brain surgeon (Hassibi and Stork 1993) for a whole product: of the inner units of a layer, those go whose absence, made up
for by the others, moves what comes out least on the training texts that set the int8 scales.
"""

import numpy as np

DAMPING = 0.01  # of the mean square of a unit
TOGETHER = 16  # units that are judged at once


def pruned(state: dict[str, np.ndarray], seen: dict[str, np.ndarray], units: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """An encoder with so many inner units in each layer, and what comes into its products, of those of one with more."""
    state, seen = dict(state), dict(seen)
    for name in [name for name in seen if name.endswith(".fo")]:
        layer, inputs = name.removesuffix("fo"), seen[name].astype(np.float64)
        moment = inputs.T @ inputs
        moment += np.eye(len(moment)) * DAMPING * np.trace(moment) / len(moment)
        inverse, weight, kept = np.linalg.inv(moment), state[f"{name}.weight"].astype(np.float64), np.arange(len(moment))
        while len(kept) > units:
            cost = (weight ** 2).sum(0) / np.diag(inverse)
            out = np.argsort(cost)[:min(TOGETHER, len(kept) - units)]
            made_up = np.linalg.solve(inverse[np.ix_(out, out)], inverse[out])
            weight -= weight[:, out] @ made_up
            inverse -= inverse[:, out] @ made_up
            weight, inverse, kept = np.delete(weight, out, 1), np.delete(np.delete(inverse, out, 0), out, 1), np.delete(kept, out)
        state[f"{name}.weight"], seen[name] = weight.astype(np.float32), seen[name][:, kept]
        for part in ("weight", "bias"):
            state[f"{layer}fi.{part}"] = state[f"{layer}fi.{part}"][kept]
    return state, seen
