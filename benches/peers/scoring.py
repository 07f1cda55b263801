"""What dump.py and pipeline.py share: texts to class shares with `tokenizers` and `onnxruntime`, on every core."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it while it is imported

import numpy as np
import onnxruntime
from tokenizers import Tokenizer


class Scorer:
    """Pads a batch to its longest text and cuts at 256 tokens."""

    def __init__(self, tokenizer: str, model: str) -> None:
        self.tokenizer = Tokenizer.from_file(tokenizer)
        self.tokenizer.enable_truncation(256)
        self.tokenizer.enable_padding(pad_id=1)
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    def __call__(self, texts: list[str]) -> np.ndarray:
        rows = self.tokenizer.encode_batch(texts)
        feed = {"input_ids": np.array([row.ids for row in rows], np.int64),
                "attention_mask": np.array([row.attention_mask for row in rows], np.int64)}
        logits = self.session.run(["logits"], feed)[0]
        shares = np.exp(logits - logits.max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)
