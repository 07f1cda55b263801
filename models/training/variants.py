"""Optional. Which graphs and quantizations were tried, with their figures; without the linear part. Needs base's first student.

    python variants.py             # builds, judges and times them: 17 minutes on a core
    python variants.py --timing    # times them again, which wants an idle machine

Writes work/variants/*.onnx, work/variants.json and work/variants.md.
"""

import argparse
import json
import os
import platform
import statistics
import time
import warnings
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it while it is imported

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from sklearn.metrics import f1_score
from tokenizers import Tokenizer

import graph
from encoder import Encoder
from export import int8, logits, sample, seed_path, session, weights
from paths import LABELS, SEEDS, WORK, read_rows
from train import load, padded, read_tokenizer, tokens

FOLDER, FIGURES, TABLE = WORK / "variants", WORK / "variants.json", WORK / "variants.md"
VARIANTS = {
    "fp32-plain": "fp32, as exported",
    "fp32-fused": "fp32, fused",
    "dynamic-plain": "int8 dynamic, as exported",
    "dynamic-fused": "int8 dynamic, fused",
    "static": "int8 static, fused, 7-bit weights",
    "static-smooth": "the same with SmoothQuant",
    "static-smooth-gptq": "**the same with SmoothQuant and GPTQ**",
    "static-smooth-gptq-8": "the same, 8-bit weights",
}
STATIC = {
    "static": {"smoothquant": False, "gptq": False},
    "static-smooth": {"gptq": False},
    "static-smooth-gptq": {},
    "static-smooth-gptq-8": {"weight_top": 127},
}
COMPANY = 16  # rows in a batch of mixed lengths
BATCH_TOKENS = 512
LONE_TOKENS, LONE_RUNS = 32, 100
ROUNDS = 3


def at(name: str) -> Path:
    return FOLDER / f"{name}.onnx"


def export_plain(model: Encoder, path: Path) -> None:
    """PyTorch's own export: every operator of encoder.py by itself."""
    ids = torch.tensor([[0, 4, 2], [0, 2, 1]])
    inputs = {"input_ids": ids, "attention_mask": (ids != 1).long()}
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # the newer one wants onnxscript
        torch.onnx.export(model, tuple(inputs.values()), path, dynamo=False, opset_version=18,
                          input_names=list(inputs), output_names=["logits"],
                          dynamic_axes=dict.fromkeys(inputs, {0: "batch", 1: "length"}))


def build(tokenizer: Tokenizer) -> None:
    FOLDER.mkdir(exist_ok=True)
    model = load(seed_path("base", SEEDS[0]))
    state = weights(model)
    export_plain(model, at("fp32-plain"))
    onnx.save(graph.build(state, graph.Fp32()), at("fp32-fused"))
    for kind in ("plain", "fused"):
        quantize_dynamic(at(f"fp32-{kind}"), at(f"dynamic-{kind}"), per_channel=True, weight_type=QuantType.QInt8,
                         # What fused operators give is not inferred.
                         extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT})
    seen = sample(model, tokenizer)
    for name, choices in STATIC.items():
        onnx.save(int8(state, seen, None, **choices), at(name))


