"""Models on a GPU against onnxruntime's fp32 result, in fp32 (TF32 off) and with fp16 storage.

    python bench/models.py --out DIR FOLDER

FOLDER holds NAME.onnx with NAME.npz (in_<input>, out_<output>) beside it, as tests/models/make.py makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from gpu import HERE, PACKAGES, PRECISIONS
from machine import environment, relative

BOUNDS = {"float32": 1e-4, "float16": 5e-3}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="models of it; default: all")
    parser.add_argument("--out", required=True, type=Path, help="folder for models.json and models.md")
    parser.add_argument("--arch", default="90")
    arguments = parser.parse_args()
    names = arguments.names or sorted(path.stem for path in arguments.folder.glob("*.npz"))
    work = Path(tempfile.mkdtemp(prefix="cnngen-bench-"))
    jobs = [(name, precision) for name in names for precision in PRECISIONS]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        rows = list(pool.map(lambda job: check(*job, arguments.folder, work, arguments.arch), jobs))
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "models.json").write_text(json.dumps(rows, indent=1))
    text = report(rows)
    (arguments.out / "models.md").write_text(text)
    print(text)


def check(name: str, precision: str, folder: Path, work: Path, arch: str) -> dict[str, Any]:
    """Builds and runs a model in a process of its own: a network that crashes is a line, not the end."""
    command = [sys.executable, str(HERE / "run_model.py")]
    command += [str(folder / f"{name}.onnx"), f"{name}_{precision}", precision, str(work), arch]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row: dict[str, Any] = {"model": name, "precision": precision}
    output = work / f"{name}_{precision}.npz"
    if done.returncode or not output.is_file():
        message = (done.stderr.strip() or done.stdout.strip() or f"exit {done.returncode}")[-600:]
        print(f"{name} {precision}: {message}", flush=True)
        return row | {"failed": message}
    stored, got = np.load(folder / f"{name}.npz"), np.load(output)
    pairs = [
        (stored[key].astype(np.float64), got[key].astype(np.float64))
        for key in stored.files
        if key.startswith("out_")
    ]
    off = [np.abs(y - x) / np.abs(x).max() for x, y in pairs]
    return row | {
        "max": max(float(part.max()) for part in off),
        "l2": max(relative(y, x) for x, y in pairs),
        "share_off": max(float((part > BOUNDS["float32"]).mean()) for part in off),
    }


def report(rows: list[dict[str, Any]]) -> str:
    lines = [
        "`python bench/models.py`: "
        + ", ".join(f"{key} {value}" for key, value in environment(PACKAGES).items())
        + ".",
        "",
        "fp32: max difference over max output (bound 1e-4), the share of elements beyond; fp16: relative L2 (5e-3).",
        "",
        "| model | fp32 | beyond | fp16 |",
        "|---|---|---|---|",
    ]
    found = {(row["model"], row["precision"]): row for row in rows}
    for name in dict.fromkeys(row["model"] for row in rows):
        exact, half = found[name, "float32"], found[name, "float16"]
        cells = [
            "failed" if "failed" in exact else f"{exact['max']:.1e}",
            "" if "failed" in exact else f"{exact['share_off']:.2%}",
            "failed" if "failed" in half else f"{half['l2']:.1e}",
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
