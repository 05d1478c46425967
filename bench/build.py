"""How long generating and building takes: seconds for resnet50, on the machine at hand.

    python bench/build.py [SPEC] [--arch 90] [--out DIR]

Cold: a first build with an empty build folder (the toolchain's overlay is made before). Changed: the same after one
layer of the spec has changed. Each is a process of its own, as a user runs it; the median of three.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
CLI = [sys.executable, "-c", "from cnngen.codegen.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", nargs="?", type=Path, default=HERE.parent / "examples/resnet50/spec.yaml")
    parser.add_argument("--arch", default="90")
    parser.add_argument("--out", type=Path, help="folder for build.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = measure(arguments.spec, arguments.arch, Path(folder))
    for what, seconds in times.items():
        print(f"{what:40s} {statistics.median(seconds):6.2f} s   ({', '.join(f'{s:.2f}' for s in seconds)})")
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}")
    if arguments.out:
        (arguments.out / "build.json").write_text(json.dumps(times, indent=1))


def measure(spec: Path, arch: str, folder: Path) -> dict[str, list[float]]:
    source = shutil.copytree(spec.parent, folder / "spec")
    cold, changed, generated = [], [], []
    run("toolchain", cwd=folder)
    for attempt in range(3):
        path = source / spec.name
        shutil.copy(spec, path)
        target = folder / f"out{attempt}"
        generated.append(run("generate", str(path), "-o", str(folder / f"text{attempt}"), cwd=folder))
        cold.append(run("build", str(path), "-o", str(target), "--arch", arch, cwd=folder))
        change_one_layer(path)
        changed.append(run("build", str(path), "-o", str(target), "--arch", arch, cwd=folder))
    return {"generate": generated, "build, cold": cold, "build, one layer changed": changed}


def change_one_layer(path: Path) -> None:
    """The activation after the first convolution becomes another one."""
    data = yaml.safe_load(path.read_text())
    layer = next(layer for layer in data["layers"] if layer["op"] == "relu" or "activation" in layer)
    layer["activation" if "activation" in layer else "op"] = "silu"
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def run(*words: str, cwd: Path) -> float:
    started = time.perf_counter()
    done = subprocess.run([*CLI, *words], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"cnngen {' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
