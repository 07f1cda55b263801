"""The network: a post-norm BERT encoder of multilingual-e5-small's shape, mean pooling and a linear head.

Attention is written out as matrix products and a softmax: it trains faster on CPU than PyTorch's fused
kernel, and the exported graph keeps the shape that ONNX Runtime knows.
"""

import json
import math

import numpy as np
import torch
from torch import nn

from paths import LABELS, PRETRAINED, WORK

HIDDEN, HEADS, INNER, POSITIONS = 384, 12, 1536, 512
ALL_LAYERS = tuple(range(12))


class Dropout(nn.Module):
    """PyTorch's own draws a number for every value, a tenth of a step; a byte is enough: 26 of 256 are dropped."""

    def forward(self, x):
        if not self.training:
            return x
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-2**63, None)
        kept = words.view(torch.uint8)[:x.numel()].view(x.shape) >= 26
        return x * kept.to(x.dtype).mul_(256 / 230)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.ao = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.fi, self.fo = nn.Linear(HIDDEN, INNER), nn.Linear(INNER, HIDDEN)
        self.aln, self.oln = nn.LayerNorm(HIDDEN, eps=1e-12), nn.LayerNorm(HIDDEN, eps=1e-12)
        self.dropout = Dropout()

    def forward(self, x, blocked):
        batch, length, _ = x.shape

        def heads(y):
            return y.view(batch, length, HEADS, HIDDEN // HEADS).transpose(1, 2)

        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        weights = (q @ k.transpose(2, 3) / math.sqrt(HIDDEN // HEADS) + blocked).softmax(-1)
        mixed = (self.dropout(weights) @ v).transpose(1, 2).reshape(batch, length, HIDDEN)
        x = self.aln(x + self.dropout(self.ao(mixed)))
        return self.oln(x + self.dropout(self.fo(nn.functional.gelu(self.fi(x)))))


class Encoder(nn.Module):
    """Token ids and mask, both [batch, length], to logits [batch, 4] in the order of LABELS."""

    def __init__(self, vocabulary: int, layers: int):
        super().__init__()
        self.word = nn.Embedding(vocabulary, HIDDEN)
        self.pos = nn.Embedding(POSITIONS, HIDDEN)
        self.ln = nn.LayerNorm(HIDDEN, eps=1e-12)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.dropout = Dropout()
        self.head = nn.Linear(HIDDEN, len(LABELS))

    def states(self, input_ids, attention_mask):
        """Those of the last layer, [batch, length, HIDDEN]."""
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        kept = attention_mask.to(self.ln.weight.dtype)
        blocked = (1.0 - kept)[:, None, None, :] * -1e4
        x = self.dropout(self.ln(self.word(input_ids) + self.pos(positions)))
        for layer in self.layers:
            x = layer(x, blocked)
        return x

    def forward(self, input_ids, attention_mask):
        x = self.states(input_ids, attention_mask)
        kept = attention_mask.to(self.ln.weight.dtype).unsqueeze(-1)
        pooled = (x * kept).sum(1) / kept.sum(1)
        return self.head(self.dropout(pooled))

    @classmethod
    def start(cls, state: dict[str, np.ndarray], layers: tuple[int, ...]) -> "Encoder":
        """These layers of an encoder, whose head is new if it has none."""
        model = cls(len(state["word.weight"]), len(layers))
        taken = {name: value for name, value in state.items() if not name.startswith("layers.")}
        for layer, source in enumerate(layers):
            of = f"layers.{source}."
            taken |= {f"layers.{layer}." + name.removeprefix(of): value for name, value in state.items() if name.startswith(of)}
        missing, unexpected = model.load_state_dict(
            {name: torch.from_numpy(value) for name, value in taken.items()}, strict=False)
        assert set(missing) <= {"head.bias", "head.weight"} and not unexpected
        return model


def base() -> dict[str, np.ndarray]:
    """multilingual-e5-small with its vocabulary trimmed."""
    found = dict(np.load(WORK / "base.npz"))
    sources = json.loads((WORK / "kept.json").read_text())
    state = {
        "word.weight": np.stack([found["emb.word"][ids].mean(0) for ids in sources]),
        # All text is of type 0, so the type's embedding joins the positions'.
        "pos.weight": found["emb.pos"] + found["emb.type"][0],
        "ln.weight": found["emb.ln.w"], "ln.bias": found["emb.ln.b"],
    }
    for layer in ALL_LAYERS:
        for part in ("q", "k", "v", "ao", "fi", "fo", "aln", "oln"):
            state[f"layers.{layer}.{part}.weight"] = found[f"l{layer}.{part}.w"]
            state[f"layers.{layer}.{part}.bias"] = found[f"l{layer}.{part}.b"]
    return state


def adapted() -> dict[str, np.ndarray]:
    """The same after `pretrain.py`."""
    if not PRETRAINED.exists():
        raise SystemExit(f"{PRETRAINED} is missing: run `python pretrain.py` first")
    return dict(np.load(PRETRAINED))
