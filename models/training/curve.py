"""Optional. What each bundle is worth and what it costs: quality beside texts a second.

    python curve.py FOLDER      # FOLDER holds wisesight-valid.jsonl and pythainlp-small.jsonl; nothing else may run

`arom evaluate` on each bundle that is there, and on its fp32 export under the same manifest if that is in work/, in turns, so that what
the machine does meanwhile hits all alike. Writes work/curve.md and prints it.
"""

import argparse
import statistics
from pathlib import Path

from bundle import evaluate, exact
from export import int8_path
from paths import BEHAVIOUR, STUDENTS, WORK, bundle

ROUNDS = 3


def is_of(name: str) -> bool:
    """Whether what work/ has of a student is what the bundle was made of."""
    made, shipped = int8_path(name), bundle(name) / "model.onnx"
    return made.exists() and shipped.exists() and made.read_bytes() == shipped.read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    folder = parser.parse_args().folder
    valid, small = (str(folder / f"{data}.jsonl") for data in ("wisesight-valid", "pythainlp-small"))
    models = {f"{bundle(name).name}, int8": bundle(name) for name in STUDENTS if bundle(name).exists()}
    models |= {f"{bundle(name).name}, fp32": exact(name) for name in STUDENTS if is_of(name)}
    rates: dict[str, list[float]] = {title: [] for title in models}
    found = {}
    for _ in range(ROUNDS):
        for title, of in models.items():
            found[title] = evaluate(of, valid)
            rates[title].append(found[title]["texts_per_second"])
    speed = {title: statistics.median(of) for title, of in rates.items()}
    default = next(iter(speed.values()))
    lines = ["| model | MB | texts/s | speed | micro-F1 | macro-F1 | pythainlp-small | AUC | behaviour |", "| --- |" + " --- |" * 8]
    for title, of in models.items():
        far, behaviour = evaluate(of, small), evaluate(of, "--behaviour", str(BEHAVIOUR))
        size = (of / "model.onnx").stat().st_size / 1e6
        lines.append(f"| {title} | {size:.1f} | {speed[title]:.0f} | {speed[title] / default:.2f} | {found[title]['micro_f1']:.4f} | "
                     f"{found[title]['macro_f1']:.4f} | {far['micro_f1']:.4f} | {far['polarity_auc']:.4f} | {behaviour['pass_rate']:.4f} |")
    (WORK / "curve.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
