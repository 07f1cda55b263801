"""The int8 matrix product that this machine can do through ONNX Runtime, the share of it that inference reaches, and
where the rest goes; one thread a session against one session of every core.

    make bench-ceiling

Prints tables and writes target/bench/ceiling.json.
"""

import collections
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # ONNX Runtime reads it while it is imported

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

ROWS, LENGTH = 16, 32  # a batch of 512 tokens
CORES = os.cpu_count()


def session(model, threads: int, profile: str = "") -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def seconds(run, rounds: int = 25) -> float:
    for _ in range(5):
        run()
    took = []
    for _ in range(rounds):
        started = time.perf_counter()
        run()
        took.append(time.perf_counter() - started)
    return statistics.median(took)


def product(m: int, k: int, n: int) -> float:
    """Giga-operations a second of one thread in an int8 product with static scales."""
    weights = [numpy_helper.from_array(np.random.randint(-63, 64, (k, n), np.int8), "w"),
               numpy_helper.from_array(np.float32(0.01), "xs"), numpy_helper.from_array(np.full(n, 0.01, np.float32), "ws"),
               numpy_helper.from_array(np.uint8(128), "xz")]
    node = helper.make_node("MatMulIntegerToFloat", ["x", "w", "xs", "ws", "xz"], ["y"], domain="com.microsoft")
    graph = helper.make_graph([node], "product", [helper.make_tensor_value_info("x", TensorProto.UINT8, [m, k])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [m, n])], weights)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = session(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString(), 1)
    x = np.random.randint(0, 256, (m, k), np.uint8)
    return 2 * m * k * n / seconds(lambda: model.run(None, {"x": x})) / 1e9


def together(sessions: list, feed: dict, runs: int = 40) -> float:
    """Runs a second of several sessions, a thread each."""
    work = [threading.Thread(target=lambda model=model: [model.run(None, feed) for _ in range(runs)]) for model in sessions]
    started = time.perf_counter()
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    return runs * len(sessions) / (time.perf_counter() - started)


def main(model: str, out: str) -> None:
    random = np.random.default_rng(1)
    feed = {"input_ids": random.integers(4, 14_000, (ROWS, LENGTH)), "attention_mask": np.ones((ROWS, LENGTH), np.int64)}
    graph = onnx.load(model).graph
    weights = {node.input[1] for node in graph.node if node.op_type == "MatMulIntegerToFloat"}
    shapes = [tensor.dims for tensor in graph.initializer if tensor.name in weights]
    operations = 2 * ROWS * LENGTH * sum(int(np.prod(shape)) for shape in shapes) / 1e9
    sizes = [(512, 4096, 4096), *((ROWS * LENGTH, k, n) for k, n in sorted({tuple(shape) for shape in shapes}))]
    rates = {size: product(*size) for size in sizes}
    ceiling = max(rates.values())
    figures = [{"name": "product " + " x ".join(map(str, size)), "value": rate, "unit": "GOP/s",
                "baseline": "fastest int8 product", "ratio": rate / ceiling} for size, rate in rates.items()]
    single = session(model, 1)
    took = seconds(lambda: single.run(None, feed))
    figures.append({"name": "inference, 16 texts of 32 tokens", "value": operations / took, "unit": "GOP/s",
                    "baseline": "fastest int8 product", "ratio": operations / took / ceiling})
    lone = {name: value[:1] for name, value in feed.items()}
    apart = together([session(model, 1) for _ in range(CORES)], feed)
    joint = together([session(model, CORES)], feed)
    for name, value in ((f"{CORES} sessions of one thread", apart), (f"one session of {CORES} threads", joint)):
        figures.append({"name": name, "value": value, "unit": "batches/s", "baseline": f"{CORES} sessions of one thread",
                        "ratio": value / apart})
    alone = seconds(lambda: single.run(None, lone)) * 1e3
    wide = session(model, CORES)
    for threads, value in ((1, alone), (CORES, seconds(lambda: wide.run(None, lone)) * 1e3)):
        figures.append({"name": f"a lone text of 32 tokens, {threads} thread(s)", "value": value, "unit": "ms",
                        "baseline": "one thread", "ratio": value / alone})
    with tempfile.TemporaryDirectory() as folder:
        profiled = session(model, 1, f"{folder}/profile")
        for _ in range(30):
            profiled.run(None, feed)
        events = json.loads(Path(profiled.end_profiling()).read_text())
    spent = collections.Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    for operator, microseconds in spent.most_common(8):
        figures.append({"name": f"time in {operator}", "value": microseconds / 30e3, "unit": "ms",
                        "baseline": "all operators", "ratio": microseconds / spent.total()})
    for figure in figures:
        print(f"{figure['name']:<42} {figure['value']:>9.2f} {figure['unit']:<10} {figure['ratio']:>6.2f}  {figure['baseline']}")
    Path(out).mkdir(parents=True, exist_ok=True)
    (Path(out) / "ceiling.json").write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])
