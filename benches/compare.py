#!/usr/bin/env python3
"""Runs benchmarks of this tree and of another commit in turn, on one machine in one run, and prints what changed.

    python3 benches/compare.py COMMIT BENCH… [--rounds N]
    python3 benches/compare.py v0.1.0 serving latency profile

The other commit is checked out and built under target/bench/base. Each round runs every benchmark of both, in turn. A row shows
the medians, their ratio, and the spread of each side: its largest value divided by its smallest. A change that is
smaller than the spread shows nothing. Both sides read the same texts: those of ../shared/data of this tree, where it has them.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "target/bench/base"


def share_texts():
    """The benchmarks look for texts in ../shared, which for the other commit is target/bench/shared."""
    link = BASE.parent / "shared"
    link.unlink(missing_ok=True)
    if (ROOT.parent / "shared").is_dir():
        link.symlink_to(ROOT.parent / "shared")


def checkout(commit):
    if (BASE / ".git").exists():
        subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=BASE, check=True)
    else:
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", BASE, commit], cwd=ROOT, check=True)


def cargo(tree, bench, *more):
    subprocess.run(["cargo", "bench", "--quiet", "--locked", "--bench", bench, *more], cwd=tree, check=True)


def figures(tree, bench):
    cargo(tree, bench)
    return {f["name"]: f for f in json.loads((tree / "target/bench" / f"{bench}.json").read_text())}


def spread(values):
    return max(values) / min(values) if min(values) > 0 else float("nan")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("benches", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    checkout(arguments.commit)
    share_texts()
    trees = {"base": BASE, "here": ROOT}
    for tree in trees.values():
        for bench in arguments.benches:
            cargo(tree, bench, "--no-run")

    seen = {}
    for turn in range(arguments.rounds):
        for bench in arguments.benches:
            # The order changes with each round, so that a machine that gets warm or slow treats both alike.
            for side in sorted(trees, reverse=turn % 2 == 1):
                print(f"== round {turn + 1} of {arguments.rounds}: {bench}, {side}", file=sys.stderr, flush=True)
                for name, figure in figures(trees[side], bench).items():
                    row = seen.setdefault((bench, name), {"unit": figure["unit"], "base": [], "here": []})
                    row[side].append(figure["value"])

    print(f"| benchmark | figure | {arguments.commit} | here | unit | here / {arguments.commit} | spreads |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for (bench, name), row in seen.items():
        base, here = row["base"], row["here"]
        if not base or not here:
            continue
        before, after = statistics.median(base), statistics.median(here)
        ratio = f"{after / before:.2f}" if before else "-"
        print(f"| {bench} | {name} | {before:.2f} | {after:.2f} | {row['unit']} | {ratio} | {spread(base):.2f}, {spread(here):.2f} |")


if __name__ == "__main__":
    main()
