"""ONNX models on a GPU against onnxruntime's fp32 result, at batch 1 and 8, in fp32 (TF32 off) and fp16.

    python bench/models.py --out DIR model.onnx [model.onnx ...]

Inputs are fresh random numbers. A model whose batch is fixed at 1 gives its reference image by image.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from gpu import PRECISIONS, build, environment, load, relative


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder for models.json and models.md")
    parser.add_argument("--arch", default="90")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="cnngen-bench-"))
    for model in arguments.models:
        shutil.copy(model, work)
    names = [model.stem for model in arguments.models]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(
            pool.map(
                lambda job: build(*job, work, arguments.arch), [(n, p) for n in names for p in PRECISIONS]
            )
        )
    rows = [row for name in names for row in check(name, work)]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "models.json").write_text(json.dumps(rows, indent=1))
    text = report(rows)
    (arguments.out / "models.md").write_text(text)
    print(text)


def check(name: str, work: Path) -> list[dict[str, Any]]:
    """Differences of every precision at both batch sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(work / f"{name}.onnx", providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    fixed = isinstance(entry.shape[0], int)
    rng = np.random.default_rng()
    rows = []
    for batch in (1, 8):
        x = rng.standard_normal((batch, *entry.shape[1:]), np.float32).astype(np.float16).astype(np.float32)
        parts = np.split(x, batch) if fixed else [x]
        exact = np.concatenate([session.run(None, {entry.name: part})[0] for part in parts]).astype(
            np.float64
        )
        for precision in PRECISIONS:
            half = precision == "float16"
            given = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).astype(np.float16) if half else x
            got = np.asarray(load(name, precision, work).Network()(given), np.float64)
            worst = float(np.abs(got - exact).max() / np.abs(exact).max())
            error = relative(got, exact)
            rows.append({"network": name, "batch": batch, "precision": precision, "max": worst, "l2": error})
            print(rows[-1], flush=True)
    return rows


def report(rows: list[dict[str, Any]]) -> str:
    lines = [
        "`python bench/models.py`: "
        + ", ".join(f"{key} {value}" for key, value in environment().items())
        + ".",
        "",
        "fp32: max difference over max output (bound 1e-4); fp16: relative L2 (bound 5e-3).",
        "",
        "| model | batch | fp32 | fp16 |",
        "|---|---|---|---|",
    ]
    found = {(row["network"], row["batch"], row["precision"]): row for row in rows}
    for name, batch in dict.fromkeys((row["network"], row["batch"]) for row in rows):
        exact, half = found[name, batch, "float32"]["max"], found[name, batch, "float16"]["l2"]
        lines.append(f"| {name} | {batch} | {exact:.1e} | {half:.1e} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