def operators(path: Path) -> int:
    """How many are left when ONNX Runtime has fused what it can."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns that the optimized file is for this machine only
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    count = len(onnx.load(options.optimized_model_filepath).graph.node)
    os.remove(options.optimized_model_filepath)
    return count


def run(model: onnxruntime.InferenceSession, rows: list[list[int]]) -> np.ndarray:
    ids, mask = padded(rows)
    return model.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]


def judge(tokenizer: Tokenizer) -> dict[str, dict]:
    rows = tokens("valid", tokenizer)
    labels = [LABELS.index(row["label"]) for row in read_rows("valid")]
    figures, exact = {}, None
    for name in VARIANTS:
        model = session(at(name), threads=1)
        alone = logits(model, rows)
        exact = alone if exact is None else exact
        batches = [run(model, rows[start:start + COMPANY]) for start in range(0, len(rows), COMPANY)]
        guessed = alone.argmax(1)
        figures[name] = {
            "megabytes": at(name).stat().st_size / 1e6,
            "operators": operators(at(name)),
            "micro_f1": f1_score(labels, guessed, average="micro"),
            "macro_f1": f1_score(labels, guessed, average="macro"),
            "rms_error": float(np.sqrt(np.mean((alone - exact) ** 2))),
            "batch_change": float(np.abs(np.concatenate(batches) - alone).max()),
        }
        print(name, json.dumps(figures[name]), flush=True)
    return figures


def by_length(rows: list[list[int]]) -> list[list[list[int]]]:
    """Batches of at most BATCH_TOKENS, padding included."""
    batches = [[]]
    for row in sorted(rows, key=len):
        if (len(batches[-1]) + 1) * len(row) > BATCH_TOKENS:
            batches.append([])
        batches[-1].append(row)
    return batches


def clock(tokenizer: Tokenizer) -> tuple[dict[str, dict], dict]:
    """Speeds on one thread, by its CPU time, which leaves out when others had the core. The variants take turns, so
    that what others do to caches and clock rates hits them alike."""
    rows = tokens("valid", tokenizer)
    batches = by_length(rows)
    lone = next(row for row in rows if len(row) == LONE_TOKENS)
    models = {name: session(at(name), threads=1) for name in VARIANTS}
    rates, waits = ({name: [] for name in VARIANTS} for _ in range(2))
    began, worked = time.perf_counter(), time.process_time()
    for _ in range(ROUNDS):
        for name, model in models.items():
            started = time.process_time()
            for batch in batches:
                run(model, batch)
            rates[name].append(len(rows) / (time.process_time() - started))
            for _ in range(LONE_RUNS):
                started = time.process_time()
                run(model, [lone])
                waits[name].append(1e3 * (time.process_time() - started))
    share = (time.process_time() - worked) / (time.perf_counter() - began)
    figures = {name: {"texts_per_s": statistics.median(rates[name]), "lone_ms": statistics.median(waits[name])}
               for name in VARIANTS}
    conditions = {"instructions": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
                  "load": os.getloadavg()[0], "core_share": share}
    return figures, conditions


def table(figures: dict[str, dict], conditions: dict) -> str:
    lines = [
        "| graph | MB | operators | micro-F1 | macro-F1 | RMS error | change in a batch | texts/s | ms alone |",
        "| --- |" + " --- |" * 8,
    ]
    for name, title in VARIANTS.items():
        of = figures[name]
        lines.append(
            f"| {title} | {of['megabytes']:.1f} | {of['operators']} | {of['micro_f1']:.4f} | {of['macro_f1']:.4f} | "
            f"{of['rms_error']:.2g} | {of['batch_change']:.2g} | {of['texts_per_s']:.0f} | {of['lone_ms']:.1f} |")
    return "\n".join(lines) + f"""

What was tried, the shipped way in bold; all of the first seed alone, measured in *Python* on wisesight-valid by
`variants.py`, without calibration, every text cut to one window. As exported: by PyTorch, attention in separate
operators. Dynamic: ONNX Runtime's `quantize_dynamic`, weights of 8 bits per channel. Operators: those left after ONNX
Runtime's own optimisation. RMS error: the logits' against fp32. Change in a batch: the most that a logit moves when
its text is run beside {COMPANY - 1} others of other lengths instead of alone. Without VNNI, weights of 8 bits saturate, those of
the dynamic graphs too. Speeds: by CPU time of one thread ({conditions['instructions']}; load average {conditions['load']:.1f}, {conditions['core_share']:.0%} of a core),
length-sorted batches of at most {BATCH_TOKENS} padded tokens, and a lone text of {LONE_TOKENS} tokens.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timing", action="store_true")
    args = parser.parse_args()
    tokenizer = read_tokenizer()
    if not args.timing:
        build(tokenizer)
        FIGURES.write_text(json.dumps({"variants": judge(tokenizer)}, indent=2) + "\n")
    figures = json.loads(FIGURES.read_text())["variants"]
    speeds, conditions = clock(tokenizer)
    for name in VARIANTS:
        figures[name] |= speeds[name]
    FIGURES.write_text(json.dumps({"variants": figures, "timing": conditions}, indent=2) + "\n")
    TABLE.write_text(table(figures, conditions), encoding="utf-8")
    print(TABLE.read_text(encoding="utf-8"), json.dumps(conditions))


if __name__ == "__main__":
    main()
