"""The experiments of the talk "CNN inference with cuDNN" (NVIDIA, GTC 2019) on the GPU at hand.

    python bench/talk.py --out DIR [EXPERIMENT ...]
    python bench/talk.py --out DIR --docs

Builds bench/talk/ and runs it for each experiment, by default for all; DIR/talk.json is written after each, and what
was in it before stays. --docs measures nothing: it puts what DIR/talk.json holds into docs/talk.md, beside the talk's
own figures. Needs what `cnngen build` needs, no PyTorch.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from talk_page import fill, sections

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "talk.md"
TIMEOUT_S = 240  # of one convolution with all its engines

# Runs the program with such words; its lines, parsed.
Run = Callable[..., list[dict[str, Any]]]

KERNELS = {"3x3": 3, "11x11": 11}
SHAPES: dict[str, dict[str, int]] = {
    "128x128x128 → 128, 3x3": {"h": 128, "w": 128, "c": 128, "k": 128, "r": 3},
    "800x800x8 → 400x400x8, 9x9": {"h": 800, "w": 800, "c": 8, "k": 8, "r": 9, "stride": 2},
    "512x512x3 → 32, 3x3": {"h": 512, "w": 512, "c": 3, "k": 32, "r": 3},
}


def engines(run: Run) -> Any:
    """Time and workspace of every algorithm and engine, float32, channels first."""
    found = {}
    for name, r in KERNELS.items():
        problem = {"h": 128, "w": 128, "c": 128, "k": 128, "r": r, "dtype": "float32", "layout": "NCHW"}
        found[name] = {"algorithms": run("algorithms", **problem), "engines": run("all_engines", **problem)}
    return found


def layouts(run: Run) -> Any:
    """Channels first against channels last, in both types, each with its engines."""
    rows = []
    for shape, dtype, layout in itertools.product(SHAPES, ("float32", "float16"), ("NCHW", "NHWC")):
        found = run("engines", **SHAPES[shape], dtype=dtype, layout=layout)
        rows.append({"shape": shape, "dtype": dtype, "layout": layout, "engines": found})
    return rows


def padding(run: Run) -> Any:
    """Three channels of a photo as they are, as four and as eight."""
    shape = SHAPES["512x512x3 → 32, 3x3"]
    return [
        {"channels": c, "engines": run("engines", **shape | {"c": c}, dtype="float16", layout="NHWC")}
        for c in (3, 4, 8)
    ]


def folding(run: Run) -> Any:
    """2x2 pixels as channels: a quarter of the pixels, four times the channels on both sides."""
    return [
        {
            "shape": f"{size}x{size}x{c} → {c}, 3x3",
            "engines": run("engines", h=size, w=size, c=c, k=c, r=3, dtype="float16", layout="NHWC"),
        }
        for size, c in ((2048, 8), (1024, 32))
    ]


def buffers(run: Run) -> Any:
    """One buffer for each activation against two in turn, on ten large layers."""
    return run("buffers", c=64, h=320, layers=10)


def weights(run: Run) -> Any:
    """Weights copied before every pass against once: about the talk's 89 MB."""
    return run("weights", c=512, h=20, layers=19)


def streams(run: Run) -> Any:
    """Copies on the stream of the kernels against streams of their own."""
    return run("streams", c=64, h=320, layers=10)


EXPERIMENTS = {
    function.__name__: function
    for function in (engines, layouts, padding, folding, buffers, weights, streams)
}


def main() -> None:
    arguments = parse_arguments(sys.argv[1:])
    stored = arguments.out / "talk.json"
    results = json.loads(stored.read_text()) if stored.exists() else {}
    if arguments.docs:
        if not results:
            sys.exit(f"{stored} is not there: run the experiments first")
        PAGE.write_text(fill(PAGE.read_text(), sections(results)))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        (environment,) = run_program(program, "device")
        if "failed" in environment:
            sys.exit(environment["failed"])
        if results and results["environment"] != environment:
            sys.exit(f"{stored} is of {results['environment']}, this is {environment}")
        results["environment"] = environment
        for name in arguments.experiments or EXPERIMENTS:
            print(name, flush=True)
            results[name] = EXPERIMENTS[name](lambda *words, **more: run_program(program, *words, **more))
            stored.write_text(json.dumps(results, indent=1))
    for name, text in sections(results).items():
        print(f"\n{name}\n\n{text}")


def parse_arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=", ".join(EXPERIMENTS))
    parser.add_argument("--out", type=Path, required=True, help="folder for talk.json")
    parser.add_argument("--docs", action="store_true", help="put what is measured into docs/talk.md")
    arguments = parser.parse_args(words)
    if wrong := [name for name in arguments.experiments if name not in EXPERIMENTS]:
        parser.error(f"{', '.join(wrong)}: there are {', '.join(EXPERIMENTS)}")
    return arguments


def build(folder: Path) -> Path:
    """The program, compiled against what a network would be built with."""
    from cnngen.codegen.toolchain import find_toolchain

    toolchain = find_toolchain()
    libraries = [toolchain.cudnn, toolchain.cublaslt, toolchain.cudart, toolchain.nvrtc]
    program = folder / "talk"
    command = [str(toolchain.cxx.path), "-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror"]
    command += [f"-I{ROOT / 'include'}", *(f"-I{library.include}" for library in libraries)]
    command += [str(ROOT / "bench" / "talk" / "talk.cpp"), "-o", str(program)]
    # cuDNN opens nvrtc's parts by name, and finds them where a DT_RPATH leads: see cmake/cnngen_cuda.cmake.
    command += ["-Wl,--disable-new-dtags,--no-as-needed"]
    for library in libraries:
        command += [str(library.path), f"-Wl,-rpath,{library.path.parent}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return program


def run_program(program: Path, *words: str, **numbers: object) -> list[dict[str, Any]]:
    """What the program prints. What it did not come to is one more line, {"failed": why}."""
    command = [str(program), *words, *(f"{name}={value}" for name, value in numbers.items())]
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE, text=True)
        try:
            said = process.communicate(timeout=TIMEOUT_S)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            said = f"not waited for: over {TIMEOUT_S} s"
        out.seek(0)
        lines = [json.loads(line) for line in out if line.endswith("}\n")]
    if process.returncode:
        lines.append({"failed": (said.strip().splitlines() or [f"exit {process.returncode}"])[-1]})
    ran = sum("us" in line for line in lines)
    print(f"  {' '.join(command[1:])}: {len(lines)} lines, {ran} with times", flush=True)
    return lines


if __name__ == "__main__":
    main()
